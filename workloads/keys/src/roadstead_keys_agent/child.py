"""Asking the process that has to do with keys, for no longer than is agreed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from roadstead_keys_agent.errors import AgentError, Reason

_GRACE = 5.0
"""Seconds for it to end of itself when told to: a library that writes to its token should not be cut short."""


def ask(request: Mapping[str, Any], limit: float) -> str:
    """What it answers.

    Args:
        request: see `roadstead_keys_agent.opener`.
        limit: seconds.

    Raises:
        AgentError: it refuses, crashes, or takes too long.
    """
    command = [sys.executable, "-P", "-m", "roadstead_keys_agent.opener"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            output, _ = process.communicate(json.dumps(request).encode(), timeout=limit)
        except subprocess.TimeoutExpired:
            _end(process)
            words = f"no answer within {limit:g} s; is the token or the key's file reachable?"
            raise AgentError(Reason.TIMED_OUT, words) from None
        except BaseException:
            _end(process)
            raise
    try:
        said = json.loads(output)
    except ValueError:
        words = "the process that opens keysets ended without an answer; see the log of the PKCS#11 module"
        raise AgentError(Reason.CRASHED, words) from None
    if "reason" in said:
        raise AgentError(Reason(said["reason"]), said["message"])
    return str(said["result"])


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
