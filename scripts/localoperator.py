"""The operator as a process on this machine, under its own ServiceAccount with exactly the chart's rights.

For tests, benchmarks and the demo without nodes: everything that the chart would install but the pods.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import yaml

from localkube import binaries, images, rbac

REPOSITORY = Path(__file__).resolve().parents[1]
NAMESPACE = "roadstead-system"
CHART = REPOSITORY / "charts" / "roadstead"
SERVICE_ACCOUNT = "roadstead-operator"
MEMBER_ACCOUNT = "roadstead-member"
_RIGHTS = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
_POLICIES = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
POLICY_SECONDS = 30.0
_AS_IN_THE_IMAGE = images.PROGRAMS["operator"].environment


class Cluster(Protocol):
    """What is needed of a cluster: bare or kind."""

    @property
    def name(self) -> str:
        """Name of the cluster."""

    @property
    def kubeconfig(self) -> Path:
        """Administrator's kubeconfig."""


class OperatorError(RuntimeError):
    """The operator ended, or did not get where it should; the message has the end of its log."""


def kubectl(cluster: Cluster, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
    """Run kubectl as administrator and return its output.

    Raises:
        RuntimeError: it failed and ``check`` is set.
    """
    code, output, errors = _run(cluster, arguments, stdin)
    if check and code != 0:
        raise RuntimeError(f"kubectl {' '.join(arguments)} ended with {code}:\n{output}{errors}")
    return output


def _run(cluster: Cluster, arguments: Sequence[str], stdin: str | None) -> tuple[int, str, str]:
    command = [str(binaries.path("kubectl")), f"--kubeconfig={cluster.kubeconfig}", *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout, done.stderr


def chart(*settings: str, release: str = "roadstead") -> list[dict[str, Any]]:
    """Every object of the chart, rendered by helm."""
    arguments = [f"--set={setting}" for setting in settings]
    rendered = subprocess.run(
        [str(binaries.path("helm")), "template", release, str(CHART), f"--namespace={NAMESPACE}", *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    return [document for document in yaml.safe_load_all(rendered) if document]


def grant(cluster: Cluster, *settings: str) -> None:
    """Give the chart's ServiceAccounts the chart's rights in a cluster, and the chart's policies, and nothing else.

    Where Approvals are served it returns when the API server refuses what is forged: it hears of a policy a moment
    after it has taken it.
    """
    release = MEMBER_ACCOUNT if "mode=member" in settings else "roadstead"
    objects = [document for document in chart(*settings, release=release) if document["kind"] in _RIGHTS + _POLICIES]
    kubectl(cluster, "create", "namespace", NAMESPACE, check=False)
    kubectl(cluster, "apply", "-f", "-", stdin=yaml.safe_dump_all(objects))
    if any(document["kind"] in _POLICIES for document in objects):
        _wait_for_policies(cluster)


def _wait_for_policies(cluster: Cluster) -> None:
    """Until an Approval in another's name is refused."""
    forged = yaml.safe_load((REPOSITORY / "manifests" / "samples" / "approval.yaml").read_text())
    command = ("create", "--dry-run=server", f"--namespace={NAMESPACE}", "-f", "-")
    end = time.monotonic() + POLICY_SECONDS
    while True:
        code, _, said = _run(cluster, command, yaml.safe_dump(forged))
        if code and ("ValidatingAdmissionPolicy" in said or "no matches for kind" in said):
            return
        if time.monotonic() > end:
            raise OperatorError(f"not within {POLICY_SECONDS:.0f} s: the chart's policies are in force; {said}")
        time.sleep(0.1)


def connect(hub: Cluster, member: Cluster, region: str, **spec: Any) -> None:
    """Make ``member`` the region ``region`` of ``hub``, with a token of the member profile's ServiceAccount."""
    grant(member, "mode=member")
    kubeconfig = rbac.service_account_kubeconfig(member, NAMESPACE, MEMBER_ACCOUNT).read_bytes()
    kubectl(hub, "create", "namespace", NAMESPACE, check=False)
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": f"region-{region}", "namespace": NAMESPACE},
        "data": {"kubeconfig": base64.b64encode(kubeconfig).decode()},
    }
    reference = {"namespace": NAMESPACE, "name": f"region-{region}"}
    resource = {
        "apiVersion": "roadstead.dev/v1alpha1",
        "kind": "Region",
        "metadata": {"name": region},
        "spec": {"cluster": {"kubeconfigSecretRef": reference}, "jurisdiction": "HK", **spec},
    }
    kubectl(hub, "apply", "-f", "-", stdin=yaml.safe_dump_all([secret, resource]))


class Operator:
    """One operator process.

    Args:
        hub: the cluster it runs for (it runs beside it, with a token).
        arguments: further flags.
        server: URL of a proxy in front of the API server.
        webhooks: whether it serves them.
        environment: variables besides those of its image.
        program: what Python runs, with the operator's flags.
    """

    def __init__(
        self,
        hub: Cluster,
        *arguments: str,
        server: str | None = None,
        webhooks: bool = False,
        environment: Mapping[str, str] | None = None,
        program: Sequence[str] = ("-m", "roadstead.main"),
    ) -> None:
        self.hub = hub
        self._directory = tempfile.TemporaryDirectory(prefix="roadstead-operator-")
        self.log_path = Path(self._directory.name) / "log"
        kubeconfig = rbac.service_account_kubeconfig(
            hub, NAMESPACE, SERVICE_ACCOUNT, directory=Path(self._directory.name), server=server
        )
        flags: Sequence[str] = (
            f"--kubeconfig={kubeconfig}",
            f"--namespace={NAMESPACE}",
            "--metrics-port=0",
            *(() if webhooks else ("--webhook-port=0",)),
            *arguments,
        )
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, *program, *flags],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={
                    "PATH": os.environ["PATH"],
                    "PYTHONPATH": str(REPOSITORY / "operator"),
                    **_AS_IN_THE_IMAGE,
                    **(environment or {}),
                },
            )

    @property
    def pid(self) -> int:
        """Pid of the process."""
        return self._process.pid

    def log(self) -> list[dict[str, Any]]:
        """Every log line so far."""
        lines = []
        for line in self.log_path.read_text().splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                lines.append(json.loads(line))
        return lines

    def port(self) -> int:
        """Port of health and metrics, once it is known."""
        for line in self.log():
            if line["message"].startswith("serving health and metrics on port "):
                return int(line["message"].rsplit(" ", 1)[1])
        return 0

    def fetch(self, path: str) -> tuple[int, str]:
        """GET a path of the health server; (0, "") while it does not answer."""
        port = self.port()
        if not port:
            return 0, ""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metric(self, name: str) -> float:
        """Sum of a metric over all its labels; 0 when it is absent."""
        _, text = self.fetch("/metrics")
        return sum(
            float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith((f"{name} ", f"{name}{{"))
        )

    def wait_leading(self, seconds: float = 30.0) -> None:
        """Wait until this process holds the lease."""
        self._wait(lambda: self.metric("leader_election_master_status") == 1.0, "the operator to lead", seconds)

    def wait_ready(self) -> None:
        """Wait until ``/readyz`` says 200."""
        self._wait(lambda: self.fetch("/readyz")[0] == 200, "the operator to be ready")

    def _wait(self, condition: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            code = self._process.poll()
            if code is not None or time.monotonic() > end:
                why = f"the operator ended with {code}" if code is not None else f"not within {seconds:.0f} s: {what}"
                raise OperatorError(f"{why}\n--- log ---\n{self.log_path.read_text()[-6000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """End it as kill -9 does."""
        self._process.kill()
        self._process.wait(timeout=10)

    def signal(self, number: int) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def wait(self, timeout: float = 15) -> int:
        """Wait for the end; returns the exit code."""
        return self._process.wait(timeout=timeout)

    def stop(self) -> int:
        """SIGTERM, and kill if that does not help; returns the exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(timeout=10)
        self._directory.cleanup()
        return self._process.returncode

    def __enter__(self) -> Operator:
        return self

    def __exit__(self, *exception: object) -> None:
        if exception[0] is not None:
            print(f"--- log of the operator ---\n{self.log_path.read_text()[-8000:]}")
        self.stop()


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
