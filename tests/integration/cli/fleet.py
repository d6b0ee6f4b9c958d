"""A hub, a member and the command line between them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from clusters import kubectl_json
from localkube.bare import BareCluster
from roadstead.cli.app import app
from specs import Body, chat

SERVICE = "chat/advisers"


class Fleet:
    """A hub with the operator's rights, and a member that becomes the region hkg by the command line."""

    def __init__(self, hub: BareCluster, member: BareCluster) -> None:
        self.hub = hub
        self.member = member

    def run(self, *arguments: str, stdin: str | None = None, code: int = 0, hub: Path | None = None) -> Result:
        environment = {"KUBECONFIG": str(hub or self.hub.kubeconfig), "COLUMNS": "160", "NO_COLOR": "1"}
        result = CliRunner().invoke(app, list(arguments), input=stdin, env=environment)
        assert result.exit_code == code, f"{arguments}: {result.exit_code}\n{result.output}\n{result.exception!r}"
        return result

    def add_region(self, name: str, *arguments: str, code: int = 0) -> Result:
        kubeconfig = f"--kubeconfig={self.member.kubeconfig}"
        return self.run("region", "add", name, kubeconfig, "--jurisdiction=HK", *arguments, code=code)

    def plan(self, *arguments: str, stdin: Body | None = None, **options: Any) -> dict[str, Any]:
        text = None if stdin is None else json.dumps(stdin)
        result = self.run("explain-plan", *arguments, "-o", "json", stdin=text, **options)
        [plan] = json.loads(result.stdout)["items"]
        found: dict[str, Any] = plan
        return found

    def regions(self) -> dict[str, Any]:
        listed = json.loads(self.run("region", "list", "-o", "json").stdout)["regions"]
        return {entry["name"]: entry for entry in listed}


def manifest(**edits: Any) -> Body:
    fixed = {
        "spec__topology__regions": [{"name": "hkg"}],
        "spec__tls": {"secretName": "chat-tls"},
        "spec__config": {"CHAT_X": "1"},
        "spec__traffic": {"serviceAnnotations": {"example.com/a": "1", "example.com/b": "2"}},
        "spec__rollout": {"bakeTime": "1s"},
    }
    return chat("advisers", "chat", **{**fixed, **edits})


def actions(plan: dict[str, Any], action: str, region: str = "hkg") -> dict[str, str]:
    found = next(entry for entry in plan["regions"] if entry["name"] == region)
    return {change["object"]: change["diff"] for change in found["changes"] if change["action"] == action}


def edits(diff: str) -> list[str]:
    """The lines of a diff that say something."""
    return [line for line in diff.splitlines() if line[0] in "+-" and not line.startswith(("+++", "---"))]


def versions(cluster: BareCluster) -> dict[str, str]:
    """Every object of the service in a cluster, with what every write moves and no status does."""
    listed = kubectl_json(cluster, "-n", "chat", "get", "deploy,sa,cm,svc,netpol,pdb,secret", "--show-managed-fields")
    found = {}
    for body in listed["items"]:
        metadata = body["metadata"]
        assert all(entry["manager"] != "roadstead-cli" for entry in metadata.get("managedFields", ()))
        found[f"{body['kind']} chat/{metadata['name']}"] = str(
            metadata.get("generation") or metadata["resourceVersion"]
        )
    return found
