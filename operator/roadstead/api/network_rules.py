"""Rules about who may open connections: ranges of addresses and selections of pods."""

import ipaddress
from collections.abc import Iterable, Iterator

from roadstead.api.chatservice import ChatService
from roadstead.api.rules import Rule, Values, cel_text
from roadstead.api.selectors import LabelSelector, NetworkPeer, SelectorOperator
from roadstead.api.shapes import CIDR


def _mixed_peers(chat: ChatService) -> Iterator[Values]:
    for index, peer in enumerate(chat.spec.traffic.allow_from):
        selects = peer.namespace_selector is not None or peer.pod_selector is not None
        if selects == (peer.ip_block is not None):
            yield {"index": index, "number": "both" if selects else "none"}


def network(cidr: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """The range that a CIDR names as Kubernetes reads it, or None: stricter than Python about zeros and mapped IPv4."""
    prefix = cidr.rpartition("/")[2]
    if len(prefix) > 1 and prefix.startswith("0"):
        return None
    try:
        found = ipaddress.ip_network(cidr, strict=False)
    except ValueError:
        return None
    mapped = isinstance(found, ipaddress.IPv6Network) and ipaddress.IPv6Address(cidr.rpartition("/")[0]).ipv4_mapped
    return None if mapped else found


def _bad_cidrs(chat: ChatService) -> Iterator[Values]:
    for index, peer in enumerate(chat.spec.traffic.allow_from):
        if peer.ip_block is not None and network(peer.ip_block.cidr) is None:
            yield {"index": index, "value": peer.ip_block.cidr}


def _bad_exceptions(chat: ChatService) -> Iterator[Values]:
    for index, peer in enumerate(chat.spec.traffic.allow_from):
        whole = network(peer.ip_block.cidr) if peer.ip_block is not None else None
        if peer.ip_block is None or whole is None:
            continue
        for text in peer.ip_block.except_:
            part = network(text)
            if part is None or part.version != whole.version or not _inside(part, whole):
                yield {"index": index, "value": text, "cidr": peer.ip_block.cidr}


def _inside(
    part: ipaddress.IPv4Network | ipaddress.IPv6Network, whole: ipaddress.IPv4Network | ipaddress.IPv6Network
) -> bool:
    return part.prefixlen > whole.prefixlen and part.network_address in whole


def _selectors(peers: Iterable[NetworkPeer]) -> Iterator[tuple[int, str, LabelSelector]]:
    for index, peer in enumerate(peers):
        for name, selector in (("namespaceSelector", peer.namespace_selector), ("podSelector", peer.pod_selector)):
            if selector is not None:
                yield index, name, selector


def _bad_requirements(which: str, chat: ChatService) -> Iterator[Values]:
    for index, name, selector in _selectors(chat.spec.traffic.allow_from):
        for requirement in selector.match_expressions if name == which else ():
            takes = requirement.operator in (SelectorOperator.IN, SelectorOperator.NOT_IN)
            if takes != bool(requirement.values):
                yield {"index": index, "key": requirement.key, "value": requirement.operator.value}


def _requirement_values(which: str) -> Rule:
    return Rule(
        name=f"Requirements of {which} have values exactly where their operator takes some",
        at=f"spec.traffic.allowFrom[].{which}.matchExpressions[]",
        field=f"spec.traffic.allowFrom[{{index}}].{which}.matchExpressions",
        says="has the operator {value} for {key} with the wrong number of values",
        cure="write values with In and NotIn, and none with Exists and DoesNotExist",
        found=lambda chat: _bad_requirements(which, chat),
        cel="(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",
        values={"index": "'*'", "value": "self.operator", "key": "self.key"},
    )


NETWORK_RULES = (
    Rule(
        name="A source of connections is a range of addresses or a selection, not both",
        at="spec.traffic.allowFrom[]",
        field="spec.traffic.allowFrom[{index}]",
        says="sets {number} of ipBlock and the selectors",
        cure="write ipBlock, or namespaceSelector and podSelector",
        found=_mixed_peers,
        cel="has(self.ipBlock) != (has(self.namespaceSelector) || has(self.podSelector))",
        values={"index": "'*'", "number": "(has(self.ipBlock) ? 'both' : 'none')"},
    ),
    Rule(
        name="A range of addresses can be read",
        at="spec.traffic.allowFrom[].ipBlock",
        field="spec.traffic.allowFrom[{index}].ipBlock.cidr",
        says="is {value}, which is not a range of addresses",
        cure="write an address and a prefix length such as 10.0.0.0/8 or fd00::/8",
        found=_bad_cidrs,
        cel=f"isCIDR(self.cidr) || !self.cidr.matches({cel_text(CIDR)})",  # without the shape: the other rule
        values={"index": "'*'", "value": "self.cidr"},
    ),
    Rule(
        name="Exceptions lie within their range",
        at="spec.traffic.allowFrom[].ipBlock",
        field="spec.traffic.allowFrom[{index}].ipBlock.except",
        says="has {value}, which is not a smaller range within {cidr}",
        cure="write ranges within cidr, or remove it",
        found=_bad_exceptions,
        cel="!has(self.except) || !isCIDR(self.cidr) || self.except.all(e, isCIDR(e) && "
        "cidr(self.cidr).containsCIDR(e) && cidr(e).prefixLength() > cidr(self.cidr).prefixLength())",
        values={
            "index": "'*'",
            "value": "self.except.map(e, !isCIDR(e) || !cidr(self.cidr).containsCIDR(e) || "
            "cidr(e).prefixLength() <= cidr(self.cidr).prefixLength(), e)[0]",
            "cidr": "self.cidr",
        },
    ),
    _requirement_values("namespaceSelector"),
    _requirement_values("podSelector"),
)
