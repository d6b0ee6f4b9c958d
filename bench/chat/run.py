"""How much the chat relay carries, against limits that are measured in the same run; README.md says how to read it.

uv run --frozen python bench/chat/run.py [--messages 20000] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tests"))
sys.path.insert(0, str(HERE.parents[1] / "scripts"))

from integration.workloads.relays import Relay, Site, wait_for, wait_until_ready  # noqa: E402
from integration.workloads.tls_pairs import Authority  # noqa: E402

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Line:
    """One row: what was driven, how fast it went, what a message cost."""

    name: str
    replicas: int
    messages: int
    per_second: float
    cpu_us: float
    p50_ms: float
    p99_ms: float
    ack_p99_ms: float
    lost: int
    rss_mib: float


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss_mib(pid: int) -> float:
    for row in Path(f"/proc/{pid}/status").read_text().splitlines():
        if row.startswith("VmHWM"):
            return int(row.split()[1]) / 1024
    raise ValueError(pid)


def load(site: Site, urls: list[str], **options: object) -> dict[str, Any]:
    command = [sys.executable, "-m", "roadstead_chat_load.main", "run", "--json", "--min-ratio", "0"]
    command += ["--ca-file", str(site.ca_file), "--signing-key-file", str(site.seed_file)]
    for url in urls:
        command += ["--url", url]
    for name, value in options.items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the load client failed: {done.stderr}{done.stdout}")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def measured(name: str, site: Site, pids: list[int], urls: list[str], **options: object) -> Line:
    before = sum(map(cpu_seconds, pids))
    report = load(site, urls, **options)
    spent = sum(map(cpu_seconds, pids)) - before
    count = report["acknowledged"]
    return Line(
        name,
        len(pids),
        count,
        report["per_second"],
        round(spent / count * 1e6, 1),
        report["latency_ms"]["p50"],
        report["latency_ms"]["p99"],
        report["acknowledgement_ms"]["p99"],
        report["acknowledged_but_lost"],
        round(max(map(rss_mib, pids)), 1),
    )


def fsyncs_per_second(directory: Path, seconds: float = 1.0) -> float:
    """Appends of a page with fdatasync: what bounds a relay that would commit every message by itself."""
    count, started = 0, time.monotonic()
    descriptor = os.open(directory / "fsync", os.O_WRONLY | os.O_CREAT)
    try:
        while time.monotonic() - started < seconds:
            os.write(descriptor, b"x" * 4096)
            os.fdatasync(descriptor)
            count += 1
    finally:
        os.close(descriptor)
    return count / (time.monotonic() - started)


def start(relays: list[Relay]) -> None:
    for relay in relays:
        relay.launch()
    wait_until_ready(relays, 60)
    others = len(relays) - 1
    wait_for(lambda: all(relay.metric("chat_peers") == others for relay in relays), "peers", 30)


def pairs(site: Site, messages: int) -> list[Line]:
    """Rooms of two: the null relay, then one and two replicas, as fast as they go and at a steady pace."""
    lines = []
    flat_out = {"messages": messages, "connections": 20, "rooms": 10}
    (port,) = site.claim(1)
    null = subprocess.Popen([sys.executable, str(HERE / "null_relay.py"), str(site.directory / "one/tls"), str(port)])
    try:
        time.sleep(3)
        lines.append(measured("null relay, flat out", site, [null.pid], [f"wss://localhost:{port}"], **flat_out))
    finally:
        null.kill()
        null.wait()
    for count in (1, 2):
        relays = [site.relays[0]] if count == 1 else site.replicas(*(f"r{number}" for number in range(count)))
        start(relays)
        pids, urls = [relay.pid for relay in relays], [relay.url for relay in relays]
        name = "relay" if count == 1 else f"{count} replicas"
        lines.append(measured(f"{name}, flat out", site, pids, urls, **flat_out))
        steady = {"messages": messages // 10, "connections": 20, "rooms": 10, "rate": 200}
        lines.append(measured(f"{name}, 200/s", site, pids, urls, **steady))
        for relay in relays:
            relay.stop()
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder), Authority())
        site.relay("one")
        try:
            fsyncs = fsyncs_per_second(Path(folder))
            lines = pairs(site, arguments.messages)
        finally:
            site.close()
    null, relay = lines[0], lines[1]
    result = {
        "fsyncs_per_second": round(fsyncs),
        "load_average": os.getloadavg()[0],
        "lines": [asdict(line) for line in lines],
        "throughput_ratio": round(relay.per_second / null.per_second, 3),
        "cpu_ratio": round(relay.cpu_us / null.cpu_us, 3),
        "messages_per_fsync_of_the_disk": round(relay.per_second / fsyncs, 3),
    }
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"{'':24}{'msg/s':>8}{'cpu us':>9}{'p50 ms':>9}{'p99 ms':>9}{'ack p99':>9}{'lost':>6}{'MiB':>8}")
    for line in lines:
        print(
            f"{line.name:24}{line.per_second:8.0f}{line.cpu_us:9.1f}{line.p50_ms:9.1f}{line.p99_ms:9.1f}"
            f"{line.ack_p99_ms:9.1f}{line.lost:6}{line.rss_mib:8.1f}"
        )
    print(f"relay / null relay: throughput {result['throughput_ratio']}, CPU a message {result['cpu_ratio']}")
    print(f"this disk: {fsyncs:.0f} fsyncs/s; load average {result['load_average']:.1f}")


if __name__ == "__main__":
    main()
