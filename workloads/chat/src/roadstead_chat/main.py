"""The command ``roadstead-chat``: reads the environment, opens what it names, serves.

Exit codes: 0 drained and stopped, 1 the store failed while running, 2 a setting, a port, the certificate, the keyset or
the store cannot be used (each problem is one line on standard error, with its cure).
"""

import asyncio
import os
import sqlite3
import sys

from roadstead_keys import KeysError, Ring

from roadstead_chat import __version__, logs, server
from roadstead_chat.config import Config, ConfigError, load
from roadstead_chat.journal import Journal
from roadstead_chat.metrics import Metrics
from roadstead_chat.schema import SchemaError
from roadstead_chat.tls import Certificate, TlsError


def main() -> None:
    """Run the relay until SIGTERM."""
    if sys.argv[1:] == ["--version"]:
        print(__version__)
        return
    if sys.argv[1:]:
        sys.exit("roadstead-chat takes its settings from the environment: see docs/workload-contract.md")
    # The writer's thread and the loop share the interpreter: by default one waits up to 5 ms for the other.
    sys.setswitchinterval(0.0005)
    logs.configure()
    try:
        config = load(os.environ)
        metrics = Metrics(config.service, config.region, config.role.value, __version__)
        certificate = Certificate(config.tls_dir, lambda result: metrics.tls_reloads.labels(result).inc())
        ring = _ring(config)
        journal = _open(config, ring)
        for note in config.unknown:
            print(f"roadstead-chat: warning: {note}", file=sys.stderr)
        code = asyncio.run(server.serve(config, certificate, journal, metrics, ring))
    except ConfigError as error:
        _refuse(error.problems)
    except (TlsError, SchemaError, KeysError) as error:
        _refuse([str(error)])
    else:
        sys.exit(code)


def _ring(config: Config) -> Ring | None:
    if config.keys_dir is None:
        return None
    try:
        return Ring.open(config.keys_dir, rewrap=config.keys_rewrap_dir)
    except KeysError as error:
        raise ConfigError([f"CHAT_KEYS_DIR {config.keys_dir} has no keyset that can be used: {error}"]) from None


def _open(config: Config, ring: Ring | None) -> Journal:
    try:
        return Journal(config.store, server.new_store(), ring=ring)
    except sqlite3.Error as error:
        raise SchemaError(
            f"CHAT_STORE {config.store} cannot be opened ({error}); its directory must exist and be writable"
        ) from None


def _refuse(problems: list[str]) -> None:
    for problem in problems:
        print(f"roadstead-chat: {problem}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
