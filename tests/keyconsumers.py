"""Pods that use a ring, as far as a cluster without kubelets has them: the real library, on a mount that is kept here.

The Pod object, the Secret and the ConfigMap are those of a real API server. What a kubelet and the relay in a workload
would do, copying the Secret into the mount and the answer into the ConfigMap, is done here when a test says so, so that
a pod can lag as long as the test likes.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from roadstead_keys import proof
from roadstead_keys.ring import Ring

from worlds import NAMESPACE, Body, Objects


class Consumer:
    """One pod of a ring in a region.

    Args:
        objects: the region's cluster.
        ring: name of the KeyRing.
        region: name of the Region whose keyset it uses.
        name: of the pod, which is made.
        directory: empty; where the keyset is mounted.
        made: somebody else made the pod.
    """

    def __init__(
        self, objects: Objects, ring: str, region: str, name: str, directory: Path, *, made: bool = False
    ) -> None:
        self._objects = objects
        self._keyset = f"{ring}.{region}.keyset"
        self._rewrap = f"{ring}.{region}.rewrap"
        self._receipts = f"{ring}.{region}.receipts"
        self.name = name
        self._mount, self._second = directory, directory.with_name(f"{directory.name}-rewrap")
        self._second.mkdir()
        self._instance = f"{name}-1"
        self._swaps = 0
        self._open: Ring | None = None
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": {f"keyring.roadstead.dev/{ring}": region}},
            "spec": {"containers": [{"name": "main", "image": "registry.example/consumer:1"}]},
        }
        if not made:
            objects.create("pods", body)
        self.uid = str(objects.get("pods", name)["metadata"]["uid"])

    @property
    def ring(self) -> Ring:
        """What the process holds."""
        assert self._open is not None, "nothing was loaded yet"
        return self._open

    def load(self) -> bool:
        """What the kubelet and the process do when the Secret has changed; False while there is none."""
        if not self.mount():
            return False
        self._take_up(self._mount)
        return True

    def mount(self) -> bool:
        """What the kubelet does when the Secret has changed; False while there is none."""
        secret = self._objects.find("secrets", self._keyset)
        if secret is None:
            return False
        self._swap(self._mount, secret)
        self._swap(self._second, self._objects.find("secrets", self._rewrap) or {"data": {}})
        return True

    def _swap(self, mount: Path, secret: Body) -> None:
        self._swaps += 1
        fresh, link = mount / f"..{self._swaps}", mount / "..data"
        former = link.readlink() if link.is_symlink() else None
        fresh.mkdir()
        for key, value in secret["data"].items():
            (fresh / key).write_bytes(base64.b64decode(value))
        new = mount / "..data_tmp"
        new.symlink_to(fresh.name)
        new.replace(link)
        if former is not None:
            shutil.rmtree(mount / former)

    def _take_up(self, directory: Path) -> None:
        if self._open is None:
            self._open = Ring.open(directory, self._second)
        else:
            self._open.reload()

    def prove(self, stored: Mapping[int, int] | None = None) -> None:
        """Answer for what the process holds now.

        Args:
            stored: number of ciphertexts that it stores, by version; None: it says nothing of that.
        """
        inventory = None if stored is None else self.ring.held.inventory(stored)
        answer = proof.answer(self.ring, self.uid, self._instance, inventory)
        self.hand_in(proof.receipt(answer, self._instance))

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

    def catch_up(self, stored: Mapping[int, int] | None = None) -> None:
        """Load what is there and prove it."""
        if self.load():
            self.prove(stored)

    def end(self) -> None:
        """The pod is deleted."""
        self._objects.delete("pods", self.name)


class SealedConsumer(Consumer):
    """One pod whose keyset is opened by an agent: the real process.

    Args:
        objects: as for `Consumer`, and so are the others.
        directory: empty; where the sealed keyset is mounted.
        memory: empty, in memory; where the agent writes.
        place: the agent's words for where the private key is.
        environment: of the agent, besides this process's.
    """

    def __init__(
        self,
        objects: Objects,
        ring: str,
        region: str,
        name: str,
        directory: Path,
        memory: Path,
        place: Sequence[str],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(objects, ring, region, name, directory)
        self._memory, self._place = memory, tuple(place)
        self._environment = {**os.environ, **(environment or {})}
        self.said = memory.parent / f"{name}.log"
        self.start()

    def start(self, *place: str) -> None:
        """Start the agent, perhaps with its private key elsewhere."""
        self._place = place or self._place
        command = [sys.executable, "-m", "roadstead_keys_agent", "run", f"--open={self._mount}={self._memory}"]
        with self.said.open("a") as log:
            self.agent = subprocess.Popen(
                [*command, "--poll=0.2", *self._place], stdout=log, stderr=log, env=self._environment
            )

    def stop(self) -> None:
        """End the agent."""
        self.agent.terminate()
        self.agent.wait(30)

    def load(self) -> bool:
        """What kubelet, agent and process do; False while the agent has not opened what is there."""
        if not self.mount():
            return False
        mounted, opened = (_generation(directory) for directory in (self._mount, self._memory))
        if mounted != opened:
            return False
        self._take_up(self._memory)
        return True

    def end(self) -> None:
        """The pod is deleted, and its agent ended."""
        self.stop()
        super().end()


def _generation(directory: Path) -> int:
    try:
        return int(json.loads((directory / "..data" / "ring.json").read_bytes())["generation"])
    except (OSError, ValueError, LookupError):
        return -1
