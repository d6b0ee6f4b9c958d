"""What is being done, how far it is, and how long it took the last time: lines on stderr that a person can wait by."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from localkube import cache

HEARTBEAT_SECONDS = 20.0


def say(text: str) -> None:
    """Print one line of progress."""
    print(f"==> {text}", file=sys.stderr, flush=True)


def last_duration(task: str) -> float | None:
    """Return how many seconds ``task`` took when it last succeeded on this machine, if it ever did."""
    value = _durations().get(task)
    return float(value) if value is not None else None


@contextlib.contextmanager
def step(task: str, *, number: int = 1, of: int = 1, quiet_below: float = 0.0) -> Iterator[None]:
    """Announce ``task``, show that it is alive, and remember its duration for the next time.

    Args:
        task: What is done, for example ``build kube-apiserver``; the same words find the last duration again.
        number: Which one this is.
        of: Of how many.
        quiet_below: Say nothing at the end when it took fewer seconds than this.
    """
    position = f" ({number} of {of})" if of > 1 else ""
    last = last_duration(task)
    say(f"{task}{position}" + (f", last time {last:.0f} s" if last is not None else ""))
    started = time.monotonic()
    finished = threading.Event()
    alive = threading.Thread(target=_heartbeat, args=(task, started, finished), daemon=True)
    alive.start()
    try:
        yield
    except BaseException:
        say(f"{task}: failed after {time.monotonic() - started:.0f} s")
        raise
    finally:
        finished.set()
        alive.join()
    took = time.monotonic() - started
    _remember(task, took)
    if took >= quiet_below:
        say(f"{task}: done in {took:.1f} s")


def _heartbeat(task: str, started: float, finished: threading.Event) -> None:
    while not finished.wait(HEARTBEAT_SECONDS):
        say(f"{task}: {time.monotonic() - started:.0f} s so far")


def _file() -> Path:
    return cache.root() / "durations.json"


def _durations() -> dict[str, float]:
    try:
        loaded = json.loads(_file().read_text())
    except (OSError, ValueError):
        return {}  # a lost estimate is no reason to stop
    return loaded if isinstance(loaded, dict) else {}


def _remember(task: str, seconds: float) -> None:
    with contextlib.suppress(OSError), cache.lock(cache.root() / ".durations.lock", waiting_for="durations"):
        durations = _durations() | {task: round(seconds, 2)}
        staged = _file().with_suffix(f".{os.getpid()}.{threading.get_ident()}")
        staged.write_text(json.dumps(durations, indent=1, sort_keys=True))
        staged.replace(_file())
