"""Bare control planes: etcd, kube-apiserver, controller-manager, scheduler, KWOK on loopback; no root, no Docker.

Real TLS with a self-made authority, ports and directory of its own, the API ready in about two seconds. What was
started dies with the process that started it, however that ends, unless ``live_on``.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from localkube import binaries, certificates, detached, kwok, nodes, ports
from localkube.processes import ProcessError, ProcessGroup
from localkube.rest import Api

READY_SECONDS = 120.0  # two cores shared by many; an idle machine needs two
START_ATTEMPTS = 3
LOOPBACK = "127.0.0.1"
COMPONENTS = ("kube-controller-manager", "kube-scheduler", "kwok")
_POLL_SECONDS = 0.05
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "GOGC": "75"}
"""No proxy variables: webhooks at 127.0.0.1 are called directly. GOGC: a fifth less memory for a little more CPU."""


class BareCluster:
    """One running bare control plane; made by `start`.

    Attributes:
        name: As given to `start`.
        directory: Everything of this cluster: logs, certificates, etcd.
        kubeconfig: Of an administrator (system:masters), verifying the cluster's authority, all inline.
        url: Of the API server; stays the same when it is stopped and started.
        ca_file: PEM of the authority behind the API server's certificate.
    """

    def __init__(self, name: str, directory: Path, *, remove: bool, live_on: bool) -> None:
        self.name = name
        self._detached = live_on
        self.directory = directory
        self.kubeconfig = directory / "kubeconfig"
        self.ca_file = directory / "ca.crt"
        self._client_authority = certificates.Authority(f"{name} clients")
        self._authority = certificates.Authority(f"{name} servers")
        self._claim = ports.Claim(3)
        self._etcd_port, self._etcd_peer_port, self._port = self._claim.ports
        self.url = f"https://{LOOPBACK}:{self._port}"
        self._components: tuple[str, ...] = ()
        self._apiserver_arguments: list[str] = []
        self._component_arguments: dict[str, list[str]] = {}
        self._processes = ProcessGroup(
            remove=directory if remove else None, detached=live_on, hand_over=self._claim.descriptors
        )

    @property
    def pids(self) -> dict[str, int]:
        """Pids of the running processes by name."""
        return dict(self._processes.pids)

    @property
    def api(self) -> Api:
        """A small client with the administrator's identity, for preparing tests."""
        return Api(self.kubeconfig)

    @property
    def resident_bytes(self) -> dict[str, int]:
        """Proportional set size of each process in bytes (shared pages counted once)."""
        return {name: _pss(pid) for name, pid in self.pids.items()}

    def stop(self) -> None:
        """Kill exactly what was started and remove the directory; more than one call does no harm."""
        self._processes.stop()
        self._claim.release()

    def release(self) -> None:
        """Let a detached cluster live on without this process; `localkube.detached.stop` ends it."""
        self._processes.release()
        self._claim.release()

    def logs(self, component: str, lines: int = 40) -> str:
        """Return the last lines of a component's log."""
        return self._processes.last_words(component, lines)

    def stop_apiserver(self, *, grace: float = 0.0) -> None:
        """End the API server: at once, or with SIGTERM and ``grace`` seconds first."""
        self._processes.end("kube-apiserver", grace=grace)

    def start_apiserver(self, *, wait: bool = True) -> None:
        """Start the API server again on the same port, with the same data."""
        self._start("kube-apiserver", self._apiserver_arguments)
        if wait:
            self.wait_ready()

    def restart_apiserver(self, *, new_certificate: bool = False, new_authority: bool = False) -> None:
        """Stop and start the API server, with a fresh serving certificate when asked.

        Args:
            new_certificate: Issue another serving certificate by the same authority.
            new_authority: Another authority too: kubeconfigs made before stop working, `kubeconfig` and `ca_file` are
                written anew, and the controllers get theirs.
        """
        self.stop_apiserver()
        if new_authority:
            self._authority = certificates.Authority(f"{self.name} servers")
        if new_certificate or new_authority:
            self._write_serving_files()
        if new_authority:
            self._write_kubeconfigs()
        self.start_apiserver()
        if new_authority:
            for component in self._components:
                self._processes.end(component)
                self._start(component, self._component_arguments[component])

    def back_up(self, copy: Path) -> None:
        """Stop everything, copy what etcd has stored, and start again.

        Args:
            copy: a directory that is not there yet.
        """
        with self._standing_still():
            shutil.copytree(self.directory / "etcd", copy)

    def restore(self, copy: Path) -> None:
        """Stop everything, put back what `back_up` has copied, and start again: what came after it never was."""
        with self._standing_still():
            shutil.rmtree(self.directory / "etcd")
            shutil.copytree(copy, self.directory / "etcd")

    @contextlib.contextmanager
    def _standing_still(self) -> Iterator[None]:
        for name in (*self._components, "kube-apiserver"):
            self._processes.end(name)
        self._processes.end("etcd", grace=10.0)
        yield
        self._start("etcd", self._etcd_arguments())
        self.start_apiserver()
        for component in self._components:
            self._start(component, self._component_arguments[component])

    def pause_apiserver(self) -> None:
        """Freeze the API server (SIGSTOP): connections open, nothing answers."""
        self._processes.signal("kube-apiserver", signal.SIGSTOP)

    def resume_apiserver(self) -> None:
        """Let a frozen API server go on (SIGCONT)."""
        self._processes.signal("kube-apiserver", signal.SIGCONT)

    def pause(self, component: str) -> None:
        """Freeze any component (SIGSTOP)."""
        self._processes.signal(component, signal.SIGSTOP)

    def resume(self, component: str) -> None:
        """Let any frozen component go on (SIGCONT)."""
        self._processes.signal(component, signal.SIGCONT)

    def wait_ready(self, seconds: float = READY_SECONDS) -> None:
        """Wait until ``/readyz`` says ok.

        Raises:
            ProcessError: A process ended, or it took longer; with the end of the log.
        """
        self._wait(self.api.ready, "kube-apiserver", seconds)

    def boot(self, *, components: Sequence[str], extra_apiserver_args: Sequence[str]) -> None:
        """Start everything and wait until it can be used; `start` calls this once."""
        self._components = tuple(components)
        self._write_serving_files()
        self._client_authority.pair.write(self.directory / "client-ca.crt", self.directory / "client-ca.key")
        private, public = certificates.signing_key()
        (self.directory / "sa.key").touch(mode=0o600)
        (self.directory / "sa.key").write_bytes(private)
        (self.directory / "sa.pub").write_bytes(public)
        self._write_kubeconfigs()
        self._apiserver_arguments = [*self._default_apiserver_arguments(), *extra_apiserver_args]
        self._component_arguments = self._all_component_arguments()
        self._start("etcd", self._etcd_arguments())
        self._start("kube-apiserver", self._apiserver_arguments)
        self.wait_ready()
        for component in self._components:
            self._start(component, self._component_arguments[component])
        if "kube-controller-manager" in self._components:
            # pods are refused until the controller has made this account
            self._wait(self._has_default_account, "kube-controller-manager", READY_SECONDS)
        if "kwok" in self._components:
            self.api.create("/apis/storage.k8s.io/v1/storageclasses", kwok.storage_class())
        if self._detached:
            detached.register(self.name, self.directory, self._processes.supervisor_pid)

    def add_nodes(self, count: int = 1, *, labels: dict[str, str] | None = None, prefix: str = "node") -> list[str]:
        """Add fake nodes that KWOK keeps Ready; return their names. See `localkube.nodes.add`."""
        return nodes.add(self.api, count, labels=labels, prefix=prefix)

    def _has_default_account(self) -> bool:
        items = self.api.request("GET", "/api/v1/namespaces/default/serviceaccounts")["items"]
        return any(item["metadata"]["name"] == "default" for item in items)

    def _wait(self, condition: Callable[[], bool], component: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self._holds(condition):
            self._processes.check_alive()
            if time.monotonic() > deadline:
                words = self._processes.last_words(component)
                raise ProcessError(f"{self.name}: {component} not ready within {seconds:.0f} s:\n{words}")
            time.sleep(_POLL_SECONDS)

    @staticmethod
    def _holds(condition: Callable[[], bool]) -> bool:
        try:
            return condition()
        except OSError:  # a connection cut or late on a busy machine: ask again until the deadline
            return False

    def _start(self, component: str, arguments: Sequence[str]) -> None:
        log = self.directory / f"{component}.log"
        self._processes.start(component, [binaries.path(component), *arguments], log=log, env=_ENVIRONMENT)

    def _etcd_arguments(self) -> list[str]:
        client = f"http://{LOOPBACK}:{self._etcd_port}"
        peer = f"http://{LOOPBACK}:{self._etcd_peer_port}"
        return [
            f"--data-dir={self.directory / 'etcd'}",
            "--unsafe-no-fsync",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--log-level=warn",
        ]

    def _default_apiserver_arguments(self) -> list[str]:
        return [
            f"--etcd-servers=http://{LOOPBACK}:{self._etcd_port}",
            f"--secure-port={self._port}",
            f"--bind-address={LOOPBACK}",
            f"--advertise-address={LOOPBACK}",
            "--endpoint-reconciler-type=none",  # a loopback address is not valid in Endpoints; one server needs none
            f"--tls-cert-file={self.directory / 'apiserver.crt'}",
            f"--tls-private-key-file={self.directory / 'apiserver.key'}",
            f"--client-ca-file={self.directory / 'client-ca.crt'}",
            f"--cert-dir={self.directory}",
            f"--service-account-key-file={self.directory / 'sa.pub'}",
            f"--service-account-signing-key-file={self.directory / 'sa.key'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--authorization-mode=Node,RBAC",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--allow-privileged=true",
            "--profiling=false",
            "--shutdown-delay-duration=0s",
        ]

    def _all_component_arguments(self) -> dict[str, list[str]]:
        return {
            "kube-controller-manager": [
                f"--kubeconfig={self._component_kubeconfig('kube-controller-manager')}",
                f"--service-account-private-key-file={self.directory / 'sa.key'}",
                f"--root-ca-file={self.ca_file}",
                "--use-service-account-credentials",
                "--secure-port=0",
                "--leader-elect=false",
                "--kube-api-qps=500",
                "--kube-api-burst=1000",
                "--profiling=false",
            ],
            "kube-scheduler": [
                f"--kubeconfig={self._component_kubeconfig('kube-scheduler')}",
                "--secure-port=0",
                "--leader-elect=false",
                "--kube-api-qps=500",
                "--kube-api-burst=1000",
                "--profiling=false",
            ],
            "kwok": kwok.arguments(self.directory, self._component_kubeconfig("kwok")),
        }

    def _component_kubeconfig(self, component: str) -> Path:
        return self.directory / f"{component}.kubeconfig"

    def _write_serving_files(self) -> None:
        self.ca_file.write_bytes(self._authority.pair.certificate)
        serving = self._authority.serving("kube-apiserver", LOOPBACK, "10.96.0.1")
        serving.write(self.directory / "apiserver.crt", self.directory / "apiserver.key")

    def _write_kubeconfigs(self) -> None:
        self._write_kubeconfig(self.kubeconfig, "admin", "system:masters")
        users = {"kwok": ("kwok", "system:masters")}
        for component in self._components:
            user, group = users.get(component, (f"system:{component}", None))
            self._write_kubeconfig(self._component_kubeconfig(component), user, group)

    def user_kubeconfig(self, user: str, group: str | None = None) -> Path:
        """Write a kubeconfig with a client certificate of a person, who may do what is granted to them by name."""
        digest = hashlib.sha256(f"{user}\0{group}".encode()).hexdigest()[:12]
        path = self.directory / f"user-{digest}.kubeconfig"
        self._write_kubeconfig(path, user, group)
        return path

    def _write_kubeconfig(self, path: Path, user: str, group: str | None) -> None:
        client = self._client_authority.client(user, group)
        authority = self._authority.pair.certificate
        certificates.write_kubeconfig(path, url=self.url, authority=authority, name=self.name, client=client)


def start(
    name: str,
    *,
    workdir: Path | None = None,
    controllers: bool = True,
    scheduler: bool = True,
    kwok: bool = True,
    extra_apiserver_args: Sequence[str] = (),
    live_on: bool = False,
) -> BareCluster:
    """Start a control plane and return it when it can be used.

    Args:
        name: Shown in messages and kubeconfig contexts; clusters of the same name do not meet.
        workdir: Directory to use and to keep afterwards; None makes one and removes it with the cluster.
        controllers: Run kube-controller-manager.
        scheduler: Run kube-scheduler.
        kwok: Run KWOK, which plays the kubelets of the nodes that `BareCluster.add_nodes` makes.
        extra_apiserver_args: Further flags, for example ``--feature-gates=...``; the last one wins.
        live_on: Stay after this process (call `BareCluster.release` too); else the cluster dies with it.

    Raises:
        ProcessError: A process ended or was not ready in time; the message carries its last words.
    """
    wanted = dict(zip(COMPONENTS, (controllers, scheduler, kwok), strict=True))
    components = [component for component, run in wanted.items() if run]
    binaries.ensure(["etcd", "kube-apiserver", *components])
    for attempt in range(1, START_ATTEMPTS + 1):
        directory = workdir or Path(tempfile.mkdtemp(prefix=f"roadstead-{name}-"))
        directory.mkdir(parents=True, exist_ok=True)
        cluster = BareCluster(name, directory, remove=workdir is None, live_on=live_on)
        try:
            cluster.boot(components=components, extra_apiserver_args=extra_apiserver_args)
        except BaseException as error:
            cluster.stop()
            taken = isinstance(error, ProcessError) and "address already in use" in str(error)
            if not taken or attempt == START_ATTEMPTS:
                raise
            shutil.rmtree(directory / "etcd", ignore_errors=True)
        else:
            return cluster
    raise AssertionError("unreachable: the last attempt returns or raises")


def _pss(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0
