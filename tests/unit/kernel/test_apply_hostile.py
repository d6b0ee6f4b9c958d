"""Whose an object is, and what is told of it."""

from __future__ import annotations

from base64 import b64encode
from types import SimpleNamespace
from typing import Any

import pytest

from roadstead.kernel import objects
from roadstead.kernel.apply import Applier
from roadstead.kernel.errors import Forbidden, RoadsteadError, ServerFault
from roadstead.kernel.objects import SECRETS, Key
from roadstead.kernel.ownership import Claim, Owner, claim, is_lost
from roadstead.kernel.store import ChildStore, to_record
from unit.kernel.objects_as_seen import HUB, seen

A, B = Key("ChatService", "n", "a"), Key("ChatService", "n", "b")
OWNER = Owner(HUB, A, "uid-a")


def labelled(owner: Key, uid: str, **labels: str) -> dict[str, Any]:
    metadata = seen(owner)["metadata"]
    metadata["labels"] |= labels
    metadata["annotations"][objects.OWNER_UID_ANNOTATION] = uid
    found: dict[str, Any] = metadata
    return found


@pytest.mark.parametrize(
    "metadata",
    [
        pytest.param(labelled(A, "uid-a", **{objects.HUB_LABEL: "hub-2"}), id="a hub restored from our hub's backup"),
        pytest.param(labelled(B, "uid-a"), id="another owner of ours, the annotation copied"),
    ],
)
def test_what_says_in_all_its_labels_that_it_is_anothers_is_neither_adopted_nor_deleted(
    metadata: dict[str, Any],
) -> None:
    """The uid is evidence where labels were lost. Here none was: they name somebody else."""
    assert claim(metadata, OWNER, "hkg") is Claim.FOREIGN
    assert not is_lost(metadata, OWNER, "hkg")


@pytest.mark.parametrize("error", [Forbidden, ServerFault])
async def test_a_refused_deletion_that_quotes_a_secret_is_not_repeated(error: type[RoadsteadError]) -> None:
    """A webhook on DELETE is shown the whole object as oldObject, as one on CREATE is; its words go to the status."""
    key = b64encode(b"-----BEGIN PRIVATE KEY-----").decode()
    words = f'admission webhook "audit.example" denied the request: {{"data":{{"tls.key":"{key}"}}}}'

    async def delete(*_: object, **__: object) -> bool:
        raise error(words)

    client: Any = SimpleNamespace(delete=delete)
    outcome = await Applier(client, ChildStore(HUB), OWNER, "hkg").delete([to_record(SECRETS, seen(A))])
    assert key not in str(outcome)
