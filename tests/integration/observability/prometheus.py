"""A real Prometheus for tests."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from localkube import binaries, ports


class Prometheus:
    """A Prometheus server on loopback.

    Args:
        folder: empty; where it keeps what it needs.
        targets: ports to scrape each second, by job.
        rules: content of a rule file that is evaluated each second.
    """

    def __init__(self, folder: Path, targets: dict[str, int], rules: str = "") -> None:
        self._claim = ports.Claim(1)
        (self._port,) = self._claim.ports
        jobs = "\n".join(
            f'- {{job_name: {job}, static_configs: [{{targets: ["127.0.0.1:{port}"]}}]}}'
            for job, port in targets.items()
        )
        (folder / "rules.yml").write_text(rules or "groups: []")
        (folder / "prometheus.yml").write_text(
            f"global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n"
            f"rule_files: [rules.yml]\nscrape_configs:\n{jobs}\n"
        )
        self._log = (folder / "log").open("wb")
        self._process = subprocess.Popen(
            [
                str(binaries.path("prometheus")),
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self._port}",
            ],
            stdout=self._log,
            stderr=self._log,
        )

    def ask(self, expression: str) -> list[dict[str, object]]:
        """Samples of an instant query; fails with Prometheus's own words when it is not accepted."""
        query = urllib.parse.urlencode({"query": expression})
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/api/v1/query?{query}", timeout=10) as answer:
                found: list[dict[str, object]] = json.load(answer)["data"]["result"]
                return found
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{expression}: {error.read().decode()}") from error

    def firing(self) -> list[dict[str, Any]]:
        """Alerts that fire now, as Prometheus tells them to an Alertmanager."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/api/v1/alerts", timeout=10) as answer:
            return [alert for alert in json.load(answer)["data"]["alerts"] if alert["state"] == "firing"]

    def is_up(self, jobs: int) -> bool:
        """Whether every job has been scraped often enough for a rate."""
        try:
            return len(self.ask("count_over_time(up[30s]) > 8 and up == 1")) == jobs
        except OSError:
            return False

    def stop(self) -> None:
        """End the server."""
        self._process.terminate()
        self._process.wait(timeout=20)
        self._log.close()
        self._claim.release()
