"""The commands."""

from __future__ import annotations

import argparse
import json
import resource
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from roadstead_keys_agent import child, mount
from roadstead_keys_agent.agent import Agent, Files, Place, Task, Token
from roadstead_keys_agent.errors import AgentError

REFUSED = 1
USAGE = 2


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command."""
    parser = _parser()
    given = parser.parse_args(arguments)
    # Keysets pass through this process, too: no crash may leave them on a disk.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        code = given.command(parser, given)
    except AgentError as error:
        print(f"error: {error}", file=sys.stderr)
        code = REFUSED
    raise SystemExit(code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="roadstead keys agent",
        description="Open the keysets of rings with spec.distribution Encrypted, inside a pod of the region.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    run = commands.add_parser("run", help="Open what is mounted, and again whenever it changes.")
    _key_options(run, several=True)
    run.add_argument(
        "--open",
        metavar="SOURCE=TARGET",
        action="append",
        default=[],
        type=_pair,
        help="A mounted Secret, and the directory in memory in which the workload reads the keyset. May be repeated.",
    )
    run.add_argument(
        "--open-optional",
        metavar="SOURCE=TARGET",
        action="append",
        default=[],
        type=_pair,
        help="The same for a Secret that may come and go, such as the one for rewrapping.",
    )
    run.add_argument("--poll", metavar="SECONDS", type=float, default=2.0, help="Time between two looks. Default: 2.")
    run.add_argument(
        "--limit", metavar="SECONDS", type=float, default=10.0, help="How long one opening may take. Default: 10."
    )
    run.add_argument(
        "--mode",
        metavar="OCTAL",
        type=lambda text: int(text, 8),
        default=0o440,
        help="Mode of the files. Default: 0440, for a workload with the fsGroup of the pod.",
    )
    run.set_defaults(command=_run)

    ready = commands.add_parser("ready", help="Whether every target has a keyset: for startup probes.")
    ready.add_argument("targets", metavar="TARGET", nargs="+", type=Path)
    ready.set_defaults(command=_ready)

    keygen = commands.add_parser("keygen", help="Make a region's key pair, and print the public key.")
    _key_options(keygen, several=False)
    keygen.add_argument("--label", default="roadstead-keys", help="Of the pair in a token. Default: roadstead-keys.")
    keygen.set_defaults(command=_keygen)

    public = commands.add_parser("public-key", help="Print the public keys of the private ones that are there.")
    _key_options(public, several=True)
    public.set_defaults(command=_public_key)
    return parser


def _key_options(parser: argparse.ArgumentParser, *, several: bool) -> None:
    parser.add_argument(
        "--key-file",
        metavar="FILE",
        action="append",
        default=[],
        type=Path,
        help="A private key (P-256) in PEM." + (" May be repeated: an old and a new one." if several else ""),
    )
    parser.add_argument("--pkcs11-library", metavar="FILE", default="", help="PKCS#11 library of a token instead.")
    parser.add_argument("--token", metavar="LABEL", default="", help="Label of the token.")
    parser.add_argument("--pin-file", metavar="FILE", type=Path, help="File with the PIN of the token's user.")


def _pair(text: str) -> tuple[Path, Path]:
    source, _, target = text.partition("=")
    if not source or not target:
        raise argparse.ArgumentTypeError(f"is {text}; write SOURCE=TARGET, such as /sealed/chat=/keys/chat")
    return Path(source), Path(target)


def _place(parser: argparse.ArgumentParser, given: argparse.Namespace) -> Place:
    in_token = bool(given.pkcs11_library or given.token or given.pin_file)
    if in_token == bool(given.key_file):
        parser.error("write --key-file, or --pkcs11-library with --token and --pin-file")
    if not in_token:
        return Files(tuple(given.key_file))
    if not (given.pkcs11_library and given.token and given.pin_file):
        parser.error("write all of --pkcs11-library, --token and --pin-file")
    return Token(given.pkcs11_library, given.token, given.pin_file)


def _run(parser: argparse.ArgumentParser, given: argparse.Namespace) -> int:
    tasks = [Task(source, target) for source, target in given.open]
    tasks += [Task(source, target, optional=True) for source, target in given.open_optional]
    if not tasks:
        parser.error("write --open SOURCE=TARGET at least once")
    for task in tasks:
        mount.require_memory(task.target)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    agent = Agent(tasks, _place(parser, given), _say, time.monotonic, given.limit, given.mode)
    agent.run(stop, given.poll)
    return 0


def _say(level: str, message: str, **more: str) -> None:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    print(json.dumps({"time": now, "level": level, "message": message, **more}), flush=True)


def _ready(_: argparse.ArgumentParser, given: argparse.Namespace) -> int:
    missing = [str(target) for target in given.targets if not mount.read(target)]
    if missing:
        print(f"no keyset yet in {', '.join(missing)}", file=sys.stderr)
    return REFUSED if missing else 0


def _keygen(parser: argparse.ArgumentParser, given: argparse.Namespace) -> int:
    if len(given.key_file) > 1:
        parser.error("write --key-file once; each pair is made by itself")
    request = {"ask": "generate", "place": _place(parser, given).request(), "label": given.label}
    print(child.ask(request, limit=60.0), end="")
    return 0


def _public_key(parser: argparse.ArgumentParser, given: argparse.Namespace) -> int:
    found = child.ask({"ask": "public", "place": _place(parser, given).request()}, limit=60.0)
    print(found or "no key pair on P-256 is there; make one with keygen\n", end="", file=None if found else sys.stderr)
    return 0 if found else REFUSED
