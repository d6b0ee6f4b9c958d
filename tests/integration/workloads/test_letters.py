"""Single messages by hand, with the command: written, read by whoever has the room's key, and by nobody else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from integration.workloads.relays import Relay, Site


def call(site: Site, relay: Relay, command: str, key: Path, *words: str) -> subprocess.CompletedProcess[str]:
    line = [
        *(sys.executable, "-m", "roadstead_chat_load.main", command, f"--url=wss://localhost:{relay.port}"),
        *(f"--signing-key-file={site.seed_file}", f"--ca-file={site.ca_file}", f"--room-key-file={key}", *words),
    ]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)


def test_what_is_sent_is_read_by_whoever_has_the_key(site: Site, tmp_path: Path) -> None:
    relay = site.relay().start()
    key = tmp_path / "room.key"
    assert call(site, relay, "read", key).stdout == ""
    assert call(site, relay, "send", key, "first").stdout.startswith("durable as ")
    assert call(site, relay, "send", key, "second").returncode == 0
    assert call(site, relay, "send", key, "elsewhere", "--room=other").returncode == 0
    assert call(site, relay, "read", key).stdout == "first\nsecond\n"
    other = call(site, relay, "read", tmp_path / "other.key")
    assert other.returncode == 1
    assert "was not sealed with this key" in other.stderr


def test_a_file_that_is_no_key_is_named(site: Site, tmp_path: Path) -> None:
    relay = site.relay().start()
    (tmp_path / "room.key").write_text("none")
    refused = call(site, relay, "send", tmp_path / "room.key", "text")
    assert refused.returncode == 2
    assert "is no room's key" in refused.stderr


def test_a_relay_that_refuses_is_told_in_its_words(site: Site, tmp_path: Path) -> None:
    relay = site.relay(CHAT_ROLE="standby").start()
    refused = call(site, relay, "send", tmp_path / "room.key", "text")
    assert refused.returncode == 1
    assert "standby" in refused.stderr
    relay.stop()
    assert "cannot be reached" in call(site, relay, "read", tmp_path / "room.key").stderr
