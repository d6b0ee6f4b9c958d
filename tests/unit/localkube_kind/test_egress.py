from pathlib import Path
from typing import Any

import pytest

from localkube import egress
from localkube.docker import Docker

HERE = Docker(host="unix:///run/x.sock", ours=True)


def no_image() -> str:
    pytest.fail("asked for an image although this process may set the rules itself")


def test_a_rule_rejects_what_leaves_a_bridge_for_anywhere_else() -> None:
    script = egress.refusal("abc123", ["rs-abc123-0", "rs-abc123-1"])
    for bridge in ("rs-abc123-0", "rs-abc123-1"):
        assert f'iifname "{bridge}" oifname != "{bridge}" meta l4proto tcp counter reject with tcp reset' in script
        assert f'iifname "{bridge}" oifname != "{bridge}" counter reject' in script


def test_a_former_table_is_replaced_in_the_same_transaction() -> None:
    lines = egress.refusal("abc123", ["rs-abc123-0"]).splitlines()
    assert lines[:3] == [
        "add table inet roadstead_abc123",
        "delete table inet roadstead_abc123",
        "table inet roadstead_abc123 {",
    ]


@pytest.mark.parametrize("bridge", ['x" accept; #', "a" * 16, ""], ids=["an injection", "too long", "empty"])
def test_a_name_that_is_no_device_is_refused(bridge: str) -> None:
    with pytest.raises(ValueError, match="no device name"):
        egress.refusal("abc123", [bridge])


def test_a_rule_that_is_not_there_afterwards_lets_no_node_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(egress, "_nft", lambda *_: "table inet roadstead_abc123 {}")
    with pytest.raises(egress.EgressError, match="rs-abc123-0 is not refused"):
        egress.refuse(HERE, "abc123", ["rs-abc123-0"], image=no_image)


def test_a_firewall_that_refuses_us_lets_no_node_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> str:
        raise OSError("Operation not permitted")

    monkeypatch.setattr(egress, "_nft", fails)
    with pytest.raises(egress.EgressError, match="no node is started: Operation not permitted"):
        egress.refuse(HERE, "abc123", ["rs-abc123-0"], image=no_image)


def test_where_this_process_is_not_root_a_container_in_the_hosts_network_sets_the_rules(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[tuple[tuple[str, ...], str]] = []

    def run(self: Docker, *arguments: str, stdin: str, seconds: float) -> str:
        calls.append((arguments, stdin))
        return 'iifname "rs-abc123-0"'

    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr(Docker, "run", run)
    egress.refuse(Docker(host=None, ours=False), "abc123", ["rs-abc123-0"], image=lambda: "node:1")
    arguments, script = calls[0]
    assert "--network=host" in arguments
    assert arguments[-3:] == ("node:1", "-f", "-")
    assert script == egress.refusal("abc123", ["rs-abc123-0"])


def test_the_folder_of_files_for_nodes_has_no_python(request: pytest.FixtureRequest) -> None:
    # everything in it is part of the node image's key: a change of a module there would rebuild the image
    files = Path(egress.__file__).parent / "kindfiles" / "node"
    assert not list(files.rglob("*.py"))
