"""A hub whose etcd is put back to a backup while a ring rotates. The regions know more than it does then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from approvals import Person
from clusters import eventually
from keyconsumers import Consumer
from rings import blocked, ended, looked_at, phases, region, rotate, settled, status_of
from worlds import NAMESPACE, SETTLE_SECONDS, Body, World, condition_of

MakeRing = Callable[..., str]
MakePod = Callable[[str, str], Consumer]
Ask = Callable[..., str]
REGIONS = ("hkg", "sgp")


class Story:
    """A ring with a pod in each region, how far it has come, and what was encrypted until then.

    Args:
        world: where.
        ring: name of the KeyRing.
        users: a pod of each region.
    """

    def __init__(self, world: World, ring: str, users: dict[str, Consumer]) -> None:
        self.world, self.ring, self.users = world, ring, users
        self.texts: list[bytes] = []

    def come(self, *, proving: bool = True, **wanted: str) -> None:
        """Wait for the phases of versions, while pods take up what they are given, and perhaps prove it."""

        def there() -> bool:
            for user in self.users.values():
                if proving:
                    user.catch_up()
                else:
                    user.load()
            found = {f"v{number}": phase for number, phase in phases(self.world, self.ring).items()}
            assert found == wanted, status_of(self.world, self.ring)
            return True

        eventually(there, deadline=2 * SETTLE_SECONDS)

    def encrypt(self) -> None:
        """Each pod encrypts something with what it has for primary."""
        self.texts += [user.ring.encrypt(b"words", b"row 1") for user in self.users.values()]

    def all_is_read(self) -> None:
        """Each pod, and one that starts now, reads everything that any has encrypted."""
        for user in self.users.values():
            user.load()
            for text in self.texts:
                assert user.ring.decrypt(text, b"row 1") == b"words"

    def keysets(self) -> dict[str, Body]:
        """What the regions have, to the last byte, and to the last write: their API servers know no backup."""
        return {name: self.world.at[name].get("secrets", f"{self.ring}.{name}.keyset") for name in self.users}


def drained(story: Story) -> None:
    story.come(v1="Draining", v2="Primary")
    settled(story.world, story.ring, 2)
    story.encrypt()
    assert {text[:5] for text in story.texts[-2:]} == {b"\x01\x00\x00\x00\x02"}


def published(story: Story) -> None:
    story.come(proving=False, v1="Primary", v2="Published")
    eventually(
        lambda: all(user.load() and 2 in user.ring.versions for user in story.users.values()), deadline=SETTLE_SECONDS
    )
    story.encrypt()
    assert {text[:5] for text in story.texts[-2:]} == {b"\x01\x00\x00\x00\x01"}


def nothing(_story: Story) -> None:
    """No more than one version."""


@pytest.fixture
def unharmed(world: World) -> Iterator[None]:
    """The hub is as it was, whatever a test has put back."""
    yield
    if world.operator is None:
        world.start()


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize(
    ("backed_up", "lost"),
    [(nothing, drained), (nothing, published), (published, drained)],
    ids=["before a rotation", "before a rotation that goes on", "within a rotation"],
)
def test_a_hub_from_a_backup_overwrites_nothing_and_takes_over_what_a_region_has(
    world: World,
    make: MakeRing,
    pod: MakePod,
    ask: Ask,
    people: tuple[Person, Person],
    tmp_path: Path,
    backed_up: Callable[[Story], None],
    lost: Callable[[Story], None],
) -> None:
    name = make(*REGIONS, retention="90d")
    settled(world, name, 1)
    story = Story(world, name, {one: pod(name, one) for one in REGIONS})
    story.come(v1="Primary")
    story.encrypt()
    asked = ask(name, "ShortenRetention", approved=False, retention="90d")
    if backed_up is not nothing:
        rotate(world, name)
    backed_up(story)
    world.stop()
    world.hub.back_up(tmp_path / "backup")
    world.start()

    # What the hub will have forgotten.
    if backed_up is nothing:
        rotate(world, name)
    lost(story)
    people[1].approve({"metadata": {"namespace": NAMESPACE, "name": asked}})
    ended(world, asked)
    before, texts = story.keysets(), len(story.texts)
    world.stop()
    world.hub.restore(tmp_path / "backup")
    forgotten = phases(world, name)
    world.start()

    blocked(world, name, "LedgerBehind: hkg")
    stalled = condition_of(world.at_hub.get("keyrings", name), "Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "LedgerBehind")
    ended(world, asked, "Pending")  # who approved it must do so again
    rotate(world, name)
    for _ in range(3):
        for user in story.users.values():
            user.catch_up()
        looked_at(world, name)
    assert phases(world, name) == forgotten, "no number is taken, and nothing goes on"
    assert story.keysets() == before, "what may be the only copy was written over"
    story.all_is_read()

    # A digest that was of another keyset is no word for this one.
    wrong = ask(name, "AdoptKeyset", region="hkg", keyset="0123456789abcdef")
    assert "but region hkg has the keyset" in ended(world, wrong, "Refused")
    adopt = ask(name, "AdoptKeyset", region="hkg", keyset=region(world, name, "hkg")["keyset"])
    assert ended(world, adopt).startswith("taken over from region hkg: ")

    # The rotation that was asked for meanwhile takes the number after it.
    story.come(v1="Draining", v2="Draining", v3="Primary")
    settled(world, name, 3)
    story.encrypt()
    assert {text[:5] for text in story.texts[texts:]} == {b"\x01\x00\x00\x00\x03"}
    story.users["new"] = pod(name, "sgp")
    story.all_is_read()
