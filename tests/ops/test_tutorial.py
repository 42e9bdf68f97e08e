"""The tutorial, as its reader follows it: each command, from an own topic to a drift alert."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from streamlearn.local.broker import Broker, free_port
from streamlearn.local.data import minilm
from tests.ops.stack import needs
from tests.tutorial import Reader

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(400)
def test_the_tutorial_leads_from_an_own_topic_to_a_drift_alert_by_its_commands_alone(
    broker: Broker, tmp_path: Path
) -> None:
    needs("prometheus", "promtool", "curl")
    page = (ROOT / "docs/tutorial.md").read_text()
    for stated, here in (
        ("localhost:9092", broker.bootstrap_servers),
        ("127.0.0.1:9108", f"127.0.0.1:{(port := free_port())}"),
        ("127.0.0.1:9090", f"127.0.0.1:{free_port()}"),
    ):
        page = page.replace(stated, here)
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "STREAMLEARN_UPDATER__MODEL": str(minilm()),
        "STREAMLEARN_MONITOR__PORT": str(port),
    }
    reader = Reader(tmp_path, environment)
    try:
        reader.follow(page)
    finally:
        reader.close()
    assert "the mean of the loss has risen, detected at tickets/0/" in reader.output()
