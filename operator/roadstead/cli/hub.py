"""Reaching the hub as the person who sits here, and members as the operator does."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import ConfigException
from kubernetes.aio.config.kube_config import list_kube_config_contexts

from roadstead.api.region import KubeconfigSecretRef, Region
from roadstead.cli.exits import ExitCode, Failure
from roadstead.kernel import objects
from roadstead.kernel.client import ClusterClient, hub_configuration, member_configuration
from roadstead.kernel.errors import UntrustedKubeconfig
from roadstead.kernel.fleet import HUB_MEMBER
from roadstead.kernel.kubeconfig import parse as parse_kubeconfig
from roadstead.kernel.objects import Gvr

Body = dict[str, Any]
_NAMED: Final = 20
"""Regions that a message names."""


@dataclass(frozen=True, slots=True)
class Access:
    """What the command line says about a cluster. Empty: what kubectl would take."""

    kubeconfig: str = ""
    context: str = ""

    @property
    def path(self) -> str:
        """The kubeconfig file, or several with colons between."""
        return self.kubeconfig or os.environ.get("KUBECONFIG", "") or str(Path("~/.kube/config").expanduser())

    @property
    def in_cluster(self) -> bool:
        """Whether this runs in a pod, and nobody named a kubeconfig."""
        named = self.kubeconfig or self.context or os.environ.get("KUBECONFIG")
        return not named and "KUBERNETES_SERVICE_HOST" in os.environ and not Path(self.path).exists()


@dataclass(frozen=True, slots=True)
class Hub:
    """An open connection, and the namespace that its context names."""

    client: ClusterClient
    namespace: str
    configuration: Configuration


@asynccontextmanager
async def connected(access: Access, name: str = HUB_MEMBER) -> AsyncIterator[Hub]:
    """Connect with a person's own kubeconfig, which is trusted as kubectl trusts it.

    Raises:
        Failure: there is none, or it cannot be understood.
    """
    configuration = await configuration_of(access)
    client = ClusterClient(name, configuration, user_agent="roadstead-cli")
    try:
        yield Hub(client, _context_namespace(access), configuration)
    finally:
        await client.close()


async def configuration_of(access: Access) -> Configuration:
    """Host and credentials of a kubeconfig's context.

    Raises:
        Failure: see `connected`.
    """
    if access.in_cluster:
        return await hub_configuration(None)
    if not _exists(access.path):
        message = f"there is no kubeconfig {access.path}; name one with --kubeconfig, or set KUBECONFIG"
        raise Failure(message, ExitCode.USAGE)
    try:
        configuration = await hub_configuration(access.path, access.context or None)
    except ConfigException as error:
        cure = (
            "name one with --kubeconfig, or set KUBECONFIG" if not _exists(access.path) else "see kubectl config view"
        )
        raise Failure(f"kubeconfig {access.path}: {_words(error)}; {cure}", ExitCode.USAGE) from None
    except (OSError, yaml.YAMLError, ValueError, TypeError, AttributeError, KeyError, binascii.Error) as error:
        raise Failure(f"kubeconfig {access.path} cannot be read: {_words(error)}", ExitCode.USAGE) from None
    if configuration.proxy:
        message = f"kubeconfig {access.path} has proxy-url, which is not supported; name an address reached directly"
        raise Failure(message, ExitCode.USAGE)
    return configuration


def _exists(paths: str) -> bool:
    return any(Path(path).exists() for path in paths.split(os.pathsep))


def _words(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].removeprefix("Invalid kube-config file. ").rstrip(".")


def _context_namespace(access: Access) -> str:
    if access.in_cluster:
        return "default"
    contexts, current = list_kube_config_contexts(access.path)  # type: ignore[no-untyped-call]
    chosen = next((entry for entry in contexts if entry["name"] == access.context), current)
    return str((chosen.get("context") or {}).get("namespace") or "default")


async def everything(client: ClusterClient, gvr: Gvr, namespace: str = "", **selectors: str) -> list[Body]:
    """A whole collection."""
    found: list[Body] = []
    async for items, _ in client.pages(gvr, namespace, **selectors):  # type: ignore[arg-type]
        found += items
    return found


async def no_region(hub: Hub, name: str) -> Failure:
    """What is said of a Region that is not there: which ones are."""
    known = sorted(body["metadata"]["name"] for body in await everything(hub.client, objects.REGIONS))
    listed = ", ".join(known[:_NAMED]) + (f" and {len(known) - _NAMED} more" if len(known) > _NAMED else "")
    return Failure(f"Region {name} does not exist; there are: {listed or 'none yet'}", ExitCode.NOT_FOUND)


async def member_of(hub: ClusterClient, region: Region) -> ClusterClient:
    """A connection to a region's cluster, with the credentials and by the rules of the operator.

    Raises:
        RoadsteadError: the Secret cannot be read; the message is for the person.
        UntrustedKubeconfig: the kubeconfig is missing or not accepted.
    """
    reference = region.spec.cluster.kubeconfig_secret_ref
    if reference is None:
        raise AssertionError("a node pool of the hub has no kubeconfig")
    secret = await hub.find(objects.SECRETS, reference.namespace, reference.name)
    access = parse_kubeconfig(_content(secret, reference))
    return ClusterClient(region.metadata.name, member_configuration(access), access=access, user_agent="roadstead-cli")


def _content(secret: Mapping[str, Any] | None, reference: KubeconfigSecretRef) -> bytes:
    place = f"Secret {reference.namespace}/{reference.name}"
    if secret is None:
        raise UntrustedKubeconfig(f"{place} does not exist")
    encoded = (secret.get("data") or {}).get(reference.key)
    if not encoded:
        raise UntrustedKubeconfig(f"{place} has no key {reference.key}")
    return base64.b64decode(encoded)
