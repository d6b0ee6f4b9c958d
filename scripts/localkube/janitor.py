"""Cleans up after a run whose process died, whatever killed it.

Started beside the process, in a session of its own so that Ctrl-C does not reach it; reads its standard input, a pipe
from the process. ``done`` or ``kept`` means that there is nothing to do; the end of the pipe without a word is death.
"""

from __future__ import annotations

import signal
import sys
import time

from localkube import kind, runs

GIVE_UP_SECONDS = 120.0


def main() -> None:
    """Wait for the process of run ``argv[1]``, then remove what it left."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    if sys.stdin.readline().strip() in ("done", "kept"):
        return
    deadline = time.monotonic() + GIVE_UP_SECONDS
    while True:
        try:
            kind.sweep(run_id=sys.argv[1])
        except runs.NotOurRunError:
            if sys.argv[1] not in runs.every():
                return
        except Exception as error:  # whatever fails now may work in a moment, and nobody else will do it
            print(f"{error!r}; trying again", file=sys.stderr, flush=True)
        else:
            return
        if time.monotonic() > deadline:
            return
        time.sleep(1)


if __name__ == "__main__":
    main()
