"""The storage provisioner is compiled in seconds, not minutes: Kubernetes compiled the same packages before."""

from __future__ import annotations

import re

from localkube import binaries


def versions(tool: str) -> dict[str, str]:
    text = (binaries.TOOLS / tool / "go.mod").read_text()
    required = dict(re.findall(r"^\t?(?:require )?(\S+) (v\S+?)(?: //.*)?$", text, re.MULTILINE))
    return required | dict(re.findall(r"^(?:replace |\t)(\S+) => \S+ (v\S+)$", text, re.MULTILINE))


def test_the_heavy_modules_have_the_versions_of_kubernetes() -> None:
    ours, theirs = versions("local-path-provisioner"), versions("kubernetes")
    heavy = [module for module in ours if module.startswith(("k8s.io/", "sigs.k8s.io/", "golang.org/x/"))]
    shared = [module for module in heavy if module in theirs]
    assert "k8s.io/client-go" in shared
    assert {module: ours[module] for module in shared} == {module: theirs[module] for module in shared}
