"""``roadstead keys``: the commands for rings of keys. Each imports what it needs when it runs."""

from __future__ import annotations

from typing import Annotated

import typer

from roadstead.cli.agent import agent
from roadstead.cli.output import Format
from roadstead.cli.running import Kubeconfig, KubeContext, Output, access_to, run

keys = typer.Typer(help="Look at rings of keys, and change them.", no_args_is_help=True, rich_markup_mode=None)
keys.add_typer(agent, name="agent")

Ring = Annotated[str, typer.Argument(metavar="RING", help="Name of the KeyRing, or NAMESPACE/NAME.")]
RingNamespace = Annotated[
    str, typer.Option("--namespace", "-n", metavar="NS", help="Namespace of the ring. Default: the context's.")
]


@keys.command()
def status(
    ring: Annotated[str, typer.Argument(metavar="[RING]", help="One ring, with its matrix, or NAMESPACE/NAME.")] = "",
    namespace: RingNamespace = "",
    everywhere: Annotated[bool, typer.Option("--all-namespaces", "-A", help="Rings of all namespaces.")] = False,
    output: Output = Format.TABLE,
    kubeconfig: Kubeconfig = "",
    context: KubeContext = "",
) -> None:
    """Show rings: which version is written with, which region has proved which version, and what is waited for."""
    from roadstead.cli.ring_status import Question, report  # noqa: PLC0415

    question = Question(ring, namespace, everywhere=everywhere, output=output)
    run(lambda: report(access_to(kubeconfig, context), question))


@keys.command()
def history(
    ring: Ring,
    namespace: RingNamespace = "",
    output: Output = Format.TABLE,
    kubeconfig: Kubeconfig = "",
    context: KubeContext = "",
) -> None:
    """List every version that a ring ever had: its phase and since when, the slot it was made for, its fingerprint."""
    from roadstead.cli.ring_status import Question, show_history  # noqa: PLC0415

    run(lambda: show_history(access_to(kubeconfig, context), Question(ring, namespace, output=output)))
