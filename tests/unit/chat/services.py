"""Services and what is observed of them, for the tests of this room."""

from typing import Any

from roadstead.api.chatservice import ChatService
from roadstead.api.parse import parse
from roadstead.chat import desired, revisions
from roadstead.chat.desired import Certificate, Observed
from roadstead.chat.placement import RegionFacts
from roadstead.chat.revisions import Revision
from roadstead.kernel import objects, templates
from roadstead.kernel.objects import Child

TEMPLATES = templates.load("chat")
CERTIFICATE = Certificate({"tls.crt": "Q0VSVA==", "tls.key": "S0VZ"})
HONG_KONG = RegionFacts("hkg", "HK")
EVERYTHING_SERVED = frozenset({objects.SERVICE_MONITORS, objects.CERTIFICATES})


def service(status: dict[str, Any] | None = None, generation: int = 1, **spec: Any) -> ChatService:
    """A ChatService ``bank/desk``; keywords are fields of its spec, as they are written in YAML."""
    body = {
        "metadata": {"name": "desk", "namespace": "bank", "uid": "5f2c", "generation": generation},
        "spec": {
            "image": "registry.example/roadstead-chat:1.4.0",
            "topology": {"regions": [{"name": "hkg"}]},
            "tls": {"secretName": "chat-tls"},
            **spec,
        },
        "status": status or {},
    }
    return parse("ChatService", body)


def revision(of: ChatService) -> Revision:
    return revisions.revision_of(of.spec, TEMPLATES)


def observed(**fields: Any) -> Observed:
    return Observed(**{"certificate": CERTIFICATE, **fields})


def build(
    of: ChatService, region: RegionFacts = HONG_KONG, seen: Observed | None = None, at: Revision | None = None
) -> dict[str, Child]:
    """The children by ``Kind/name``."""
    children = desired.build(of, region, at or revision(of), seen or observed(), TEMPLATES)
    return {f"{child.gvr.kind}/{child.name}": child for child in children}


def pod_of(children: dict[str, Child]) -> Any:
    """The pod spec of the one workload among the children."""
    (workload,) = (c for c in children.values() if c.gvr in (objects.DEPLOYMENTS, objects.STATEFUL_SETS))
    return workload.body["spec"]["template"]["spec"]


def env_of(children: dict[str, Child]) -> dict[str, Any]:
    return {
        entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in pod_of(children)["containers"][0]["env"]
    }
