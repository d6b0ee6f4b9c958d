"""Pods that use a ring, as far as a cluster without kubelets has them: the real library, on a mount that is kept here.

The Pod object, the Secret and the ConfigMap are those of a real API server. What a kubelet and the relay in a workload
would do, copying the Secret into the mount and the answer into the ConfigMap, is done here when a test says so, so that
a pod can lag as long as the test likes.
"""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Any

from roadstead_keys import proof
from roadstead_keys.ring import Ring

from worlds import NAMESPACE, Objects


class Consumer:
    """One pod of a ring in a region.

    Args:
        objects: the region's cluster.
        ring: name of the KeyRing.
        region: name of the Region whose keyset it uses.
        name: of the pod.
        directory: empty; where the keyset is mounted.
    """

    def __init__(self, objects: Objects, ring: str, region: str, name: str, directory: Path) -> None:
        self._objects = objects
        self._keyset = f"{ring}.{region}.keyset"
        self._receipts = f"{ring}.{region}.receipts"
        self.name = name
        self._mount = directory
        self._instance = f"{name}-1"
        self._swaps = 0
        self._open: Ring | None = None
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": {f"keyring.roadstead.dev/{ring}": region}},
            "spec": {"containers": [{"name": "main", "image": "registry.example/consumer:1"}]},
        }
        objects.create("pods", body)
        self.uid = str(objects.get("pods", name)["metadata"]["uid"])

    @property
    def ring(self) -> Ring:
        """What the process holds."""
        assert self._open is not None, "nothing was loaded yet"
        return self._open

    def load(self) -> bool:
        """What the kubelet and the process do when the Secret has changed; False while there is none."""
        secret = self._objects.find("secrets", self._keyset)
        if secret is None:
            return False
        self._swaps += 1
        fresh = self._mount / f"..{self._swaps}"
        fresh.mkdir()
        for key, value in secret["data"].items():
            (fresh / key).write_bytes(base64.b64decode(value))
        link = self._mount / "..data_tmp"
        link.symlink_to(fresh.name)
        former = self._mount / f"..{self._swaps - 1}"
        link.replace(self._mount / "..data")
        shutil.rmtree(former, ignore_errors=True)
        if self._open is None:
            self._open = Ring.open(self._mount)
        else:
            self._open.reload()
        return True

    def prove(self) -> None:
        """Answer for what the process holds now."""
        text = proof.receipt(proof.answer(self.ring, self.uid, self._instance), self._instance)
        self.hand_in(text)

    def hand_in(self, text: str) -> None:
        """Put a text where the answer of this pod is looked for."""
        body: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": self._receipts, "namespace": NAMESPACE},
            "data": {self.uid: text},
        }
        path = f"/api/v1/namespaces/{NAMESPACE}/configmaps/{self._receipts}"
        self._objects.request("APPLY", f"{path}?fieldManager={self.name}&force=true", body)

    def answered(self) -> Any:
        """What was handed in last."""
        found = self._objects.get("configmaps", self._receipts)
        return json.loads(found["data"][self.uid])

    def catch_up(self) -> None:
        """Load what is there and prove it."""
        if self.load():
            self.prove()

    def end(self) -> None:
        """The pod is deleted."""
        self._objects.delete("pods", self.name)
