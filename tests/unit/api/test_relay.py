"""The relay's options, as the API knows them, are those that the relay reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from roadstead.api.chatservice import RESERVED_ENV
from roadstead.api.relay import OPTIONS, PREFIX, nearest_option
from roadstead_chat.config import ConfigError, load


class Asked(Mapping[str, str]):
    """An empty environment that remembers what it was asked for."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.names.add(name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def test_the_options_are_those_that_the_relay_reads_and_the_operator_does_not_set() -> None:
    environ = Asked()
    with pytest.raises(ConfigError):
        load(environ)
    assert sorted(OPTIONS) == sorted(environ.names - set(RESERVED_ENV))
    assert all(name.startswith(PREFIX) for name in OPTIONS)


def test_the_nearest_option_is_named() -> None:
    assert nearest_option("CHAT_TOKEN_PUBLIC_KEY") == "CHAT_TOKEN_PUBLIC_KEYS"
    assert nearest_option("CHAT_MAX_ROOM") == "CHAT_MAX_ROOMS"
