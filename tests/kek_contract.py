"""What every provider of KEKs has to do. A new one subclasses `KekContract` and gives it `provider` and `another`.

`another` is the same provider as a second operator has it: the former leader, or the next.
"""

from __future__ import annotations

import asyncio
import secrets
import traceback

import pytest

from roadstead.keys.kek import Kek, KekName, KekProvider, ProviderRefuses, Reason

CONTEXT = b"ring-a|7"


def a_name(ring: str, generation: int = 1) -> KekName:
    return KekName(ring, generation, secrets.token_hex(4))


async def refused(reason: Reason, provider: KekProvider, kek: Kek, wrapped: bytes, context: bytes = CONTEXT) -> str:
    """The words with which unwrapping is refused; the whole traceback, as a log would have it."""
    with pytest.raises(ProviderRefuses) as caught:
        await provider.unwrap(kek, wrapped, context)
    assert caught.value.reason is reason, caught.value
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return "".join(traceback.format_exception(caught.value))


class KekContract:
    @pytest.fixture
    def ring(self) -> str:
        return f"r{secrets.token_hex(4)}"

    async def test_a_kek_is_made_once_and_found_again(
        self, provider: KekProvider, another: KekProvider, ring: str
    ) -> None:
        name = a_name(ring)
        assert await provider.keks(ring) == ()
        made = await provider.ensure(name)
        assert [kek.name for kek in made] == [name]
        assert await provider.ensure(name) == await another.ensure(name) == made
        assert await provider.keks(ring) == await another.keks(ring) == made

    async def test_each_name_has_a_key_of_its_own(self, provider: KekProvider, ring: str) -> None:
        names = [a_name(ring), a_name(ring), a_name(ring, 2), a_name(f"{ring}x")]
        made = [(await provider.ensure(name))[0] for name in names]
        assert len({kek.fingerprint for kek in made}) == len(names)
        assert set(await provider.keks(ring)) == set(made[:3]), "a ring whose name begins the same is another"

    async def test_what_was_wrapped_is_unwrapped_by_any_operator(
        self, provider: KekProvider, another: KekProvider, ring: str
    ) -> None:
        (kek,) = await provider.ensure(a_name(ring))
        key = secrets.token_bytes(32)
        wrapped = await provider.wrap(kek, key, CONTEXT)
        assert await another.unwrap(kek, wrapped, CONTEXT) == key
        assert key not in wrapped
        assert await provider.wrap(kek, key, CONTEXT) != wrapped, "each time another nonce"

    async def test_nothing_else_is_unwrapped(self, provider: KekProvider, ring: str) -> None:
        (kek,) = await provider.ensure(a_name(ring))
        (other,) = await provider.ensure(a_name(ring, 2))
        key = secrets.token_bytes(32)
        wrapped = await provider.wrap(kek, key, CONTEXT)
        said = [await refused(Reason.DAMAGED, provider, kek, wrapped, b"ring-a|8")]
        said.append(await refused(Reason.DAMAGED, provider, other, wrapped))
        for place in (0, 1, 13, len(wrapped) - 17, len(wrapped) - 1):
            bent = bytearray(wrapped)
            bent[place] ^= 1
            said.append(await refused(Reason.DAMAGED, provider, kek, bytes(bent)))
        for short in (b"", wrapped[:1], wrapped[:28], wrapped[:-1], wrapped + b"x"):
            said.append(await refused(Reason.DAMAGED, provider, kek, short))
        for words in said:
            assert "restore its Secret from a backup" in words
            for secret in (key, wrapped):
                assert secret.hex() not in words
                assert repr(secret)[2:-1] not in words
        assert await provider.unwrap(kek, wrapped, CONTEXT) == key, "and it goes on working"

    async def test_a_kek_is_meant_by_its_fingerprint(self, provider: KekProvider, ring: str) -> None:
        """Somebody put another key where ours was: it must neither be used nor destroyed for ours."""
        (kek,) = await provider.ensure(a_name(ring))
        wrapped = await provider.wrap(kek, secrets.token_bytes(32), CONTEXT)
        stranger = Kek(kek.name, "0" * 32)
        assert "fingerprint 0000" in await refused(Reason.KEK_MISSING, provider, stranger, wrapped)
        with pytest.raises(ProviderRefuses) as caught:
            await provider.wrap(stranger, secrets.token_bytes(32), CONTEXT)
        assert caught.value.reason is Reason.KEK_MISSING
        await provider.destroy(stranger)
        assert await provider.keks(ring) == (kek,)

    async def test_a_destroyed_kek_is_gone(self, provider: KekProvider, another: KekProvider, ring: str) -> None:
        (kek,) = await provider.ensure(a_name(ring))
        (stays,) = await provider.ensure(a_name(ring, 2))
        wrapped = await provider.wrap(kek, secrets.token_bytes(32), CONTEXT)
        await provider.destroy(kek)
        await provider.destroy(kek)
        assert await provider.keks(ring) == await another.keks(ring) == (stays,)
        await refused(Reason.KEK_MISSING, another, kek, wrapped)
        (anew,) = await provider.ensure(kek.name)
        assert anew.fingerprint != kek.fingerprint

    async def test_two_that_make_it_at_once_agree_in_the_end(
        self, provider: KekProvider, another: KekProvider, ring: str
    ) -> None:
        for generation in range(1, 6):
            name = a_name(ring, generation)
            await asyncio.gather(provider.ensure(name), another.ensure(name))
            made = await provider.ensure(name)
            assert made == await another.ensure(name)
            keep, *surplus = made
            wrapped = await another.wrap(keep, b"k" * 32, CONTEXT)
            for kek in surplus:
                await provider.destroy(kek)
            assert await another.ensure(name) == (keep,)
            assert await provider.unwrap(keep, wrapped, CONTEXT) == b"k" * 32
