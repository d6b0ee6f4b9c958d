"""A region in trouble is that region's trouble only, nothing in it is touched, and it recovers without a restart."""

from __future__ import annotations

import base64
import contextlib
import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

import worlds
from clusters import eventually
from faults.background import proxied
from faults.proxy import Answer, Fault, Proxy, Reset, Slow
from localkube import rbac
from localkube.certificates import Authority
from localoperator import MEMBER_ACCOUNT, NAMESPACE
from roadstead.chat.bulkhead import PLACES
from specs import edited
from worlds import SETTLE_SECONDS, Body, World, chat, condition_of, versions

from .conftest import MakeService

USUAL = 5.0
"""Seconds in which drift in a healthy region is repaired, whatever happens elsewhere; far above the usual and far below
every time-out of ours, see `at_its_usual_pace`."""
ATTEMPTS = 5
VICTIMS = itertools.cycle(
    [("networkpolicies", "{}-allow"), ("networkpolicies", "{}-default-deny"), ("poddisruptionbudgets", "{}")]
)
"""What is deleted to see drift repaired: not the same object again and again, which would be a fight."""


@pytest.fixture(scope="module")
def both(world: World) -> str:
    """A service in both regions."""
    name = world.fresh_name("both")
    world.apply(chat(name))
    world.wait_ready(name)
    return name


@pytest.fixture(scope="module")
def elsewhere(world: World) -> str:
    """A service that has nothing to do with hkg."""
    name = world.fresh_name("elsewhere")
    world.apply(chat(name, ["sgp"]))
    world.wait_ready(name)
    return name


def kubeconfig(world: World) -> Body:
    """The kubeconfig of hkg as it is now."""
    encoded = world.at_hub.get("secrets", "region-hkg", NAMESPACE)["data"]["kubeconfig"]
    loaded: Body = yaml.safe_load(base64.b64decode(encoded))
    return loaded


def replace_kubeconfig(world: World, content: Body | str) -> None:
    """Put another kubeconfig into the Secret of hkg, which is made when it is not there."""
    text = content if isinstance(content, str) else yaml.safe_dump(content)
    body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "region-hkg", "namespace": NAMESPACE},
        "data": {"kubeconfig": base64.b64encode(text.encode()).decode()},
    }
    world.at_hub.apply("secrets", body, NAMESPACE)


def at_its_usual_pace(break_it: Callable[[], Callable[[], bool]]) -> None:
    """Of several attempts one is mended within `USUAL`.

    A busy machine makes an attempt slow now and then. What has to wait for a time-out is slow each time, as long as the
    trouble lasts. (A region that is slow gets through its work after all, and would make a later attempt quick.)

    Args:
        break_it: makes something to mend, and returns what tells that it is mended.
    """
    for _ in range(ATTEMPTS):
        is_mended = break_it()
        with contextlib.suppress(AssertionError):
            eventually(is_mended, deadline=USUAL)
            return
        eventually(is_mended, deadline=SETTLE_SECONDS)
    raise AssertionError(f"{ATTEMPTS} times it took more than {USUAL:g} s")


def delete_children(world: World, *services: str) -> Callable[[], bool]:
    """Delete a child of each service in sgp; returns what tells that they are there again."""
    resource, pattern = next(VICTIMS)
    children = [pattern.format(f"{name}-sgp") for name in services]
    for child in children:
        world.at["sgp"].delete(resource, child)
    return lambda: all(world.at["sgp"].find(resource, child) for child in children)


def reason_of(world: World, region: str) -> str:
    return str(world.condition(region, "Ready", "", "regions").get("reason"))


@contextlib.contextmanager
def trouble(world: World, both: str, elsewhere: str, *reasons: str) -> Iterator[None]:
    """What holds while hkg is in trouble for one of ``reasons``; the body of the block ends the trouble."""
    children = world.at["hkg"].children(both) if reachable(world) else None
    since = world.condition(elsewhere, "Ready")["lastTransitionTime"]
    eventually(
        lambda: reason_of(world, "hkg") in reasons, deadline=SETTLE_SECONDS, what=f"hkg is {' or '.join(reasons)}"
    )
    assert condition_of(world.at_hub.get("regions", "sgp", ""), "Ready")["status"] == "True"
    said = world.wait(both, "Ready", "False", reason="RegionUnreachable")
    assert "hkg" in condition_of(said, "Ready")["message"]
    assert world.entry(both, "hkg")["phase"] == "Unreachable"
    assert world.entry(both, "sgp")["phase"] == "Ready"
    assert said["status"]["readyRegions"] == "1/2"
    at_its_usual_pace(lambda: delete_children(world, both, elsewhere))
    yield
    eventually(lambda: reason_of(world, "hkg") == "Connected", deadline=SETTLE_SECONDS, what="hkg is back")
    world.wait_ready(both)
    assert world.running._process.poll() is None, "no restart"
    if children is not None:
        assert versions(world.at["hkg"].children(both)) == versions(children), "nothing there was touched"
    ready = world.condition(elsewhere, "Ready")
    assert (ready["status"], ready["lastTransitionTime"]) == ("True", since), world.at_hub.told(elsewhere)


class Line:
    """The way from the operator to hkg, through a proxy, so that it can be cut while the cluster itself goes on."""

    def __init__(self, world: World, proxy: Proxy) -> None:
        self._world = world
        self._proxy = proxy

    def cut(self) -> None:
        self._proxy.fault(Reset(), times=None)
        self._proxy.drop_watches()
        eventually(lambda: reason_of(self._world, "hkg") == "Unreachable", deadline=SETTLE_SECONDS)

    def slow_down(self, seconds: float) -> Fault:
        return self._proxy.fault(Slow(seconds), when=lambda request: request.writes, times=None)

    def mend(self) -> None:
        self._proxy.clear_faults()


@contextlib.contextmanager
def line_to_hkg(world: World) -> Iterator[Line]:
    """Put the proxy in between, and take it out again."""
    good = kubeconfig(world)
    cluster = world.members["hkg"]
    token = rbac.service_account_token(cluster.api, NAMESPACE, MEMBER_ACCOUNT)
    with proxied(cluster) as proxy:
        replace_kubeconfig(world, proxy.kubeconfig(cluster.directory / "through-proxy", token).read_text())
        eventually(lambda: proxy.watching and reason_of(world, "hkg") == "Connected", deadline=SETTLE_SECONDS)
        try:
            yield Line(world, proxy)
        finally:
            proxy.clear_faults()
            replace_kubeconfig(world, good)
            eventually(lambda: not proxy.watching, deadline=SETTLE_SECONDS, what="the old connection is given up")


def reachable(world: World) -> bool:
    return world.members["hkg"].api.ready()


Spoil = Callable[[Body, Path], Body | str]


def with_command(config: Body, mark: Path) -> Body:
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "/usr/bin/touch", "args": [str(mark)]}
    return edited(config, {"users[0].user": {"exec": {**plugin, "interactiveMode": "Never"}}})


def insecure(config: Body, _: Path) -> Body:
    cluster = {"server": config["clusters"][0]["cluster"]["server"], "insecure-skip-tls-verify": True}
    return edited(config, {"clusters[0].cluster": cluster})


def with_file(config: Body, mark: Path) -> Body:
    return edited(config, {"users[0].user": {"tokenFile": str(mark)}})


def wrong_token(config: Body, _: Path) -> Body:
    return edited(config, {"users[0].user.token": "nobody-knows-me"})


def other_authority(config: Body, _: Path) -> Body:
    authority = base64.b64encode(Authority("somebody else").pair.certificate).decode()
    return edited(config, {"clusters[0].cluster.certificate-authority-data": authority})


def weak_pair(config: Body, _: Path) -> Body:
    """A client certificate that kubectl takes and OpenSSL refuses."""
    key = rsa.generate_private_key(65537, 1024)  # noqa: S505 - that is what is tested
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "weak")])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, start, start + timedelta(days=9000))
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    parts = {"client-certificate-data": certificate, "client-key-data": secret}
    return edited(config, {"users[0].user": {name: base64.b64encode(part).decode() for name, part in parts.items()}})


def no_host(config: Body, _: Path) -> Body:
    return edited(config, {"clusters[0].cluster.server": "https://a..b"})


def nothing(_: Body, __: Path) -> str:
    return "not a kubeconfig"


SPOILED: dict[str, tuple[Spoil, str, str]] = {
    "a command": (with_command, "KubeconfigRefused", "exec"),
    "no verification": (insecure, "KubeconfigRefused", "insecure-skip-tls-verify"),
    "a file": (with_file, "KubeconfigRefused", "tokenFile"),
    "a token that nobody knows": (wrong_token, "Unauthorized", "put a valid token into the kubeconfig Secret"),
    "another authority": (other_authority, "Unreachable", "certificate"),
    "a pair that is too weak": (weak_pair, "KubeconfigRefused", "no connection can be made with it"),
    "a host that is none": (no_host, "Unreachable", "does not answer"),
    "no kubeconfig at all": (nothing, "KubeconfigRefused", "kubeconfig"),
}


@pytest.mark.parametrize("what", SPOILED)
def test_a_kubeconfig_that_cannot_be_used(world: World, both: str, elsewhere: str, what: str, tmp_path: Path) -> None:
    spoil, reason, words = SPOILED[what]
    good = kubeconfig(world)
    mark = tmp_path / "mark"
    replace_kubeconfig(world, spoil(good, mark))
    with trouble(world, both, elsewhere, reason):
        message = world.condition("hkg", "Ready", "", "regions")["message"]
        assert words in message, message
        assert "nobody-knows-me" not in world.running.log_path.read_text(), "no credentials in logs"
        assert not mark.exists()
        replace_kubeconfig(world, good)


def assert_silent(world: World, name: str) -> None:
    """A region that stays away is said once, not at every probe."""

    def probes() -> float:
        return worlds.metric(world.running, "rest_client_requests_total", cluster="hkg", code="0")

    before = (world.service(name)["metadata"]["resourceVersion"], world.at_hub.get("regions", "hkg", ""))
    asked = probes()
    eventually(lambda: probes() >= asked + 2, deadline=SETTLE_SECONDS)
    after = (world.service(name)["metadata"]["resourceVersion"], world.at_hub.get("regions", "hkg", ""))
    assert after == before


def test_a_kubeconfig_that_is_gone_prunes_nothing(world: World, both: str, elsewhere: str) -> None:
    good = kubeconfig(world)
    world.at_hub.delete("secrets", "region-hkg", NAMESPACE)
    with trouble(world, both, elsewhere, "KubeconfigMissing"):
        world.look_again(both)
        replace_kubeconfig(world, good)


def test_an_api_server_that_is_down(world: World, both: str, elsewhere: str) -> None:
    cluster = world.members["hkg"]
    cluster.stop_apiserver()
    with trouble(world, both, elsewhere, "Unreachable"):
        cluster.start_apiserver()


def test_an_api_server_that_hangs(world: World, both: str, elsewhere: str) -> None:
    cluster = world.members["hkg"]
    cluster.pause_apiserver()
    try:
        with trouble(world, both, elsewhere, "Unreachable"):
            name = world.fresh_name("meanwhile")
            world.apply(chat(name, ["sgp"]))
            world.wait_ready(name)  # new work elsewhere is not held up either
            world.delete(name)
            assert_silent(world, both)
            cluster.resume_apiserver()
    finally:
        cluster.resume_apiserver()


def test_an_api_server_that_comes_back_with_another_certificate(world: World, both: str) -> None:
    """The authority is the same, so nobody has to do anything."""
    cluster = world.members["hkg"]
    before = versions(world.at["hkg"].children(both))
    cluster.restart_apiserver(new_certificate=True)
    eventually(lambda: reason_of(world, "hkg") == "Connected", deadline=SETTLE_SECONDS)
    world.wait_ready(both)
    assert versions(world.at["hkg"].children(both)) == before
    world.at["hkg"].delete("networkpolicies", f"{both}-hkg-allow")
    eventually(lambda: world.at["hkg"].find("networkpolicies", f"{both}-hkg-allow"), deadline=SETTLE_SECONDS)


def test_an_api_server_that_asks_to_be_left_alone(world: World, both: str, elsewhere: str) -> None:
    """429 with Retry-After: nothing is sent again before, and nothing else waits for it."""
    good = kubeconfig(world)
    cluster = world.members["hkg"]
    token = rbac.service_account_token(cluster.api, NAMESPACE, MEMBER_ACCOUNT)
    with proxied(cluster) as proxy:
        path = proxy.kubeconfig(cluster.directory / "through-proxy", token)
        replace_kubeconfig(world, path.read_text())
        eventually(lambda: proxy.watching, deadline=SETTLE_SECONDS)
        world.wait_ready(both)
        busy = proxy.fault(Answer(429, "too busy", {"Retry-After": "3"}), when=lambda r: r.writes, times=None)
        world.at["hkg"].delete("networkpolicies", f"{both}-hkg-allow")
        eventually(lambda: busy.hits >= 1, deadline=SETTLE_SECONDS)
        said = world.wait(both, "Ready", "False")
        assert "too busy" in world.entry(both, "hkg")["message"], condition_of(said, "Ready")
        at_its_usual_pace(lambda: delete_children(world, both, elsewhere))
        proxy.clear_faults()
        eventually(lambda: world.at["hkg"].find("networkpolicies", f"{both}-hkg-allow"), deadline=SETTLE_SECONDS)
        world.wait_ready(both)
        replace_kubeconfig(world, good)
        eventually(lambda: not proxy.watching, deadline=SETTLE_SECONDS, what="the old connection is given up")
    world.wait_ready(both)


def test_a_slow_region_takes_no_time_from_the_others(world: World, elsewhere: str) -> None:
    """More services are written there, and then deleted, than there are workers and places."""
    names = [world.fresh_name("slow") for _ in range(PLACES + 8)]

    def others_go_on() -> None:
        eventually(delete_children(world, elsewhere), deadline=patience)
        fresh = world.fresh_name("quick")
        world.apply(chat(fresh, ["sgp"]))
        eventually(lambda: len(world.at["sgp"].children(fresh)) > 5, deadline=patience)
        world.delete(fresh)

    # Sixteen workers that were held by the slow region would be held for 20 s: 16 services of 8 objects, 32 at once.
    answer, patience = 5.0, 15.0
    with line_to_hkg(world) as line:
        slow = line.slow_down(answer)
        for name in names:
            world.apply(chat(name, ["hkg"]))
        eventually(lambda: slow.hits >= PLACES, deadline=SETTLE_SECONDS, what="as many writes as go at once")
        others_go_on()
        line.mend()
        for name in names:
            world.wait_ready(name)
        slow = line.slow_down(answer)
        for name in names:
            world.at_hub.delete("chatservices", name)
        eventually(lambda: slow.hits >= PLACES, deadline=SETTLE_SECONDS, what="as many deletions as go at once")
        others_go_on()
        line.mend()
        for name in names:
            world.wait_gone(name)


def test_another_cluster_under_the_same_name_is_not_written_to(world: World, both: str) -> None:
    """A kubeconfig that leads to the wrong cluster must not have the service made there as well."""
    good = kubeconfig(world)
    other = base64.b64decode(world.at_hub.get("secrets", "region-sgp", NAMESPACE)["data"]["kubeconfig"]).decode()
    replace_kubeconfig(world, other)
    eventually(lambda: reason_of(world, "hkg") == "ClusterChanged", deadline=SETTLE_SECONDS)
    world.wait(both, "Ready", "False", reason="RegionUnreachable")
    assert not [key for key in world.at["sgp"].children(both) if f"{both}-hkg" in key]
    replace_kubeconfig(world, good)
    eventually(lambda: reason_of(world, "hkg") == "Connected", deadline=SETTLE_SECONDS)
    world.wait_ready(both)


def test_a_cordoned_region_keeps_what_it_has_and_takes_nothing_more(world: World, service: MakeService) -> None:
    secret, next_secret = world.fresh_name("tls"), world.fresh_name("tls")
    worlds.make_certificate(world.at_hub, secret)
    worlds.make_certificate(world.at_hub, next_secret, "next")
    rollout = {"bakeTime": "0s", "progressDeadline": "4s"}
    body = service(spec__rollout=rollout, spec__tls={"secretName": secret})
    name = body["metadata"]["name"]
    world.at_hub.patch("regions", "hkg", {"spec": {"scheduling": "Cordoned"}}, "")
    try:
        eventually(lambda: reason_of(world, "hkg") == "Cordoned", deadline=SETTLE_SECONDS)
        assert world.at_hub.get("regions", "hkg", "")["status"]["phase"] == "Cordoned"
        world.wait_ready(name)
        new = service(ready=False)["metadata"]["name"]
        world.wait(new, "Ready", "False", reason="RegionCordoned")
        eventually(lambda: world.entry(new, "sgp")["phase"] == "Ready", deadline=SETTLE_SECONDS)
        assert not world.at["hkg"].children(new)

        changes = {"spec.image": worlds.IMAGE.format("2.0"), "spec.tls.secretName": next_secret}
        world.apply(edited(body, {"spec.replicas": 3, **changes}))
        said = world.wait(name, "RolledOut", "False", reason="RegionCordoned")
        stalled = worlds.condition_of(said, "Stalled")
        assert (stalled["status"], stalled["reason"]) == ("True", "RegionCordoned"), (
            "who waits for Ready must hear of it"
        )
        assert "roadstead region uncordon hkg" in stalled["message"]
        eventually(lambda: world.status(name)["rollout"]["phase"] == "Complete", deadline=SETTLE_SECONDS)
        held = world.at["hkg"].get("deployments", f"{name}-hkg")
        assert (worlds.image_of(held), held["spec"]["replicas"]) == (worlds.IMAGE.format("1.0"), 1)
        moved = world.at["sgp"].get("deployments", f"{name}-sgp")
        assert (worlds.image_of(moved), moved["spec"]["replicas"]) == (worlds.IMAGE.format("2.0"), 3)
        # What it runs names the former Secret, whose renewals it follows. A pass that fails must not have its limit
        # forgotten.
        world.at_hub.delete("secrets", secret)
        world.wait(name, "Ready", "False", reason="SecretMissing")
        worlds.make_certificate(world.at_hub, secret, "two")
        world.wait(name, "RolledOut", "False", reason="RegionCordoned")
        copied = world.at_hub.get("secrets", secret)["data"]
        eventually(lambda: world.at["hkg"].get("secrets", f"{name}-hkg-tls")["data"] == copied)
        held = world.at["hkg"].get("deployments", f"{name}-hkg")
        assert (worlds.image_of(held), held["spec"]["replicas"]) == (worlds.IMAGE.format("1.0"), 1)
        world.at["hkg"].delete("services", f"{name}-hkg")  # what is there is kept as it should be
        eventually(lambda: world.at["hkg"].find("services", f"{name}-hkg"), deadline=SETTLE_SECONDS)
    finally:
        world.at_hub.patch("regions", "hkg", {"spec": {"scheduling": "Enabled"}}, "")
    world.wait_ready(name)
    assert worlds.image_of(world.at["hkg"].get("deployments", f"{name}-hkg")) == worlds.IMAGE.format("2.0")
    world.wait_ready(new)


def test_residency_is_not_given_up_for_anything(world: World, service: MakeService) -> None:
    world.at_hub.patch("regions", "sgp", {"spec": {"jurisdiction": "SG"}}, "")
    try:
        world.wait("sgp", "Ready", "True", resource="regions", namespace="")
        name = service(ready=False, spec__residency={"jurisdictions": ["HK"]})["metadata"]["name"]
        said = world.wait(name, "Ready", "False", reason="OutsideResidency")
        assert "sgp lies in SG, outside spec.residency.jurisdictions (HK)" in condition_of(said, "Ready")["message"]
        eventually(lambda: world.entry(name, "hkg")["phase"] == "Ready", deadline=SETTLE_SECONDS)
        assert not world.at["sgp"].children(name)
    finally:
        world.at_hub.patch("regions", "sgp", {"spec": {"jurisdiction": "HK"}}, "")
    world.wait_ready(name)


def region_body(world: World, name: str) -> Body:
    """A Region as a person would apply it again."""
    live = world.at_hub.get("regions", name, "")
    return {key: live[key] for key in ("apiVersion", "kind", "spec")} | {"metadata": {"name": name}}


def wait_blocked(world: World, name: str) -> None:
    def blocked() -> bool:
        found = world.condition(name, "Deleting")
        assert found.get("reason") == "DeletionBlocked", found
        assert "region hkg cannot be cleaned up" in found["message"]
        return "delete the Region, or annotate the service with roadstead.dev/abandon=hkg" in found["message"]

    eventually(blocked, deadline=SETTLE_SECONDS)


def test_a_lost_region_blocks_deletion_until_the_region_is_deleted_and_is_swept_when_it_returns(
    world: World, service: MakeService
) -> None:
    names = [service()["metadata"]["name"] for _ in range(2)]
    region = region_body(world, "hkg")
    with line_to_hkg(world) as line:
        line.cut()
        for name in names:
            world.at_hub.delete("chatservices", name)
        for name in names:
            wait_blocked(world, name)
        eventually(lambda: not any(world.at["sgp"].children(name) for name in names), deadline=SETTLE_SECONDS)
        note = {"metadata": {"annotations": {"roadstead.dev/abandon": "hkg"}}}
        world.at_hub.patch("chatservices", names[0], note)
        world.wait_gone(names[0])
        wait_blocked(world, names[1])
        world.at_hub.delete("regions", "hkg", "")
        world.wait_gone(names[1])
        assert all(world.at["hkg"].children(name) for name in names), "nobody can have removed them yet"
        line.mend()
        world.at_hub.apply("regions", region, "")
        eventually(
            lambda: not any(world.at["hkg"].children(name) for name in names),
            deadline=SETTLE_SECONDS,
            what="what was left behind is swept",
        )


def test_a_service_made_anew_while_its_region_was_away_takes_over_what_is_there(
    world: World, service: MakeService
) -> None:
    body = service()
    name = body["metadata"]["name"]
    before = world.at["hkg"].children(name)
    with line_to_hkg(world) as line:
        line.cut()
        world.at_hub.delete("chatservices", name)
        wait_blocked(world, name)
        world.at_hub.patch("chatservices", name, {"metadata": {"annotations": {"roadstead.dev/abandon": "*"}}})
        world.wait_gone(name)
        world.apply(edited(body, {"spec.image": worlds.IMAGE.format("2.0")}))
        eventually(lambda: world.entry(name, "sgp").get("phase") == "Ready", deadline=SETTLE_SECONDS)
        line.mend()
        world.wait_ready(name)
    after = world.at["hkg"].children(name)
    uid = world.service(name)["metadata"]["uid"]
    assert {child["metadata"]["annotations"]["roadstead.dev/owner-uid"] for child in after.values()} == {uid}
    deployment = f"deployments/{name}-hkg"
    assert after[deployment]["metadata"]["uid"] == before[deployment]["metadata"]["uid"], "taken over, not replaced"
    assert worlds.image_of(after[deployment]) == worlds.IMAGE.format("2.0")


def test_a_region_that_is_down_when_the_operator_starts(world: World, both: str, elsewhere: str) -> None:
    before = versions(world.at["hkg"].children(both))
    with line_to_hkg(world) as line:
        line.cut()
        world.restart()
        eventually(lambda: reason_of(world, "hkg") == "Unreachable", deadline=SETTLE_SECONDS)
        world.wait(both, "Ready", "False", reason="RegionUnreachable")
        at_its_usual_pace(lambda: delete_children(world, elsewhere))
        new = world.fresh_name("new")
        world.apply(chat(new))
        eventually(lambda: world.entry(new, "sgp").get("phase") == "Ready", deadline=SETTLE_SECONDS)
        line.mend()
        world.wait_ready(both)
        world.wait_ready(new)
    assert versions(world.at["hkg"].children(both)) == before
    world.delete(new)
