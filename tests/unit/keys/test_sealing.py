"""What the operator makes of a sealed keyset that it finds, whoever wrote it, without a private key."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from roadstead.keys.challenge import Asked
from roadstead.keys.place import Found, Place, numbers_to_check, view
from roadstead.keys.place import checked as checked_place
from roadstead.keys.regional import Held, authenticated_with, checked, held_in, is_exposed, keyset_secret
from roadstead.keys.sealing import Purpose, Recipients
from roadstead.keys.state import Keyset
from sealedkeysets import HERE, KEYS, keyset_of, private_key, public_pem

OURS, THEIRS = (Recipients.of([public_pem(private_key())]) for _ in range(2))
KEYSET = keyset_of(1, 2, 3, primary=2)
ELSEWHERE = Asked(HERE.ring, "sgp")


def secret(
    asked: Asked = HERE, keyset: Keyset = KEYSET, generation: int = 7, recipients: Recipients | None = OURS
) -> dict[str, Any]:
    keys = [KEYS[number - 1] for number, _ in keyset.keys]
    child = keyset_secret(asked, "chat", "ring", keyset, keys, generation, recipients)
    return {"metadata": {}, **child.body}


def held(body: Mapping[str, Any], recipients: Recipients | None = OURS, known: int = 0, keys: Any = KEYS) -> Held:
    found = held_in(HERE, body)
    needed = authenticated_with(found)
    return checked(found, HERE, [key for key in keys if key.number in needed], recipients, known)


def put(body: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    return {**body, "data": {**body["data"], key: base64.b64encode(content).decode()}}


def said(body: Mapping[str, Any], key: str = "keyset.sealed") -> Any:
    return json.loads(base64.b64decode(body["data"][key]))


def restated(body: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    made = said(body)
    return put(body, "keyset.sealed", made | {"statement": made["statement"] | changes})


MADE = secret()


def test_what_was_sealed_is_known_without_being_opened() -> None:
    found = held(secret())
    assert (found.keyset, found.generation, found.damaged, found.keys) == (KEYSET, 7, False, ())


def test_nothing_of_the_material_is_in_it() -> None:
    content = b"".join(base64.b64decode(value) for value in secret()["data"].values())
    assert b"keyData" not in content
    for key in KEYS:
        assert key.key not in content
        assert base64.b64encode(key.key)[:40] not in content


def test_two_versions_authenticate_it_and_no_more_are_unwrapped() -> None:
    assert authenticated_with(held_in(HERE, secret())) == {2, 3}
    made = said(MADE)
    many = {str(number): "AAAA" for number in range(1, 1000)}
    found = held_in(HERE, put(MADE, "keyset.sealed", made | {"authenticators": many}))
    assert (found.damaged, authenticated_with(found)) == (True, frozenset())


def test_a_keyset_to_serve_with_is_not_taken_for_one_to_rewrap_with() -> None:
    assert not held_in(HERE, MADE, Purpose.SERVING).damaged
    assert held_in(HERE, MADE, Purpose.REWRAP).damaged


def test_both_keysets_of_a_region_are_checked() -> None:
    keyset = keyset_of(1, primary=0)
    child = keyset_secret(HERE, "chat", "ring", keyset, KEYS[:1], 9, OURS, Purpose.REWRAP)
    body = {"metadata": {}, **child.body}
    place = Place(
        "hkg",
        wanted=True,
        serving=Found(MADE, held_in(HERE, MADE)),
        rewrap=Found(body, held_in(HERE, body, Purpose.REWRAP)),
        recipients=OURS,
    )
    assert numbers_to_check([place]) == {1, 2, 3}
    seen = checked_place(place, HERE.ring, KEYS, 7)
    assert (seen.serving.held.damaged, seen.rewrap.held.damaged) == (False, False)
    blind = checked_place(place, HERE.ring, KEYS[1:], 8)
    assert (blind.serving.held.damaged, blind.rewrap.held.damaged) == (True, True)
    assert checked_place(replace(place, rewrap=Found()), HERE.ring, KEYS, 7).rewrap == Found()


def test_before_there_is_a_primary() -> None:
    keyset = keyset_of(1, primary=0)
    found = held(secret(keyset=keyset))
    assert (found.keyset, found.damaged) == (keyset, False)
    assert said(secret(keyset=keyset), "ring.json")["active"] is False


BAD_MAC = {"2": base64.b64encode(bytes(32)).decode()}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(put(MADE, "keyset.sealed", b"\xff"), id="no JSON"),
        pytest.param(put(MADE, "keyset.sealed", b"[" * 100_000), id="JSON that is too deep"),
        pytest.param(put(MADE, "keyset.sealed", {}), id="an empty object"),
        pytest.param(put(MADE, "keyset.sealed", said(MADE) | {"recipients": 5}), id="recipients that are none"),
        pytest.param(put(MADE, "keyset.sealed", said(MADE) | {"format": "2"}), id="another format"),
        pytest.param({**MADE, "data": {**MADE["data"], "keyset.sealed": "%"}}, id="no base64"),
        pytest.param({**MADE, "data": {"keyset.sealed": MADE["data"]["keyset.sealed"]}}, id="nothing beside it"),
        pytest.param(put(MADE, "ring.json", said(MADE, "ring.json") | {"active": False}), id="other words beside it"),
        pytest.param(restated(MADE, generation=8), id="another generation"),
        pytest.param(restated(MADE, primary=3), id="another primary"),
        pytest.param(restated(MADE, region="sgp"), id="another region in the statement"),
        pytest.param(restated(MADE, purpose="rewrap"), id="another purpose"),
        pytest.param(put(MADE, "keyset.sealed", said(MADE) | {"ciphertext": "AAAA"}), id="another ciphertext"),
        pytest.param(put(MADE, "keyset.sealed", said(MADE) | {"nonce": "AAAA"}), id="another nonce"),
        pytest.param(
            put(MADE, "keyset.sealed", said(MADE) | {"recipients": said(secret())["recipients"]}), id="a foreign wrap"
        ),
        pytest.param(put(MADE, "keyset.sealed", said(MADE) | {"authenticators": {}}), id="no authenticator"),
        pytest.param(
            put(MADE, "keyset.sealed", said(MADE) | {"authenticators": said(MADE)["authenticators"] | BAD_MAC}),
            id="one of two authenticators wrong",
        ),
        pytest.param(secret(ELSEWHERE), id="another region's"),
        pytest.param(secret(recipients=THEIRS), id="for another public key"),
        pytest.param(secret(recipients=Recipients(OURS.points + THEIRS.points)), id="for one public key more"),
        pytest.param(secret(recipients=None), id="in clear text"),
        pytest.param(put(MADE, "keyset.json", b"{}"), id="something in clear text beside it"),
    ],
)
def test_what_the_operator_would_not_make_now_is_written_anew(body: dict[str, Any]) -> None:
    found = held(body)
    assert found.damaged
    place = Place("hkg", wanted=True, client=object(), serving=Found(body, found))  # type: ignore[arg-type]
    seen = view(place, 2, excluded=False)
    assert seen.keyset is not None
    assert seen.keyset.primary == -1, "no keyset that anybody wants"


def test_an_older_one_that_is_put_back_is_written_anew() -> None:
    assert not held(secret(generation=7), known=7).damaged
    assert held(secret(generation=7), known=8).damaged
    assert held(secret(generation=7, recipients=None), None, known=8).damaged


def test_sealed_is_not_what_a_ring_in_clear_text_wants() -> None:
    assert not held(secret(recipients=None), None).damaged
    assert held(secret(), None).damaged


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(restated(MADE, keys=[*said(MADE)["statement"]["keys"], [9, "0" * 32]]), id="one more"),
        pytest.param(restated(MADE, keys=[[1, "0" * 32]]), id="another fingerprint"),
    ],
)
def test_what_is_said_to_be_inside_counts_whoever_says_it(body: dict[str, Any]) -> None:
    """It may be true, and this the only copy: nothing is written over it."""
    assert held(body).keyset.keys == tuple((n, text) for n, text in said(body)["statement"]["keys"])


def test_versions_that_the_hub_has_lost_prove_nothing() -> None:
    assert held(MADE, keys=KEYS[:1]).damaged
    assert not held(MADE, keys=KEYS[1:2]).damaged, "one of the two is enough"


def test_other_material_of_the_same_number_is_not_taken_for_it() -> None:
    others = [replace(key, key=bytes([9]) * 32) for key in KEYS]
    assert held(MADE, keys=others).damaged


@pytest.mark.parametrize(
    ("body", "exposed"),
    [
        (MADE, False),
        (secret(recipients=None), False),
        (put(MADE, "keyset.json", b"{}"), True),
        ({**MADE, "metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"}}}, True),
        ({**MADE, "metadata": {"annotations": {"example.com/note": "x"}}}, False),
    ],
)
def test_what_an_apply_of_ours_would_leave(body: dict[str, Any], exposed: bool) -> None:
    assert is_exposed(body) is exposed


def test_a_keyset_is_sealed_for_nobody_never() -> None:
    with pytest.raises(ValueError, match="sealed for nobody"):
        secret(recipients=Recipients(()))


@pytest.mark.parametrize("generation", [2**53, 10**30, -1])
def test_a_generation_that_cannot_be_is_none(generation: int) -> None:
    words = said(MADE, "ring.json") | {"generation": generation}
    assert held_in(HERE, put(MADE, "ring.json", words)).generation == 0
