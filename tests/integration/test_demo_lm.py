"""The language demo, with fewer texts: what it prints, keeps and learns; the model is the real one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streamlearn.local.demo_lm import run_language_demo
from streamlearn.publisher.snapshots import SnapshotStore

pytestmark = [pytest.mark.fault, pytest.mark.timeout(900)]  # minutes: 50 million weights learn


def test_every_text_is_accounted_for_and_a_byte_costs_less_at_the_end_of_the_first_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_language_demo(output=tmp_path, as_json=True, keep=False, sizes=(60, 20, 20))
    summary = json.loads(capsys.readouterr().out)
    outcomes = ("trained", "held_out", "dead_lettered", "duplicates")
    assert summary["sent"] == sum(summary[outcome] for outcome in outcomes) == 100
    assert [part["name"] for part in summary["parts"]] == ["first", "second", "return"]
    first = summary["parts"][0]
    assert first["bits_per_byte_last_fifth"] < 0.75 * first["bits_per_byte_first_fifth"]
    assert all(sample["before"] != sample["after"] for sample in summary["samples"])
    store = SnapshotStore(tmp_path / "state" / "snapshots")
    assert [str(store.path(version)) for version in store.versions()] == summary["snapshots"] != []
    assert (tmp_path / "demo-lm.png").read_bytes().startswith(b"\x89PNG")
