"""A real Prometheus and Alertmanager for a test, with the rules of deploy/ at another speed.

An alert that waits for ten minutes over a rate of five is right in production and far too slow for a test. The overlay
divides every duration by one factor: the intervals of scraping and evaluation, the ranges, offsets and ``for`` of all
rules, and Alertmanager's waits. So the rules are those of deploy/, in a world that is so many times faster.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from streamlearn.local.broker import free_port
from tests.integration.learner import answers, wait_until

DEPLOY = Path(__file__).parents[2] / "deploy"
DURATION = re.compile(r"(?P<before>\[|offset |for: |_interval: |_wait: )(?P<value>\d+)(?P<unit>[smhd])\b")
MILLISECONDS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def needs(*programs: str) -> None:
    """Skip the test by name where one of `programs` is not installed."""
    for program in programs:
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed (Debian: prometheus, prometheus-alertmanager, chromium)")


def faster(text: str, factor: int) -> str:
    """Return the configuration or rules in `text` with every duration divided by `factor`."""

    def divided(match: re.Match[str]) -> str:
        milliseconds = int(match["value"]) * MILLISECONDS[match["unit"]] // factor
        return f"{match['before']}{milliseconds}ms"

    return DURATION.sub(divided, text)


@dataclass(frozen=True)
class Target:
    """A learner to scrape."""

    port: int
    group: str


class Stack:
    """Prometheus scraping `targets`, and Alertmanager, on loopback until it is closed."""

    def __init__(self, directory: Path, targets: Sequence[Target], *, factor: int) -> None:
        needs("prometheus", "prometheus-alertmanager")
        self.factor = factor
        self._processes: list[subprocess.Popen[bytes]] = []
        prometheus, alertmanager = free_port(), free_port()
        self.prometheus, self.alertmanager = f"http://127.0.0.1:{prometheus}", f"http://127.0.0.1:{alertmanager}"
        for name in ("recording.yaml", "alerts.yaml"):
            rules = (DEPLOY / "prometheus" / name).read_text()
            (directory / name).write_text(faster(rules, factor))
        config = yaml.safe_load(faster((DEPLOY / "prometheus" / "prometheus.yaml").read_text(), factor))
        config["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager}"]}]}]
        (job,) = config["scrape_configs"]
        job["static_configs"] = [
            {"targets": [f"127.0.0.1:{target.port}"], "labels": {"group": target.group}} for target in targets
        ]
        (directory / "prometheus.yaml").write_text(yaml.safe_dump(config))
        (directory / "alertmanager.yaml").write_text(
            faster((DEPLOY / "alertmanager" / "alertmanager.yaml").read_text(), factor)
        )
        self._start(
            "prometheus-alertmanager",
            f"--config.file={directory / 'alertmanager.yaml'}",
            f"--storage.path={directory / 'alertmanager'}",
            f"--web.listen-address=127.0.0.1:{alertmanager}",
            "--cluster.listen-address=",
            "--log.level=warn",
        )
        self._start(
            "prometheus",
            f"--config.file={directory / 'prometheus.yaml'}",
            f"--storage.tsdb.path={directory / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{prometheus}",
            f"--query.lookback-delta={300_000 // factor}ms",
            f"--rules.alert.resend-delay={60_000 // factor}ms",
            "--log.level=warn",
        )
        for url in (self.alertmanager, self.prometheus):
            wait_until(lambda url=url: answers(f"{url}/-/ready"), f"{url} is ready")  # type: ignore[misc]
        wait_until(lambda: len(self.query("up == 1")) == len(targets), "every target has been scraped")

    def _start(self, *command: str) -> None:
        self._processes.append(subprocess.Popen(command))

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the samples of an instant query, each with ``metric`` and ``value``."""
        answer = get(f"{self.prometheus}/api/v1/query?query={urllib.parse.quote(expression)}")
        samples: list[dict[str, Any]] = answer["data"]["result"]
        return samples

    def firing(self, group: str) -> set[str]:
        """Return the names of the alerts of `group` that have reached Alertmanager and are not over."""
        alerts = get(f"{self.alertmanager}/api/v2/alerts")
        return {alert["labels"]["alertname"] for alert in alerts if alert["labels"].get("group") == group}

    def wait_for(self, alert: str, group: str, seconds: float = 120.0) -> None:
        """Wait until `alert` of `group` has reached Alertmanager."""
        wait_until(lambda: alert in self.firing(group), f"{alert} fires; there are {self.firing(group)}", seconds)

    def wait_until_over(self, alert: str, group: str, seconds: float = 120.0) -> None:
        """Wait until `alert` of `group` is over."""
        wait_until(lambda: alert not in self.firing(group), f"{alert} is over", seconds)

    def close(self) -> None:
        """Stop both, by their own process ids."""
        for process in reversed(self._processes):
            process.terminate()
            process.wait(30)


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)
