"""The operator, as a program, with one operation of its own that leaves a ConfigMap behind: for tests of Approvals.

``Leave {outcome}`` of a KeyRing makes the ConfigMap ``<approval>-done``, with what it was told as its data.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from unittest.mock import patch

from roadstead import main, process
from roadstead.api.problems import Problem
from roadstead.kernel import objects
from roadstead.kernel.context import Context
from roadstead.kernel.errors import ServerFault
from roadstead.kernel.objects import CONFIG_MAPS, KEY_RINGS
from roadstead.kernel.operations import Done, Impossible, Operation, Order, Outcome, Unfinished
from roadstead.keys.deks import Deks

OUTCOMES = ("done", "later", "impossible", "failure")
PATIENCE = 5.0
"""Seconds for which `later` waits and `failure` fails: long enough to be seen on a machine that has much to do."""


def check(parameters: Mapping[str, str]) -> Problem | None:
    """Asks for one of `OUTCOMES` and nothing else."""
    outcome = parameters.get("outcome", "")
    if outcome in OUTCOMES and len(parameters) == 1:
        return None
    says = f"is {outcome}, none of {', '.join(OUTCOMES)}"
    return Problem("spec.parameters.outcome", outcome, says, "make another Approval with one of them")


async def leave(order: Order, ctx: Context) -> Outcome:
    """Make the ConfigMap, at once or a little later; or say that it cannot be."""
    client, key = ctx.hub.client, order.approval
    outcome, waited = order.parameters["outcome"], time.time() - order.begun.timestamp() > PATIENCE
    if outcome == "impossible":
        return Impossible("it cannot be left; leave it")
    if outcome == "later" and not waited:
        return Unfinished("waits for its time", 0.2)
    if outcome == "failure" and not waited:
        raise ServerFault("the hub answered 500: no")
    name = f"{key.name}-done"
    if await client.find(CONFIG_MAPS, key.namespace, name) is not None:
        return Done("it was left before")
    data = {
        "subject": order.subject["metadata"]["uid"],
        "uid": order.uid,
        "requestedBy": order.requested_by,
        "approvedBy": " ".join(order.approved_by),
    }
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
    await client.create(CONFIG_MAPS, key.namespace, body, manager=objects.FIELD_MANAGER)
    return Done(f"left {name}")


class LeaveOperations:
    """What can be asked for, instead of what can be done to keys."""

    def __init__(self, deks: Deks) -> None:
        del deks

    def all(self) -> tuple[Operation, ...]:
        """Every one of them."""
        return (Operation(KEY_RINGS, "Leave", check, leave),)


if __name__ == "__main__":
    with patch.object(process, "KeyOperations", LeaveOperations):
        main.main()
