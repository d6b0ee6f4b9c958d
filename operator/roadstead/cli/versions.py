"""``roadstead version``: this program, the operator in the hub, and the API servers."""

from __future__ import annotations

from typing import Any

from roadstead import __version__
from roadstead.cli.exits import failure_of
from roadstead.cli.hub import Access, connected, everything
from roadstead.cli.output import Format, data, line, note
from roadstead.kernel.client import ClusterClient
from roadstead.kernel.errors import RoadsteadError
from roadstead.kernel.objects import DEPLOYMENTS, LEASES, REGIONS

OPERATOR_LABELS = "app.kubernetes.io/part-of=roadstead,app.kubernetes.io/component=operator"
"""What the chart puts on the operator's Deployment."""
VERSION_LABEL = "app.kubernetes.io/version"


async def show_versions(access: Access | None, namespace: str, output: Format) -> None:
    """Print them; what a cluster does not tell is left out with the reason on standard error.

    Raises:
        Failure: the hub does not answer; this program's own version has been printed then.
    """
    found: dict[str, Any] = {"client": __version__}
    error: RoadsteadError | None = None
    if access is not None:
        try:
            async with connected(access) as hub:
                found["hub"] = await hub.client.version()
                await _operator(hub.client, namespace, found)
                await _regions(hub.client, found)
        except RoadsteadError as caught:
            error = caught
    if output is Format.TABLE:
        _lines(found)
    else:
        data(found, output)
    if error is not None:
        raise failure_of(error)


async def _operator(client: ClusterClient, namespace: str, found: dict[str, Any]) -> None:
    try:
        deployments = await everything(client, DEPLOYMENTS, namespace, labels=OPERATOR_LABELS)
        leases = await everything(client, LEASES, namespace)
    except RoadsteadError as error:
        note(f"roadstead: the operator's version is not known: {error}")
        return
    found["operators"] = [
        {
            "name": f"{namespace}/{body['metadata']['name']}",
            "version": (body["metadata"].get("labels") or {}).get(VERSION_LABEL, ""),
            "image": body["spec"]["template"]["spec"]["containers"][0]["image"],
            "ready": (body.get("status") or {}).get("readyReplicas", 0),
        }
        for body in deployments
    ]
    leaders = {body["metadata"]["name"]: (body.get("spec") or {}).get("holderIdentity") or "" for body in leases}
    found["leaders"] = {name: holder for name, holder in leaders.items() if "roadstead" in name}


async def _regions(client: ClusterClient, found: dict[str, Any]) -> None:
    try:
        bodies = await everything(client, REGIONS)
    except RoadsteadError as error:
        note(f"roadstead: the regions' versions are not known: {error}")
        return
    found["regions"] = {body["metadata"]["name"]: (body.get("status") or {}).get("version", "") for body in bodies}


def _lines(found: dict[str, Any]) -> None:
    line(f"roadstead   {found['client']}")
    for operator in found.get("operators", ()):
        line(f"operator    {operator['version'] or operator['image']} ({operator['name']}, {operator['ready']} ready)")
    if "operators" in found and not found["operators"]:
        line("operator    no Deployment of the chart in that namespace")
    for name, holder in found.get("leaders", {}).items():
        line(f"leader      {holder or 'nobody'} ({name})")
    if "hub" in found:
        line(f"hub         {found['hub']}")
    for name, version in found.get("regions", {}).items():
        line(f"region      {version or 'not known'} ({name})")
