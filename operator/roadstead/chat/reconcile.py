"""The shell around a ChatService."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from roadstead.api.kinds import CHAT_SERVICE
from roadstead.kernel.context import Context, Result
from roadstead.kernel.objects import Gvr, Key

CHAT_SERVICES = Gvr(CHAT_SERVICE.group, CHAT_SERVICE.version, CHAT_SERVICE.plural, CHAT_SERVICE.kind)


def regions_of(body: Mapping[str, Any]) -> frozenset[str]:
    """Names of the regions that a ChatService runs in or should run in."""
    topology = (body.get("spec") or {}).get("topology") or {}
    placed = (body.get("status") or {}).get("regions") or ()
    return frozenset(str(entry.get("name")) for entry in (*(topology.get("regions") or ()), *placed))


class ChatReconciler:
    def __init__(self, secret_version: Callable[[str, str], str]) -> None:
        self._secret_version = secret_version

    async def reconcile(self, key: Key, ctx: Context) -> Result:
        return Result()
