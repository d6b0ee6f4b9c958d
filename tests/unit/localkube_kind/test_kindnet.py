from ipaddress import IPv4Network

from localkube import kindnet

# a default route, a LAN, docker0
ROUTES = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
"""


def test_routes_are_read() -> None:
    expected = ["0.0.0.0/0", "192.0.2.0/24", "172.17.0.0/16"]
    assert [str(network) for network in kindnet.parse_routes(ROUTES)] == expected


def test_a_candidate_overlaps_no_route_and_the_default_route_takes_nothing() -> None:
    found = list(kindnet.candidates(kindnet.parse_routes(ROUTES)))
    assert len(found) == (2**12) - 256
    assert not any(subnet.overlaps(IPv4Network("172.17.0.0/16")) for subnet in found)


def test_nothing_is_offered_when_all_is_taken() -> None:
    assert list(kindnet.candidates([kindnet.POOL])) == []
