"""``roadstead keys agent``: the agent of a region's pods, a small program of its own that takes this one's place."""

from __future__ import annotations

import os
import sys
from typing import Annotated, NoReturn

import typer

agent = typer.Typer(
    help="In a region: make its key pair, and open sealed keysets in its pods.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

KeyFiles = Annotated[
    list[str] | None,
    typer.Option("--key-file", metavar="FILE", help="A private key (P-256) in PEM. May be repeated."),
]
Library = Annotated[str, typer.Option("--pkcs11-library", metavar="FILE", help="PKCS#11 library of a token instead.")]
Token = Annotated[str, typer.Option("--token", metavar="LABEL", help="Label of the token.")]
PinFile = Annotated[str, typer.Option("--pin-file", metavar="FILE", help="File with the PIN of the token's user.")]


@agent.command()
def keygen(
    key_file: KeyFiles = None,
    library: Library = "",
    token: Token = "",
    pin_file: PinFile = "",
    label: Annotated[str, typer.Option("--label", help="Of the pair in a token. Default: roadstead-keys.")] = "",
) -> None:
    """Make a region's key pair, and print the public key, which belongs into spec.keyEncryption of the Region."""
    _become("keygen", *_place(key_file, library, token, pin_file), *_option("--label", label))


@agent.command("public-key")
def public_key(key_file: KeyFiles = None, library: Library = "", token: Token = "", pin_file: PinFile = "") -> None:
    """Print the public keys of the private ones that are there."""
    _become("public-key", *_place(key_file, library, token, pin_file))


@agent.command()
def run(
    to_open: Annotated[
        list[str] | None,
        typer.Option(
            "--open",
            metavar="SOURCE=TARGET",
            help="A mounted Secret, and the directory in memory where the workload reads the keyset. May be repeated.",
        ),
    ] = None,
    optional: Annotated[
        list[str] | None,
        typer.Option("--open-optional", metavar="SOURCE=TARGET", help="The same for one that may come and go."),
    ] = None,
    key_file: KeyFiles = None,
    library: Library = "",
    token: Token = "",
    pin_file: PinFile = "",
    poll: Annotated[str, typer.Option("--poll", metavar="SECONDS", help="Time between two looks. Default: 2.")] = "",
    limit: Annotated[
        str, typer.Option("--limit", metavar="SECONDS", help="How long one opening may take. Default: 10.")
    ] = "",
    mode: Annotated[str, typer.Option("--mode", metavar="OCTAL", help="Mode of the files. Default: 0440.")] = "",
) -> None:
    """Open what is mounted, and again whenever it changes: a sidecar of the pods that use a ring."""
    _become(
        "run",
        *(word for pair in to_open or () for word in ("--open", pair)),
        *(word for pair in optional or () for word in ("--open-optional", pair)),
        *_place(key_file, library, token, pin_file),
        *_option("--poll", poll),
        *_option("--limit", limit),
        *_option("--mode", mode),
    )


@agent.command()
def ready(targets: Annotated[list[str], typer.Argument(metavar="TARGET...")]) -> None:
    """Whether every target has a keyset: for startup probes."""
    _become("ready", *targets)


def _place(files: list[str] | None, library: str, token: str, pin_file: str) -> list[str]:
    named = [word for path in files or () for word in ("--key-file", path)]
    return [
        *named,
        *_option("--pkcs11-library", library),
        *_option("--token", token),
        *_option("--pin-file", pin_file),
    ]


def _option(name: str, value: str) -> list[str]:
    return [name, value] if value else []


def _become(*arguments: str) -> NoReturn:
    # Nothing of this process, which has read the libraries of a command line, is to stay in memory beside a workload.
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "roadstead_keys_agent", *arguments])  # noqa: S606 - no shell is wanted
