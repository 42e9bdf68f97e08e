"""The demo as a newcomer runs it, held to what it promises."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from streamlearn.publisher.snapshots import SnapshotStore


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def summary(output: Path) -> dict[str, Any]:
    """What ``streamlearn demo --json`` printed; run once for all tests of this file."""
    done = subprocess.run(
        [sys.executable, "-m", "streamlearn", "demo", "--json", "--output", str(output)],
        stdout=subprocess.PIPE,
        text=True,
        timeout=540,
        check=False,
    )
    assert done.returncode == 0  # it checks every dead letter against what was sent, byte for byte
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed


pytestmark = [pytest.mark.fault, pytest.mark.timeout(600)]  # minutes: MiniLM learns 4,400 texts


def test_every_record_is_accounted_for(summary: dict[str, Any]) -> None:
    outcomes = ("trained", "held_out", "dead_lettered", "duplicates")
    assert summary["sent"] == sum(summary[outcome] for outcome in outcomes)
    assert summary["dead_lettered"] > 20
    assert summary["duplicates"] > 5


def test_it_is_of_use_after_200_events_and_better_at_the_end_of_each_part_than_a_transformer_alone_was(
    summary: dict[str, Any],
) -> None:
    assert summary["accuracy_from_200_to_500"] > 0.85
    assert [part["name"] for part in summary["parts"]] == ["first", "second", "return"]
    for part, alone in zip(summary["parts"], (0.874, 0.900, 0.912), strict=True):
        assert part["accuracy_last_500"] > alone, part


def test_the_first_switch_is_the_only_alarm_and_comes_within_500_events(summary: dict[str, Any]) -> None:
    first, second, _ = (part["events"] for part in summary["parts"])
    assert summary["drifts"]
    assert all(first <= number < first + second for number in summary["drifts"])
    assert summary["drifts"][0] < first + 500


def test_the_snapshots_are_whole_and_the_picture_is_there(summary: dict[str, Any], output: Path) -> None:
    store = SnapshotStore(output / "state" / "snapshots")
    assert [str(store.path(version)) for version in store.versions()] == summary["snapshots"]
    for version in store.versions():
        store.verify(version)
    assert (output / "demo.png").read_bytes().startswith(b"\x89PNG")
