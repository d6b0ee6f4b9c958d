"""``roadstead region``: add, cordon, uncordon. What is written is written as the person, under ``roadstead-cli``."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from kubernetes.aio.client import Configuration

from roadstead.api.parse import parse
from roadstead.api.problems import SpecError
from roadstead.cli import joining
from roadstead.cli.exits import FIELD_MANAGER, ExitCode, Failure
from roadstead.cli.hub import Access, Hub, connected, everything, no_region
from roadstead.cli.joining import Credentials, Wish
from roadstead.cli.output import Format, data, documents, line, note, to_yaml
from roadstead.kernel import objects
from roadstead.kernel.client import ClusterClient, member_configuration
from roadstead.kernel.errors import Conflict, Forbidden, NotFound, NotServed, RoadsteadError, Unauthorised
from roadstead.kernel.kubeconfig import parse as parse_kubeconfig
from roadstead.kernel.objects import REGIONS

TOKEN_PATIENCE: Final = 10.0
"""Seconds in which a token controller must have filled the Secret."""
_HELM = "helm install roadstead-member charts/roadstead --set mode=member -n {namespace} --create-namespace"


@dataclass(frozen=True, slots=True)
class Member:
    """Where the new region is, as its administrator says."""

    kubeconfig: str
    context: str
    server: str
    account: str
    namespace: str


@dataclass(frozen=True, slots=True)
class _Found:
    """What a new region's credentials turned out to lead to."""

    version: str
    cluster_id: str


async def add(hub_access: Access, source: Member, wish: Wish, *, renew: bool, dry_run: bool, output: Format) -> None:
    """Make a cluster a region, or give one that is one new credentials.

    Raises:
        Failure: something is missing or does not work; nothing was written to the hub then.
        RoadsteadError: a cluster's own.
    """
    _check(wish)
    content = to_yaml(joining.kubeconfig(wish.name, await _credentials(source)))
    found = await _proven(wish, content)
    if dry_run:
        _print([joining.secret(wish, content), joining.region(wish)], output)
        return
    async with connected(hub_access) as hub:
        wish = await _compare_with_others(hub, wish, found, renew=renew)
        secret, region = joining.secret(wish, content), joining.region(wish)
        await _write(hub.client, secret, region, renew=renew)
    if output is not Format.TABLE:
        _print([region], output)
        return
    done = "has new credentials" if renew else "is added"
    line(f"Region {wish.name} {done}: {found.version}, cluster {found.cluster_id}")
    line("Next:")
    for step in joining.next_steps(wish, hub_flags=f" --context {hub_access.context}" if hub_access.context else ""):
        line(f"  {step}")


def _print(wanted: list[dict[str, Any]], output: Format) -> None:
    if output is Format.JSON:
        data({"apiVersion": "v1", "kind": "List", "items": wanted}, output)
    else:
        line(documents(wanted).rstrip("\n"))


def _check(wish: Wish) -> None:
    try:
        parse("Region", joining.region(wish), strict=True)
    except SpecError as error:
        raise Failure("\n".join(map(str, error.problems)), ExitCode.FAULTY) from None


async def _credentials(source: Member) -> Credentials:
    """A token of the member profile's account, taken or made with the administrator's rights."""
    async with connected(Access(source.kubeconfig, source.context), "the member") as member:
        authority = _authority(member.configuration)
        account = await _account(member.client, source)
        entry = await _token(member.client, source.namespace, account)
    configuration = member.configuration
    content = {key: base64.b64decode(value).decode() for key, value in entry["data"].items()}
    return Credentials(
        server=(source.server or configuration.host).rstrip("/"),
        ca=authority or content.get("ca.crt", ""),
        token=content["token"],
        tls_server_name=configuration.tls_server_name or "",
    )


def _authority(configuration: Configuration) -> str:
    """What the administrator trusts for this address."""
    if not configuration.verify_ssl:
        raise Failure(
            "the member's kubeconfig has insecure-skip-tls-verify: whoever answers there would get a token of the "
            "member; put its CA into certificate-authority-data",
            ExitCode.FAULTY,
        )
    if configuration.ca_cert_data:
        return str(configuration.ca_cert_data)
    return Path(configuration.ssl_ca_cert).read_text(encoding="utf-8") if configuration.ssl_ca_cert else ""


async def _account(client: ClusterClient, source: Member) -> str:
    helm = _HELM.format(namespace=source.namespace)
    if source.account:
        if await client.find(objects.SERVICE_ACCOUNTS, source.namespace, source.account) is None:
            place = f"{source.namespace}/{source.account}"
            raise Failure(
                f"the member has no ServiceAccount {place}; install the member profile: {helm}", ExitCode.NOT_FOUND
            )
        return source.account
    found = await everything(client, objects.SERVICE_ACCOUNTS, source.namespace, labels=joining.MEMBER_LABELS)
    names = sorted(body["metadata"]["name"] for body in found)
    if not names:
        message = (
            f"the member profile is not installed in namespace {source.namespace} of the member; run there: {helm}"
        )
        raise Failure(message, ExitCode.NOT_FOUND)
    if len(names) > 1:
        raise Failure(f"there are several accounts: {', '.join(names)}; choose with --service-account", ExitCode.USAGE)
    return str(names[0])


async def _token(client: ClusterClient, namespace: str, account: str) -> Mapping[str, Any]:
    """A token that does not end by itself: a region must not go blind one night because nobody renewed it."""
    selector = f"type={joining.TOKEN_TYPE}"
    found = joining.tokens_of(account, await everything(client, objects.SECRETS, namespace, fields=selector))
    if found:
        return found[0]
    wanted = joining.token_secret(namespace, account)
    name = wanted["metadata"]["name"]
    await client.apply(objects.SECRETS, namespace, name, wanted, manager=FIELD_MANAGER, force=False)
    async with _patience(f"the member gave Secret {namespace}/{name} no token"):
        while True:
            entry = await client.get(objects.SECRETS, namespace, name)
            if joining.tokens_of(account, [entry]):
                return entry
            await asyncio.sleep(0.2)


@asynccontextmanager
async def _patience(message: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(TOKEN_PATIENCE):
            yield
    except TimeoutError:
        raise Failure(
            f"{message} within {TOKEN_PATIENCE:g} s; does its controller manager run?", ExitCode.TIMED_OUT
        ) from None


async def _proven(wish: Wish, content: str) -> _Found:
    """Connect as the operator will, by its rules, and try what it cannot do without."""
    access = parse_kubeconfig(content.encode())
    client = ClusterClient(
        f"region {wish.name}", member_configuration(access), access=access, user_agent="roadstead-cli"
    )
    try:
        version = await client.version()
        namespace = await client.get(objects.NAMESPACES, "", "kube-system", metadata_only=True)
        for gvr in objects.CHILD_TYPES:
            if gvr not in objects.HUB_ONLY_TYPES and gvr not in objects.OPTIONAL_TYPES:
                async for _ in client.pages(gvr, page_size=1, metadata_only=True):
                    break
    except (Unauthorised, Forbidden) as error:
        raise Failure(
            f"{error}; the member profile is not installed as it should be, nothing was written", ExitCode.DENIED
        ) from None
    except RoadsteadError as error:
        raise Failure(
            f"{error}; say --server if the hub reaches the member elsewhere; nothing was written", ExitCode.UNREACHABLE
        ) from None
    finally:
        await client.close()
    return _Found(version, str(namespace["metadata"]["uid"]))


async def _compare_with_others(hub: Hub, wish: Wish, found: _Found, *, renew: bool) -> Wish:
    """Whether the hub's other Regions allow it; what the Region has and the wish does not mention is kept."""
    try:
        bodies = await everything(hub.client, REGIONS)
    except NotServed as error:
        raise Failure(f"{error}; is Roadstead installed in the hub?", ExitCode.NOT_FOUND) from None
    known = {body["metadata"]["name"]: (body.get("status") or {}).get("clusterID", "") for body in bodies}
    if wish.name in known and not renew:
        message = f"Region {wish.name} exists; say --replace to give it new credentials, or choose another name"
        raise Failure(message, ExitCode.REFUSED)
    if wish.name not in known and renew:
        raise Failure(f"Region {wish.name} does not exist; leave --replace out to add it", ExitCode.NOT_FOUND)
    if renew and known[wish.name] not in ("", found.cluster_id):
        message = f"the kubeconfig leads to cluster {found.cluster_id}, but Region {wish.name} is {known[wish.name]}"
        raise Failure(f"{message}; delete the Region and add it anew if the cluster was replaced", ExitCode.REFUSED)
    twins = sorted(name for name, id_ in known.items() if id_ == found.cluster_id and name != wish.name)
    if twins:
        known_as = ", ".join(twins)
        note(f"roadstead: warning: this is the cluster of {known_as} too; regions that are one cluster fail together")
    try:
        own = await hub.client.get(objects.NAMESPACES, "", "kube-system", metadata_only=True)
        if own["metadata"]["uid"] == found.cluster_id:
            note("roadstead: warning: this is the hub's own cluster; a Region with inCluster needs no credentials")
    except Forbidden:
        pass  # only a courtesy
    stored = next((body for body in bodies if body["metadata"]["name"] == wish.name), {})
    return replace(wish, zones=wish.zones or tuple((stored.get("spec") or {}).get("zones") or ()))


async def _write(client: ClusterClient, secret: dict[str, Any], region: dict[str, Any], *, renew: bool) -> None:
    """The Secret first: the operator looks for it as soon as there is a Region. Before it, what admission says."""
    space, name = secret["metadata"]["namespace"], secret["metadata"]["name"]
    try:
        await _apply_region(client, region, renew=renew, dry_run=True)
        await client.apply(objects.SECRETS, space, name, secret, manager=FIELD_MANAGER, force=renew)
    except (NotFound, NotServed) as error:
        message = f"{error}; install Roadstead in the hub first, or say its namespace with --namespace"
        raise Failure(message, ExitCode.NOT_FOUND) from None
    except Conflict as error:
        message = f"{error}; somebody else owns what is there: delete it, or say --replace to take it over"
        raise Failure(message, ExitCode.REFUSED) from None
    await _apply_region(client, region, renew=renew)


async def _apply_region(client: ClusterClient, region: dict[str, Any], *, renew: bool, dry_run: bool = False) -> None:
    name = region["metadata"]["name"]
    await client.apply(REGIONS, "", name, region, manager=FIELD_MANAGER, force=renew, dry_run=dry_run)


async def schedule(access: Access, name: str, scheduling: str, output: Format) -> None:
    """Cordon or uncordon a Region.

    Raises:
        Failure: there is none of that name.
        RoadsteadError: the hub's own.
    """
    async with connected(access) as hub:
        body = await hub.client.find(REGIONS, "", name)
        if body is None:
            raise await no_region(hub, name)
        before = (body.get("spec") or {}).get("scheduling", "Enabled")
        if before != scheduling:
            patch = {"metadata": {"uid": body["metadata"]["uid"]}, "spec": {"scheduling": scheduling}}
            body = await hub.client.merge_patch(REGIONS, "", name, patch, manager=FIELD_MANAGER)
    changed = before != scheduling
    if output is not Format.TABLE:
        data({"region": name, "scheduling": scheduling, "changed": changed}, output)
        return
    word = "cordoned" if scheduling == "Cordoned" else "open to services"
    line(f"Region {name} is {word}{'' if changed else ' already'}")
    services = (body.get("status") or {}).get("services", 0)
    if scheduling == "Cordoned" and services:
        line(f"The {services} services that name it stay there as they are, without new versions or more replicas.")
