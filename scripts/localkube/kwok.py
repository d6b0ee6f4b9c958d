"""KWOK, the stand-in for kubelets: its stages come from its own module, pinned in tools/kwok."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from localkube import binaries

STAGES = (
    "node/fast/node-initialize.yaml",
    "node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
    "pod/fast/pod-ready.yaml",
    "pod/fast/pod-complete.yaml",
    "pod/fast/pod-delete.yaml",
    "volume/fast/pv-bind.yaml",
    "volume/fast/pv-delete.yaml",
    "volume/fast/pvc-provision.yaml",
    "volume/fast/pvc-delete.yaml",
)
"""Without stages KWOK 0.8 does nothing. The pods' ones set no delay: a pod is Ready as soon as KWOK sees it."""
OPTIONS = """\
apiVersion: config.kwok.x-k8s.io/v1alpha1
kind: KwokConfiguration
options:
  manageAllNodes: true
  cidr: 10.9.0.0/16
  nodeIP: 10.9.0.1
  nodeLeaseDurationSeconds: 40
  nodeLeaseParallelism: 4
  podsOnNodeSyncParallelism: 4
  podPlayStageParallelism: 16
  nodePlayStageParallelism: 4
"""


def storage_class() -> dict[str, Any]:
    """Return the default StorageClass whose volumes KWOK's stages provision."""
    file = _stages() / "volume" / "fast" / "storage-class.yaml"
    loaded: dict[str, Any] = yaml.safe_load(file.read_text())
    return loaded


def arguments(directory: Path, kubeconfig: Path) -> list[str]:
    """Write KWOK's configuration into ``directory`` and return its command line."""
    return [f"--kubeconfig={kubeconfig}", f"--config={write_config(directory)}"]


def write_config(directory: Path) -> Path:
    """Write options and stages into one file of ``directory``."""
    documents = [OPTIONS, *((_stages() / stage).read_text() for stage in STAGES)]
    file = directory / "kwok.yaml"
    file.write_text("\n---\n".join(documents))
    return file


def _stages() -> Path:
    return binaries.module_dir("sigs.k8s.io/kwok") / "kustomize" / "stage"
