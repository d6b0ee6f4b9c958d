"""``roadstead keys``: the commands for rings of keys. Each imports what it needs when it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from roadstead.cli.agent import agent
from roadstead.cli.output import Format
from roadstead.cli.running import Kubeconfig, KubeContext, Output, access_to, run, seconds_of

if TYPE_CHECKING:
    from roadstead.cli.ring_acts import Act

keys = typer.Typer(help="Look at rings of keys, and change them.", no_args_is_help=True, rich_markup_mode=None)
keys.add_typer(agent, name="agent")

Ring = Annotated[str, typer.Argument(metavar="RING", help="Name of the KeyRing, or NAMESPACE/NAME.")]
RingNamespace = Annotated[
    str, typer.Option("--namespace", "-n", metavar="NS", help="Namespace of the ring. Default: the context's.")
]
Wait = Annotated[bool, typer.Option("--wait", help="Stay until it is done.")]
For = Annotated[str, typer.Option("--for", metavar="TIME", help="Stay no longer than this, such as 30m; then 6.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be written; write nothing.")]
Version = Annotated[int, typer.Argument(metavar="VERSION", min=1, help="Number of the version.")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for those who are to approve it.")]
Expires = Annotated[str, typer.Option("--expires", metavar="TIME", help="How long it may be approved; at most 30d.")]
Required = Annotated[
    int, typer.Option("--required", metavar="N", min=1, max=8, help="How many others have to approve it.")
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


@keys.command()
def rotate(
    ring: Ring,
    namespace: RingNamespace = "",
    wait: Wait = False,
    duration: For = "",
    dry_run: DryRun = False,
    output: Output = Format.TABLE,
    kubeconfig: Kubeconfig = "",
    context: KubeContext = "",
) -> None:
    """Make another version now, also while the schedule is suspended. Lead, soak and proofs are waited for as always.

    With --wait, stay until it is the primary and every pod writes with it: exit code 0; 1 when the ring is stalled.
    """
    from roadstead.cli.ring_acts import rotate as rotate_it  # noqa: PLC0415

    act = _act(ring, namespace, output, wait=wait, duration=duration, dry_run=dry_run)
    run(lambda: rotate_it(access_to(kubeconfig, context), act))


@keys.command()
def suspend(
    ring: Ring,
    version: Annotated[
        int, typer.Option("--version", metavar="N", help="One version instead: it does not retire. For administrators.")
    ] = 0,
    namespace: RingNamespace = "",
    dry_run: DryRun = False,
    output: Output = Format.TABLE,
    kubeconfig: Kubeconfig = "",
    context: KubeContext = "",
) -> None:
    """Suspend the schedule of a ring, so that no slot begins a version; a rotation that is under way goes on."""
    _suspend(ring, namespace, version, access=(kubeconfig, context), dry_run=dry_run, output=output, suspended=True)


@keys.command()
def resume(
    ring: Ring,
    version: Annotated[
        int, typer.Option("--version", metavar="N", help="One version that was suspended. For administrators.")
    ] = 0,
    namespace: RingNamespace = "",
    dry_run: DryRun = False,
    output: Output = Format.TABLE,
    kubeconfig: Kubeconfig = "",
    context: KubeContext = "",
) -> None:
    """Let the schedule of a ring run again; slots that were missed become one version."""
    _suspend(ring, namespace, version, access=(kubeconfig, context), dry_run=dry_run, output=output, suspended=False)


@keys.command()
def compromise(
    ring: Ring,
    version: Version,
    reason: Reason,
    namespace: RingNamespace = "",
    expires: Expires = "24h",
    required: Required = 1,
    wait: Wait = False,
    duration: For = "",
    dry_run: DryRun = False,
    output: Output = Format.TABLE,
    kubeconfig: Kubeconfig = "",
    context: KubeContext = "",
) -> None:
    """Ask that a version be given up: nothing is served with it any more. Another person has to approve it.

    The primary is replaced at once, but never before every pod has proved that it reads the next one.
    """
    act = _act(ring, namespace, output, wait=wait, duration=duration, dry_run=dry_run)
    _ask(act, "CompromiseVersion", {"version": str(version)}, reason, expires, required, (kubeconfig, context))


@keys.command()
def remove(
    ring: Ring,
    up_to: Annotated[int, typer.Option("--up-to", metavar="N", min=1, help="The newest of the versions.")],
    reason: Reason,
    shred: Annotated[
        bool, typer.Option("--shred", help="Destroy also the keys that they were wrapped with. For ever.")
    ] = False,
    namespace: RingNamespace = "",
    expires: Expires = "24h",
    required: Required = 1,
    wait: Wait = False,
    duration: For = "",
    dry_run: DryRun = False,
    output: Output = Format.TABLE,
    kubeconfig: Kubeconfig = "",
    context: KubeContext = "",
) -> None:
    """Ask that the keys of versions that have ended be deleted in the hub. Another person has to approve it."""
    act = _act(ring, namespace, output, wait=wait, duration=duration, dry_run=dry_run)
    parameters = {"upTo": str(up_to)} | ({"shred": "true"} if shred else {})
    _ask(act, "RemoveVersions", parameters, reason, expires, required, (kubeconfig, context))


@keys.command()
def exclude(
    ring: Ring,
    region: Annotated[str, typer.Argument(metavar="REGION", help="Name of the Region.")],
    reason: Reason,
    namespace: RingNamespace = "",
    expires: Expires = "24h",
    required: Required = 1,
    wait: Wait = False,
    duration: For = "",
    dry_run: DryRun = False,
    output: Output = Format.TABLE,
    kubeconfig: Kubeconfig = "",
    context: KubeContext = "",
) -> None:
    """Ask that rotations no longer wait for a region. Another person has to approve it.

    What is written elsewhere cannot be read there until the region has proved the versions that it has missed.
    """
    act = _act(ring, namespace, output, wait=wait, duration=duration, dry_run=dry_run)
    _ask(act, "ExcludeRegion", {"region": region}, reason, expires, required, (kubeconfig, context))


@keys.command()
def adopt(
    ring: Ring,
    region: Annotated[str, typer.Argument(metavar="REGION", help="Name of the Region whose keys are taken over.")],
    reason: Reason,
    keyset: Annotated[
        str, typer.Option("--keyset", metavar="DIGEST", help="Of its keyset. Default: what the ring's status says.")
    ] = "",
    namespace: RingNamespace = "",
    expires: Expires = "24h",
    required: Required = 1,
    wait: Wait = False,
    duration: For = "",
    dry_run: DryRun = False,
    output: Output = Format.TABLE,
    kubeconfig: Kubeconfig = "",
    context: KubeContext = "",
) -> None:
    """Ask that the hub take over the keys of a region after a restore. Another person has to approve it.

    For a ring that is LedgerBehind: the hub was restored from a backup that is older than the region.
    """
    act = _act(ring, namespace, output, wait=wait, duration=duration, dry_run=dry_run)
    parameters = {"region": region} | ({"keyset": keyset} if keyset else {})
    _ask(act, "AdoptKeyset", parameters, reason, expires, required, (kubeconfig, context))


@keys.command("shorten-retention")
def shorten_retention(
    ring: Ring,
    retention: Annotated[str, typer.Argument(metavar="TIME", help="The new spec.retention, such as 30d.")],
    reason: Reason,
    namespace: RingNamespace = "",
    expires: Expires = "24h",
    required: Required = 1,
    wait: Wait = False,
    duration: For = "",
    dry_run: DryRun = False,
    output: Output = Format.TABLE,
    kubeconfig: Kubeconfig = "",
    context: KubeContext = "",
) -> None:
    """Ask that versions retire sooner: data that lives longer becomes unreadable. Another person has to approve it."""
    seconds_of(retention, "TIME")
    act = _act(ring, namespace, output, wait=wait, duration=duration, dry_run=dry_run)
    _ask(act, "ShortenRetention", {"retention": retention}, reason, expires, required, (kubeconfig, context))


def _act(ring: str, namespace: str, output: Format, *, wait: bool, duration: str, dry_run: bool) -> Act:
    from roadstead.cli.ring_acts import Act  # noqa: PLC0415

    if duration and not wait:
        raise typer.BadParameter("says how long to stay; say --wait too, or leave it out", param_hint="--for")
    return Act(ring, namespace, wait=wait, seconds=seconds_of(duration), dry_run=dry_run, output=output)


def _suspend(
    ring: str,
    namespace: str,
    version: int,
    *,
    access: tuple[str, str],
    dry_run: bool,
    output: Format,
    suspended: bool,
) -> None:
    from roadstead.cli.ring_acts import mark, schedule  # noqa: PLC0415

    act = _act(ring, namespace, output, wait=False, duration="", dry_run=dry_run)
    if version:
        run(lambda: mark(access_to(*access), act, version, suspended=suspended))
    else:
        run(lambda: schedule(access_to(*access), act, "Suspended" if suspended else "Running"))


def _ask(
    act: Act,
    operation: str,
    parameters: dict[str, str],
    reason: str,
    expires: str,
    required: int,
    access: tuple[str, str],
) -> None:
    from datetime import timedelta  # noqa: PLC0415

    from roadstead.cli.ring_requests import Request, ask  # noqa: PLC0415

    lasts = timedelta(seconds=seconds_of(expires, "--expires") or 0)
    run(lambda: ask(access_to(*access), act, Request(operation, parameters, reason, lasts, required)))
