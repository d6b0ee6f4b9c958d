"""Kubernetes events on transitions, deduplicated; a lost event is never a reason to fail."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from roadstead.kernel import objects
from roadstead.kernel.client import ClusterClient
from roadstead.kernel.clock import Clock
from roadstead.kernel.errors import Fatal, RoadsteadError
from roadstead.kernel.objects import Key

REPEAT_AFTER = 600.0
"""Seconds during which the same event of the same object is not sent again."""
REMEMBERED = 20_000
"""How many recent events are remembered; above that the oldest are forgotten."""
NOTE_LIMIT = 1024
"""Bytes of a note in UTF-8; the API server refuses more."""

log = logging.getLogger(__name__)


class EventRecorder:
    """Posts ``events.k8s.io/v1`` events.

    Args:
        client: the hub.
        clock: time.
        instance: this process, as ``reportingInstance``.
    """

    def __init__(self, client: ClusterClient, clock: Clock, instance: str) -> None:
        self._client = client
        self._clock = clock
        self._instance = instance[:128]
        self._recent: dict[tuple[Key, str, str], float] = {}

    async def emit(
        self,
        regarding: Mapping[str, Any],
        kind: str,
        *,
        reason: str,
        note: str,
        action: str,
        warning: bool = False,
    ) -> bool:
        """Tell about a transition of ``regarding`` (a body with metadata); returns whether it was sent.

        Args:
            regarding: the object that it is about.
            kind: its kind.
            reason: one CamelCase word, for machines.
            note: a sentence, for people.
            action: what was done, one CamelCase word.
            warning: type Warning instead of Normal.
        """
        metadata = regarding["metadata"]
        key = Key(kind, metadata.get("namespace", ""), metadata["name"])
        now = self._clock.monotonic()
        if now - self._recent.get((key, reason, note), float("-inf")) < REPEAT_AFTER:
            return False
        self._remember((key, reason, note), now)
        namespace = metadata.get("namespace") or "default"
        reference = {
            "apiVersion": regarding["apiVersion"],
            "kind": kind,
            "name": metadata["name"],
            "uid": metadata["uid"],
            **({"namespace": metadata["namespace"]} if metadata.get("namespace") else {}),
        }
        body: dict[str, Any] = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"generateName": f"{metadata['name'][:50]}-", "namespace": namespace},
            "eventTime": self._clock.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "reportingController": "roadstead.dev/operator",
            "reportingInstance": self._instance,
            "action": action,
            "reason": reason,
            "regarding": reference,
            "note": _shortened(note),
            "type": "Warning" if warning else "Normal",
        }
        try:
            await self._client.create(objects.EVENTS, namespace, body, manager=objects.FIELD_MANAGER)
        except Fatal:
            raise  # not a lost event: we may not write any more
        except RoadsteadError as error:
            log.warning("could not post the event %s of %s: %s", reason, key, error)
            return False
        return True

    def _remember(self, what: tuple[Key, str, str], now: float) -> None:
        self._recent.pop(what, None)
        self._recent[what] = now
        while len(self._recent) > REMEMBERED:
            del self._recent[next(iter(self._recent))]


def _shortened(note: str) -> str:
    content = note.encode()
    if len(content) <= NOTE_LIMIT:
        return note
    ellipsis = "…"
    return content[: NOTE_LIMIT - len(ellipsis.encode())].decode(errors="ignore") + ellipsis
