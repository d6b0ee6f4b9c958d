"""Watching what is mounted, and handing it on opened."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from roadstead_keys_agent import child, mount
from roadstead_keys_agent.errors import AgentError, Reason

SEALED = "keyset.sealed"
OPEN = "keyset.json"
RING = "ring.json"
_REFUSED = "..pin-refused"
_SHORTEST_WAIT = 1.0
_LONGEST_WAIT = 60.0
_PIN = frozenset({Reason.PIN_WRONG, Reason.PIN_LOCKED})
"""What another attempt with the same PIN makes worse: modules lock themselves after a few."""


@dataclass(frozen=True, slots=True)
class Task:
    """One mount.

    Attributes:
        source: where the Secret is mounted.
        target: where the workload reads.
        optional: the Secret may come and go.
    """

    source: Path
    target: Path
    optional: bool = False


class Place(Protocol):
    """Where the private keys are."""

    def identity(self) -> str:
        """Another one whenever another attempt may end otherwise."""

    def request(self) -> Mapping[str, Any]:
        """As the opener takes it."""


@dataclass(frozen=True, slots=True)
class Files:
    """Private keys in files.

    Attributes:
        paths: of each.
    """

    paths: tuple[Path, ...]

    def identity(self) -> str:
        """See `Place.identity`."""
        return " ".join(map(mount.identity, self.paths))

    def request(self) -> Mapping[str, Any]:
        """See `Place.request`."""
        return {"files": list(map(str, self.paths))}


@dataclass(frozen=True, slots=True)
class Token:
    """Private keys in a token.

    Attributes:
        library: path of the PKCS#11 library.
        token: its label.
        pin_file: a file with the user's PIN.
    """

    library: str
    token: str
    pin_file: Path

    def identity(self) -> str:
        """See `Place.identity`."""
        return mount.identity(self.pin_file)

    def request(self) -> Mapping[str, Any]:
        """See `Place.request`."""
        try:
            pin = self.pin_file.read_text().strip()
        except (OSError, UnicodeDecodeError):
            words = f"{self.pin_file} cannot be read; mount a Secret with the PIN of token {self.token!r} there"
            raise AgentError(Reason.KEY_UNREADABLE, words) from None
        return {"library": self.library, "token": self.token, "pin": pin}


@dataclass(slots=True)
class _State:
    """What is known of one mount: what was tried last, and when it may be tried again."""

    tried: tuple[str, str] = ("", "")
    again: float | None = 0.0
    wait: float = _SHORTEST_WAIT
    said: str = ""


@dataclass(slots=True)
class Agent:
    """Opens keysets until told to stop.

    Attributes:
        tasks: the mounts.
        place: of the private keys.
        say: takes what people are told: level, message, more.
        now: seconds, of a clock that only goes on.
        limit: seconds for one opening.
        mode: of the files that are written.
    """

    tasks: Sequence[Task]
    place: Place
    say: Callable[..., None]
    now: Callable[[], float]
    limit: float = 10.0
    mode: int = 0o440
    _states: dict[Task, _State] = field(default_factory=dict)

    def run(self, stop: threading.Event, poll: float) -> None:
        """Look every so many seconds."""
        while True:
            self.look()
            if stop.wait(poll):
                return

    def look(self) -> None:
        """Look at every mount once."""
        for task in self.tasks:
            state = self._states.setdefault(task, _State())
            seen = (mount.identity(task.source), self.place.identity())
            if seen == state.tried:
                if state.again is None or self.now() < state.again:
                    continue
            else:
                state.wait = _SHORTEST_WAIT
            state.tried = seen
            try:
                said = self._hand_on(task, seen[1])
            except AgentError as error:
                # A PIN that was refused waits for another PIN; anything else may be mended without a trace here.
                state.again = None if error.reason in _PIN else self.now() + state.wait
                state.wait = min(2 * state.wait, _LONGEST_WAIT)
                self._tell(state, "error", str(error), reason=error.reason, source=str(task.source))
            else:
                state.again = None
                self._tell(state, "info", said, source=str(task.source), target=str(task.target))

    def _tell(self, state: _State, level: str, message: str, **more: str) -> None:
        if message != state.said:
            state.said = message
            self.say(level, message, **more)

    def _hand_on(self, task: Task, keys: str) -> str:
        files = mount.read(task.source)
        if task.optional and not (files.keys() & {SEALED, OPEN}):
            if mount.read(task.target):
                mount.publish(task.target, {}, self.mode)
            return "there is nothing to open, and nothing has to be"
        beside = files.get(RING, b"")
        if not beside or not (files.keys() & {SEALED, OPEN}):
            words = f"{task.source} has no {SEALED} beside {RING}; mount the Secret <ring>.<region>.keyset there"
            raise AgentError(Reason.SOURCE, words)
        said, former = _words_of(beside), _words_of(mount.read(task.target).get(RING, b""))
        _require_newer(said, former)
        how = "opened"
        if SEALED in files:
            content = self._opened(task, files[SEALED], beside, keys)
        else:
            # While a ring changes from Cleartext to Encrypted, pods have to be able to use either.
            content, how = files[OPEN], "passed on as it is, since it is in clear text (spec.distribution: Cleartext)"
        mount.publish(task.target, {OPEN: content, RING: beside}, self.mode)
        return f"generation {said.get('generation')} of ring {said.get('ring')} was {how}"

    def _opened(self, task: Task, content: bytes, beside: bytes, keys: str) -> bytes:
        # In the target, since it stays when the container is started again, and is gone with the pod.
        refused = task.target / _REFUSED
        if refused.is_file() and refused.read_text() == keys:
            words = "the PIN was refused before this container was started again; it is tried when its file changes"
            raise AgentError(Reason.PIN_WRONG, words)
        request = {
            "ask": "open",
            "place": self.place.request(),
            "content": base64.b64encode(content).decode(),
            "beside": base64.b64encode(beside).decode(),
        }
        try:
            opened = base64.b64decode(child.ask(request, self.limit))
        except AgentError as error:
            if error.reason in _PIN:
                refused.write_text(keys)
            raise
        refused.unlink(missing_ok=True)
        return opened


def _words_of(content: bytes) -> dict[str, Any]:
    try:
        said = json.loads(content or b"{}")
    except ValueError:
        said = None
    return said if isinstance(said, dict) else {}


def _require_newer(said: Mapping[str, Any], former: Mapping[str, Any]) -> None:
    """Refuse what the library refuses: another ring, or an older keyset than was handed on before."""
    if not former:
        return
    if said.get("ring") != former.get("ring"):
        words = f"the mount has ring {said.get('ring')} now, and {former.get('ring')} is in use; mount one ring only"
        raise AgentError(Reason.OTHER_RING, words)
    older, newer = said.get("generation"), former.get("generation")
    if isinstance(older, int) and isinstance(newer, int) and older < newer:
        words = f"the mount has generation {older}, and {newer} is in use; the operator writes a newer one"
        raise AgentError(Reason.OLDER, words)
