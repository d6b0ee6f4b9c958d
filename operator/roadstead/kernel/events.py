"""Kubernetes events on transitions, bounded; a lost event is never a reason to fail.

The same event again is no repeat: the condition turned again, or the repair was made again, and whoever reads the
events must see how they end. What flaps is bounded by a bucket instead, as in client-go's spam filter.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from roadstead.kernel import objects
from roadstead.kernel.client import ClusterClient
from roadstead.kernel.clock import Clock
from roadstead.kernel.errors import Fatal, RoadsteadError
from roadstead.kernel.objects import Key

BURST = 25
"""Events with the same reason about the same object that may come at once; client-go's number."""
REFILL = 300.0
"""Seconds after which one more may come; client-go's number."""
REMEMBERED = 20_000
"""How many buckets are remembered; above that those that were used least recently are forgotten, and full again."""
NOTE_LIMIT = 1024
"""Bytes of a note in UTF-8; the API server refuses more."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Bucket:
    """How many more events with one reason about one object may be posted.

    One for each reason: repairs that are made again and again may not keep a failed rollout from being told.
    """

    left: float = BURST
    at: float = 0.0
    held_back: int = 0

    def filled(self, now: float) -> Bucket:
        """The bucket as it is now: one more event for each `REFILL` seconds, and never more than `BURST`."""
        return replace(self, left=min(BURST, self.left + (now - self.at) / REFILL), at=now)

    def posted(self) -> Bucket:
        """After an event that told how many had been held back before it."""
        return replace(self, left=self.left - 1.0, held_back=0)

    def refused(self) -> Bucket:
        """After an event that was not posted."""
        return replace(self, held_back=self.held_back + 1)


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
        self._buckets: dict[tuple[Key, str], Bucket] = {}

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
            note: a sentence, for people; how many like it were held back before is added.
            action: what was done, one CamelCase word.
            warning: type Warning instead of Normal.
        """
        metadata = regarding["metadata"]
        key = Key(kind, metadata.get("namespace", ""), metadata["name"])
        now = self._clock.monotonic()
        bucket = self._buckets.get((key, reason), Bucket(at=now)).filled(now)
        if bucket.left < 1.0:
            self._remember((key, reason), bucket.refused())
            return False
        self._remember((key, reason), bucket.posted())
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
            "note": noted(note, bucket.held_back),
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

    def _remember(self, what: tuple[Key, str], bucket: Bucket) -> None:
        self._buckets.pop(what, None)
        self._buckets[what] = bucket
        while len(self._buckets) > REMEMBERED:
            del self._buckets[next(iter(self._buckets))]


def noted(note: str, held_back: int) -> str:
    """The note as it is sent: no longer than the API server takes, and with what was held back at its end."""
    more = f" ({held_back} more like this were not posted)" if held_back else ""
    return _shortened(note, NOTE_LIMIT - len(more.encode())) + more


def _shortened(note: str, limit: int) -> str:
    content = note.encode()
    if len(content) <= limit:
        return note
    ellipsis = "…"
    return content[: limit - len(ellipsis.encode())].decode(errors="ignore") + ellipsis
