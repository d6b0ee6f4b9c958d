"""The command ``roadstead-chat-load``.

Exit codes: 0 every guarantee held; 1 one did not (each is one line on standard error); 2 the run could not begin.
"""

import argparse
import asyncio
import ssl
import sys
from pathlib import Path
from urllib.parse import urlsplit

import orjson

from roadstead_chat_load import __version__, keys, letter
from roadstead_chat_load.client import Target
from roadstead_chat_load.run import Plan, RunError, run


def main() -> None:
    """Parse the arguments and run."""
    arguments = _parser().parse_args()
    try:
        if arguments.command == "keygen":
            print(keys.generate(arguments.file))
        elif arguments.command == "public-key":
            print(keys.public_key(keys.load(arguments.file)))
        elif arguments.command in ("send", "read"):
            asyncio.run(_letter(arguments))
        else:
            sys.exit(_run(arguments))
    except letter.LetterError as error:
        print(f"roadstead-chat-load: {error}", file=sys.stderr)
        sys.exit(1)
    except (keys.KeyFileError, RunError) as error:
        print(f"roadstead-chat-load: {error}", file=sys.stderr)
        sys.exit(2)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="roadstead-chat-load", description=__doc__.partition("\n")[2].strip())
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    keygen = commands.add_parser("keygen", help="write a signing key, print its public key for CHAT_TOKEN_PUBLIC_KEYS")
    keygen.add_argument("file", type=Path, help="new file for the Ed25519 seed, base64")
    public = commands.add_parser("public-key", help="print the public key of a signing key file")
    public.add_argument("file", type=Path, help="file that keygen wrote")
    _add_run(commands.add_parser("run", help="send messages, and check what arrives"))
    send = commands.add_parser("send", help="send one message, sealed with a room's key")
    _add_letter(send)
    send.add_argument("text", help="what it says")
    _add_letter(commands.add_parser("read", help="print the messages of a room that `send` wrote"))
    return parser


def _add_letter(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", required=True, help="wss://host[:port][/v1/chat]")
    parser.add_argument("--room", default="letters", help="name of the room (default letters)")
    parser.add_argument("--room-key-file", type=Path, required=True, help="the room's key; made when it is not there")
    _add_trust(parser)


def _add_trust(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--signing-key-file", type=Path, required=True, help="file that keygen wrote")
    parser.add_argument("--ca-file", type=Path, help="CA that signed the certificate; the system's otherwise")
    parser.add_argument("--server-name", help="host name in the certificate, when the URL has another")


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--url", action="append", required=True, help="wss://host[:port][/v1/chat]; several for several regions"
    )
    _add_trust(parser)
    parser.add_argument("--connections", type=_positive, default=20, help="clients in all (default 20)")
    parser.add_argument("--rooms", type=_positive, default=4, help="rooms for each URL (default 4)")
    parser.add_argument("--messages", type=_positive, default=1_000, help="messages in all (default 1000)")
    parser.add_argument("--rate", type=_not_negative, default=0.0, help="messages per second in all; 0: no limit")
    parser.add_argument("--payload-bytes", type=_positive, default=256, help="length of a plaintext (default 256)")
    parser.add_argument("--window", type=_positive, default=32, help="unanswered messages a client (default 32)")
    parser.add_argument("--settle", type=_not_negative, default=30.0, help="seconds to wait for the rest (default 30)")
    parser.add_argument("--limit", type=_not_negative, default=300.0, help="seconds for everything (default 300)")
    parser.add_argument("--churn", type=_not_negative, default=0.0, help="break each connection every so many seconds")
    parser.add_argument("--min-ratio", type=_not_negative, default=1.0, help="delivery ratio to reach (default 1.0)")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return value


def _not_negative(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0")
    return value


async def _letter(arguments: argparse.Namespace) -> None:
    target = Target(_url(arguments.url), _trust(arguments.ca_file), arguments.server_name)
    signing, box = keys.load(arguments.signing_key_file), letter.room_key(arguments.room_key_file)
    if arguments.command == "send":
        print(f"durable as {await letter.send(target, signing, box, arguments.room, arguments.text)}")
    else:
        for text in await letter.read(target, signing, box, arguments.room):
            print(text)


def _run(arguments: argparse.Namespace) -> int:
    tls = _trust(arguments.ca_file)
    targets = [Target(_url(url), tls, arguments.server_name) for url in arguments.url]
    if arguments.connections < len(targets):
        raise RunError(f"--connections is {arguments.connections} for {len(targets)} URLs; write at least as many")
    plan = Plan(
        targets,
        arguments.connections,
        arguments.rooms,
        arguments.messages,
        arguments.rate,
        arguments.payload_bytes,
        arguments.window,
        arguments.settle,
        arguments.limit,
        arguments.churn,
    )
    report = asyncio.run(run(plan, keys.load(arguments.signing_key_file)))
    print(orjson.dumps(report.as_dict()).decode() if arguments.json else report.as_text())
    broken = report.broken(arguments.min_ratio)
    if report.interrupted:
        broken.append(f"the run was not finished after {arguments.limit:.0f} s (--limit)")
    for sentence in broken:
        print(f"roadstead-chat-load: {sentence}", file=sys.stderr)
    return 1 if broken else 0


def _trust(ca_file: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise RunError(f"--ca-file {ca_file} cannot be used: {error}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme != "wss" or not parts.hostname:
        raise RunError(f"--url is {text!r}; write wss://host[:port]")
    return text if parts.path not in ("", "/") else f"wss://{parts.netloc}/v1/chat"


if __name__ == "__main__":
    main()
