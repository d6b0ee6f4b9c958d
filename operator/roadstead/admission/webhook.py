"""The admission handlers: gather facts, judge, answer. Their ids are the paths in the chart; a test compares them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import kopf

from roadstead.admission.facts import FactFinder
from roadstead.admission.rules import Operation, Verdict, judge_region, judge_ring, judge_service
from roadstead.admission.server import Endpoint
from roadstead.api.kinds import CHAT_SERVICE, GROUP, KEY_RING, REGION, VERSION
from roadstead.kernel.errors import RoadsteadError

logger = logging.getLogger(__name__)

CHAT_SERVICE_ENDPOINT = Endpoint("validate-chatservice", GROUP, CHAT_SERVICE.plural, ("CREATE", "UPDATE"))
REGION_ENDPOINT = Endpoint("validate-region", GROUP, REGION.plural, ("CREATE", "UPDATE", "DELETE"))
KEY_RING_ENDPOINT = Endpoint("validate-keyring", GROUP, KEY_RING.plural, ("CREATE", "UPDATE", "DELETE"))
ENDPOINTS = (CHAT_SERVICE_ENDPOINT, REGION_ENDPOINT, KEY_RING_ENDPOINT)


def register(registry: kopf.OperatorRegistry, facts_of: FactFinder) -> None:
    """Add the admission handlers to kopf's registry.

    Args:
        registry: the operator's.
        facts_of: where facts come from.
    """

    async def chat_service(*, warnings: list[str], **review: Any) -> None:
        body = _plain(review["new"]) or {}
        try:
            facts = await facts_of.about_service(body)
        except (RoadsteadError, ValueError) as error:
            raise _unchecked(error) from error
        _answer(judge_service(body, _plain(review["old"]), facts), warnings, HTTPStatus.UNPROCESSABLE_ENTITY)

    async def region(*, warnings: list[str], **review: Any) -> None:
        what, present, wanted = Operation(review["operation"]), _plain(review["old"]), _plain(review["new"])
        try:
            facts = await facts_of.about_region(what, wanted, present)
        except (RoadsteadError, ValueError) as error:
            raise _unchecked(error) from error
        code = HTTPStatus.CONFLICT if what is Operation.DELETE else HTTPStatus.UNPROCESSABLE_ENTITY
        _answer(judge_region(what, wanted, present, facts), warnings, code)

    async def key_ring(*, warnings: list[str], **review: Any) -> None:
        what, present, wanted = Operation(review["operation"]), _plain(review["old"]), _plain(review["new"])
        try:
            facts = await facts_of.about_ring(wanted, present)
        except (RoadsteadError, ValueError) as error:
            raise _unchecked(error) from error
        code = HTTPStatus.CONFLICT if what is Operation.DELETE else HTTPStatus.UNPROCESSABLE_ENTITY
        _answer(judge_ring(what, wanted, present, facts), warnings, code)

    handlers = ((CHAT_SERVICE_ENDPOINT, chat_service), (REGION_ENDPOINT, region), (KEY_RING_ENDPOINT, key_ring))
    for endpoint, handler in handlers:
        kopf.on.validate(
            GROUP, VERSION, endpoint.resource, id=endpoint.id, operations=endpoint.operations, registry=registry
        )(handler)


def _plain(body: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Kopf's view of an object as the dict that it is made from, one level deep."""
    return None if body is None else dict(body)


def _answer(verdict: Verdict, warnings: list[str], code: HTTPStatus) -> None:
    warnings.extend(verdict.warnings)
    if verdict.refusals:
        raise kopf.AdmissionError(verdict.message, code=int(code))


def _unchecked(error: Exception) -> kopf.AdmissionError:
    logger.warning("a review could not be decided: %s", error)
    return kopf.AdmissionError(
        f"Roadstead could not look at what this depends on ({error}); try again in a moment",
        code=int(HTTPStatus.SERVICE_UNAVAILABLE),
    )
