"""The operator's process: flags, and the way it ends. What runs in it is put together in `roadstead.process`."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from roadstead import __version__
from roadstead.api.duration import parse_duration
from roadstead.kernel.errors import Fatal
from roadstead.kernel.lease import LeaseTimes
from roadstead.kernel.logs import configure
from roadstead.keys.kek_pinned import Module
from roadstead.process import Options, Process

LOST = 1
"""Exit code when the lease is lost or something unexpected ends the process; Kubernetes starts it again."""
USAGE = 2


def seconds(text: str) -> float:
    """A duration such as ``15s`` or ``500ms`` in seconds.

    Raises:
        argparse.ArgumentTypeError: it is not one.
    """
    try:
        return parse_duration(text).total_seconds()
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text} is no duration; write for example 15s or 500ms") from error


def parser() -> argparse.ArgumentParser:
    """Every flag; each can be set by an environment variable ``ROADSTEAD_<FLAG>`` too."""
    flags = argparse.ArgumentParser(prog="roadstead-operator", description="Runs Roadstead's controllers and webhooks.")
    add = flags.add_argument
    add("--version", action="version", version=f"roadstead-operator {__version__}")
    add("--kubeconfig", default="", help="the hub's kubeconfig; default: the pod's ServiceAccount")
    add("--namespace", default="roadstead-system", help="the operator's own namespace")
    add("--hub-id", default="", help="identity of this hub on its children; default: uid of the namespace kube-system")
    add("--metrics-address", default="127.0.0.1", help="address for /metrics, /healthz and /readyz")
    add("--metrics-port", type=int, default=8080, help="port for them; 0 picks one")
    add("--webhook-address", default="0.0.0.0", help="address for the admission webhooks")  # noqa: S104 - in a pod
    add("--webhook-port", type=int, default=9443, help="port for the admission webhooks; 0 switches them off")
    add("--webhook-secret", default="roadstead-webhook-tls", help="Secret with the webhooks' certificate")
    add("--webhook-service", default="roadstead-webhook", help="Service in front of the webhooks")
    add("--webhook-configuration", default="roadstead", help="ValidatingWebhookConfiguration whose caBundle is kept")
    add(
        "--webhook-certificates",
        choices=("self-managed", "external"),
        default="self-managed",
        help="self-managed: the operator keeps Secret and caBundle; external: somebody else does, such as cert-manager",
    )
    add("--lease-name", default="roadstead-operator", help="Lease that the leader holds")
    add("--lease-duration", type=seconds, default="15s", help="how long the lease holds unless renewed")
    add("--renew-deadline", type=seconds, default="10s", help="after this time a leader that cannot renew ends")
    add("--retry-period", type=seconds, default="2s", help="time between two renewals")
    add("--identity", default="", help="name of this process in the lease; default: host name and a random part")
    add("--pkcs11-library", default="", help="path of the PKCS#11 library; empty: no KEKs in an HSM")
    add("--pkcs11-token", default="", help="label of the token in it that keeps KEKs")
    add("--pkcs11-pin-file", default="", help="file with the token's user PIN; read again when it changes")
    add("--pkcs11-environment", default="", help="names of our own variables that the library gets, commas between")
    add("--workers", type=int, default=16, help="how many resources are reconciled at once")
    add("--log-format", choices=("json", "text"), default="json")
    add("--log-level", type=str.upper, choices=("DEBUG", "INFO", "WARNING", "ERROR"), default="INFO")
    return flags


def options(arguments: Sequence[str], environment: Mapping[str, str]) -> argparse.Namespace:
    """Read flags over environment over defaults; ends the process with code 2 and a message when one is wrong."""
    flags = parser()
    known = {action.dest for action in flags._actions}
    prefix = "ROADSTEAD_"
    flags.set_defaults(
        **{
            name: value
            for variable, value in environment.items()
            if variable.startswith(prefix) and (name := variable.removeprefix(prefix).lower()) in known
        }
    )
    parsed = flags.parse_args(arguments)
    for action in flags._actions:  # argparse checks the choices of arguments, not those of defaults
        value = getattr(parsed, action.dest, None)
        if action.choices is not None and value not in action.choices:
            flags.error(f"{prefix}{action.dest.upper()} is {value}; use one of {', '.join(map(str, action.choices))}")
    return parsed


def hsm(flags: argparse.Namespace, environment: Mapping[str, str]) -> Module | None:
    """The token that the flags name; None when they name none.

    Raises:
        ValueError: they name half of one.
    """
    needed = {name: getattr(flags, name) for name in ("pkcs11_library", "pkcs11_token", "pkcs11_pin_file")}
    variables = [name for name in flags.pkcs11_environment.split(",") if name]
    if not any(needed.values()) and not variables:
        return None
    for name, value in needed.items():
        if not value:
            flag = "--" + name.replace("_", "-")
            raise ValueError(f"{flag} is empty, but other flags name an HSM; write it too, or none of --pkcs11-*")
    for name in variables:
        if name not in environment:
            raise ValueError(f"--pkcs11-environment names {name}, which is not set; set it or leave it out")
    given = {name: environment[name] for name in variables}
    return Module(flags.pkcs11_library, flags.pkcs11_token, Path(flags.pkcs11_pin_file), given)


GC_THRESHOLDS = (50_000, 20, 50)
"""Allocations, and collections of the younger generations, after which cycles are looked for."""


def main() -> None:
    """Entry point of ``roadstead-operator``."""
    flags = options(sys.argv[1:], os.environ)
    configure(flags.log_format, flags.log_level)
    try:
        times = LeaseTimes(flags.lease_duration, flags.renew_deadline, flags.retry_period)
    except ValueError as error:
        print(f"roadstead-operator: {error}", file=sys.stderr)
        sys.exit(USAGE)
    # Lists of children are a million small dicts that die young: with Python's own thresholds a third of a cold start
    # goes into looking for cycles among them (bench/README.md).
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        module = hsm(flags, os.environ)
    except ValueError as error:
        print(f"roadstead-operator: {error}", file=sys.stderr)
        sys.exit(USAGE)
    process = Process(
        Options(
            kubeconfig=flags.kubeconfig,
            namespace=flags.namespace,
            hub_id=flags.hub_id,
            metrics_address=flags.metrics_address,
            metrics_port=flags.metrics_port,
            webhook_address=flags.webhook_address,
            webhook_port=flags.webhook_port,
            webhook_secret=flags.webhook_secret,
            webhook_service=flags.webhook_service,
            webhook_configuration=flags.webhook_configuration,
            webhook_certificates=flags.webhook_certificates,
            lease_name=flags.lease_name,
            lease_times=times,
            identity=flags.identity,
            workers=flags.workers,
            hsm=module,
        )
    )
    try:
        code = asyncio.run(process.run())
    except Fatal as error:
        logging.getLogger(__name__).critical("the process ends: %s", error)
        code = LOST
    # Threads of libraries must not keep a process alive that has lost its lease.
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
