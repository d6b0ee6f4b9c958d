"""The table of commands. Each imports what it needs when it runs: completion must not wait for a Kubernetes client."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from roadstead.cli.exits import ExitCode
from roadstead.cli.keys import keys
from roadstead.cli.output import Format, note
from roadstead.cli.running import (
    SYSTEM_NAMESPACE,
    Kubeconfig,
    KubeContext,
    Namespace,
    Output,
    System,
    access_to,
    run,
    run_plain,
    seconds_of,
)

app = typer.Typer(
    name="roadstead",
    help="Services over several regions: what they do, what a change would do, and what is wrong with a manifest.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
ApprovalNamespace = Annotated[
    str, typer.Option("--namespace", "-n", metavar="NS", help="Namespace of the Approval. Default: the context's.")
]
region = typer.Typer(help="Add, list and cordon regions.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(region, name="region")
app.add_typer(keys, name="keys")


@app.command()
def status(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="One service, in detail.")] = "",
    namespace: Namespace = "",
    everywhere: Annotated[bool, typer.Option("--all-namespaces", "-A", help="Services of all namespaces.")] = False,
    regions: Annotated[bool, typer.Option("--regions", help="The regions instead of the services.")] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Stay, and show every change.")] = False,
    until_ready: Annotated[
        bool,
        typer.Option(
            "--until-ready", help="Stay until all is Ready: exit code 0; 1 when it is stalled, 6 after --for."
        ),
    ] = False,
    duration: Annotated[str, typer.Option("--for", metavar="TIME", help="Stay no longer than this, such as 5m.")] = "",
    output: Output = Format.TABLE,
    kubeconfig: Kubeconfig = "",
    context: KubeContext = "",
) -> None:
    """Show services and regions: what runs where, in which version, how far a rollout is, and what is wrong."""
    from roadstead.cli.status import Question, report  # noqa: PLC0415

    space, _, name = name.rpartition("/")
    question = Question(
        name=name,
        namespace=space or namespace,
        everywhere=everywhere,
        regions=regions,
        watch=watch or until_ready,
        until_ready=until_ready,
        seconds=seconds_of(duration),
        output=output,
    )
    run(lambda: report(access_to(kubeconfig, context), question))


@app.command("explain-plan")
def explain_plan(
    target: Annotated[str, typer.Argument(metavar="FILE|NAME", help="A manifest, - for standard input, or a service.")],
    namespace: Namespace = "",
    offline: Annotated[bool, typer.Option("--offline", help="Ask no cluster; Regions are those in the file.")] = False,
    fail_on_changes: Annotated[
        bool, typer.Option("--fail-on-changes", help="Exit code 7 when anything would be changed.")
    ] = False,
    summary: Annotated[bool, typer.Option("--summary", help="Name the objects, without diffs.")] = False,
    hub_id: Annotated[
        str, typer.Option("--hub-id", metavar="ID", help="The operator's --hub-id, where it was set.")
    ] = "",
    output: Output = Format.TABLE,
    kubeconfig: Kubeconfig = "",
    context: KubeContext = "",
    system_namespace: System = SYSTEM_NAMESPACE,
) -> None:
    """Show what the operator would do for a service: where, in which order, and as a diff against what is there.

    Every region's API server is asked with a dry run, under the field manager roadstead-cli; nothing is written.
    """
    from roadstead.cli.explain import Question, explain, explain_offline  # noqa: PLC0415

    question = Question(target, namespace, hub_id, system_namespace, fail_on_changes, summary, output)
    if offline:
        run_plain(lambda: explain_offline(question))
    else:
        run(lambda: explain(access_to(kubeconfig, context), question))


@app.command("lint")
def lint_command(
    files: Annotated[
        list[str], typer.Argument(metavar="FILES...", help="Manifests, folders, or - for standard input.")
    ],
    warnings_as_errors: Annotated[
        bool, typer.Option("--warnings-as-errors", help="Exit code 1 for warnings too.")
    ] = False,
    output: Output = Format.TABLE,
    system_namespace: System = SYSTEM_NAMESPACE,
) -> None:
    """Check manifests without a cluster, by the rules that admission uses.

    Regions in the files are what a service's residency is judged by. Other kinds are skipped.
    """
    from roadstead.cli.lint import Severity, as_data, lint  # noqa: PLC0415
    from roadstead.cli.output import data, line  # noqa: PLC0415
    from roadstead.cli.sources import contents  # noqa: PLC0415

    def work() -> None:
        report = lint(contents(files), system_namespace=system_namespace)
        errors, warnings = report.count(Severity.ERROR), report.count(Severity.WARNING)
        if output is Format.TABLE:
            for finding in report.findings:
                line(str(finding))
            skipped = f", {report.skipped} of other kinds skipped" if report.skipped else ""
            note(f"{report.checked} checked{skipped}: {errors} errors, {warnings} warnings")
        else:
            data(as_data(report), output)
        if errors or (warnings and warnings_as_errors):
            raise typer.Exit(ExitCode.FAULTY)

    run_plain(work)


@region.command("add")
def region_add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new Region, at most 23 characters.")],
    member: Annotated[
        Path, typer.Option("--kubeconfig", metavar="FILE", help="An administrator's kubeconfig of the member.")
    ],
    jurisdiction: Annotated[str, typer.Option("--jurisdiction", metavar="CODE", help="ISO 3166 code, such as HK.")],
    member_context: Annotated[str, typer.Option("--context", metavar="NAME", help="Context of the member in it.")] = "",
    zones: Annotated[str, typer.Option("--zones", metavar="A,B", help="Zones of the member's nodes.")] = "",
    server: Annotated[
        str, typer.Option("--server", metavar="URL", help="Where the hub reaches the member. Default: as we do.")
    ] = "",
    service_account: Annotated[
        str, typer.Option("--service-account", metavar="NAME", help="Of the member profile. Default: the only one.")
    ] = "",
    member_namespace: Annotated[
        str, typer.Option("--member-namespace", metavar="NS", help="Where the member profile is installed.")
    ] = SYSTEM_NAMESPACE,
    replace: Annotated[
        bool, typer.Option("--replace", help="The Region exists: give it a new kubeconfig, and what else is said here.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print Secret and Region, a live token with them; write nothing.")
    ] = False,
    output: Output = Format.TABLE,
    hub_kubeconfig: Annotated[
        str, typer.Option("--hub-kubeconfig", metavar="FILE", help="Kubeconfig of the hub. Default: KUBECONFIG.")
    ] = "",
    hub_context: Annotated[str, typer.Option("--hub-context", metavar="NAME", help="Context of the hub in it.")] = "",
    system_namespace: Annotated[
        str,
        typer.Option(
            "--namespace", "-n", envvar="ROADSTEAD_NAMESPACE", metavar="NS", help="The operator's own, in the hub."
        ),
    ] = SYSTEM_NAMESPACE,
) -> None:
    """Make a cluster a region.

    The chart's member profile must be installed there: helm install roadstead-member charts/roadstead --set
    mode=member -n roadstead-system --create-namespace. Its ServiceAccount's token, and no right of the administrator,
    goes into the hub, after it was seen to work.
    """
    from roadstead.cli.joining import Wish  # noqa: PLC0415
    from roadstead.cli.regions import Member, add  # noqa: PLC0415

    wish = Wish(name, jurisdiction, tuple(part.strip() for part in zones.split(",") if part.strip()), system_namespace)
    source = Member(str(member), member_context, server, service_account, member_namespace)
    run(
        lambda: add(access_to(hub_kubeconfig, hub_context), source, wish, renew=replace, dry_run=dry_run, output=output)
    )


@region.command("list")
def region_list(output: Output = Format.TABLE, kubeconfig: Kubeconfig = "", context: KubeContext = "") -> None:
    """List the regions: state, place, capacity, services. The same as status --regions."""
    from roadstead.cli.status import Question, report  # noqa: PLC0415

    run(lambda: report(access_to(kubeconfig, context), Question(regions=True, output=output)))


@region.command("cordon")
def region_cordon(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The Region.")],
    output: Output = Format.TABLE,
    kubeconfig: Kubeconfig = "",
    context: KubeContext = "",
) -> None:
    """Take a region out of placement: what runs there stays, nothing new comes."""
    _schedule(name, "Cordoned", output, kubeconfig, context)


@region.command("uncordon")
def region_uncordon(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The Region.")],
    output: Output = Format.TABLE,
    kubeconfig: Kubeconfig = "",
    context: KubeContext = "",
) -> None:
    """Let services be placed in a region again."""
    _schedule(name, "Enabled", output, kubeconfig, context)


@app.command()
def approvals(
    namespace: ApprovalNamespace = "",
    everywhere: Annotated[bool, typer.Option("--all-namespaces", "-A", help="Approvals of all namespaces.")] = False,
    output: Output = Format.TABLE,
    kubeconfig: Kubeconfig = "",
    context: KubeContext = "",
) -> None:
    """List what was asked for that two people decide: those that wait for an approval first."""
    from roadstead.cli.approvals import Question, show_approvals  # noqa: PLC0415

    question = Question(namespace=namespace, everywhere=everywhere, output=output)
    run(lambda: show_approvals(access_to(kubeconfig, context), question))


@app.command()
def approve(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The Approval, or NAMESPACE/NAME.")],
    namespace: ApprovalNamespace = "",
    remark: Annotated[str, typer.Option("--remark", metavar="TEXT", help="Kept beside your name for ever.")] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask whether it is meant.")] = False,
    output: Output = Format.TABLE,
    kubeconfig: Kubeconfig = "",
    context: KubeContext = "",
) -> None:
    """Approve what somebody else has asked for, after it was shown; then the operator does it.

    Needs the verb approve on approvals.roadstead.dev (the chart's ClusterRole roadstead-approve).
    """
    from roadstead.cli.approvals import Question  # noqa: PLC0415
    from roadstead.cli.approvals import approve as approve_it  # noqa: PLC0415

    question = Question(name=name, namespace=namespace, remark=remark, sure=yes, output=output)
    run(lambda: approve_it(access_to(kubeconfig, context), question))


@app.command()
def version(
    client: Annotated[bool, typer.Option("--client", help="Ask no cluster.")] = False,
    output: Output = Format.TABLE,
    kubeconfig: Kubeconfig = "",
    context: KubeContext = "",
    system_namespace: System = SYSTEM_NAMESPACE,
) -> None:
    """Show the versions of this program, of the operator in the hub, and of the API servers."""
    from roadstead.cli.versions import show_versions  # noqa: PLC0415

    run(lambda: show_versions(None if client else access_to(kubeconfig, context), system_namespace, output))


@app.command()
def completion(
    shell: Annotated[str, typer.Argument(metavar="SHELL", help="bash, zsh, fish, powershell or pwsh.")],
) -> None:
    """Print a script that completes commands in a shell, such as: source <(roadstead completion bash)."""
    from typer.completion import Shells, get_completion_script  # type: ignore[attr-defined]  # noqa: PLC0415

    if shell not in (known := [entry.value for entry in Shells]):
        note(f"roadstead: {shell} is no shell that is known here; write one of {', '.join(known)}")
        raise typer.Exit(ExitCode.USAGE)
    typer.echo(get_completion_script(prog_name="roadstead", complete_var="_ROADSTEAD_COMPLETE", shell=shell))


def _schedule(name: str, scheduling: str, output: Format, kubeconfig: str, context: str) -> None:
    from roadstead.cli.regions import schedule  # noqa: PLC0415

    run(lambda: schedule(access_to(kubeconfig, context), name, scheduling, output))


def main() -> None:
    """Entry point of ``roadstead`` and ``kubectl-roadstead``."""
    import os  # noqa: PLC0415

    if "_ROADSTEAD_COMPLETE" in os.environ:
        from typer.completion import completion_init  # type: ignore[attr-defined]  # noqa: PLC0415

        completion_init()
    plugin = Path(sys.argv[0]).name.startswith("kubectl-")
    try:
        app(prog_name="kubectl roadstead" if plugin else "roadstead", complete_var="_ROADSTEAD_COMPLETE")
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.OK)


if __name__ == "__main__":
    main()
