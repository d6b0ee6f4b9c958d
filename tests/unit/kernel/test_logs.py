"""One JSON object a line, with the fields of what is being worked on."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from roadstead.kernel import logs
from roadstead.kernel.logs import JsonFormatter, bound

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def root() -> Iterator[None]:
    logger, ours = logging.getLogger(), logging.getLogger("roadstead")
    handlers, level, propagates = logger.handlers[:], logger.level, ours.propagate
    ours.propagate = True  # the command line quietens it, and its tests run in this process too
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)
    ours.propagate = propagates


def lines(capsys: Captured) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_has_time_level_logger_message_and_bound_fields(capsys: Captured) -> None:
    logs.configure("json", "info")
    with bound(kind="ChatService", region="hkg"), bound(region="sin", reconcile="a"):
        logging.getLogger("roadstead.x").warning("hello %s", '\n{world}"é\x00')
    logging.getLogger("roadstead.x").info("outside")
    logging.getLogger("roadstead.x").debug("too fine")
    first, second = lines(capsys)
    assert first.pop("time").endswith("+00:00")
    assert first == {
        "level": "warning",
        "logger": "roadstead.x",
        "message": 'hello \n{world}"é\x00',
        "kind": "ChatService",
        "region": "sin",
        "reconcile": "a",
    }
    assert "kind" not in second


def test_an_error_brings_its_traceback_on_the_same_line(capsys: Captured) -> None:
    logs.configure("json", "INFO")
    try:
        raise KeyError("missing")
    except KeyError:
        logging.getLogger("x").exception("failed")
    (line,) = lines(capsys)
    assert "KeyError: 'missing'" in line["error"] and line["level"] == "error"


def test_a_field_of_any_type_is_written(capsys: Captured) -> None:
    logs.configure("json", "INFO")
    with bound(what=object, many={1, 2}):
        logging.getLogger("x").info("odd")
    assert "class" in lines(capsys)[0]["what"]


async def test_tasks_do_not_see_each_others_fields() -> None:
    async def said(name: str) -> str:
        with bound(name=name):
            await asyncio.sleep(0)
            record = logging.LogRecord("x", logging.INFO, "f", 1, "m", (), None)
            return str(json.loads(JsonFormatter().format(record))["name"])

    assert await asyncio.gather(*(said(str(n)) for n in range(5))) == list("01234")


def test_text_for_people(capsys: Captured) -> None:
    logs.configure("text", "INFO")
    logging.getLogger("roadstead.x").warning("hello")
    text = capsys.readouterr().err
    assert "WARNING" in text and "roadstead.x: hello" in text


def test_libraries_that_talk_too_much_are_quiet(capsys: Captured) -> None:
    logs.configure("json", "INFO")
    logging.getLogger("kopf.objects").info("every event of every object")
    logging.getLogger("aiohttp.access").info("every request")
    assert capsys.readouterr().err == ""
