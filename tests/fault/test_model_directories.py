"""Many mutated model directories, and some through the command as a person types it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.test_model_mutations import looked_at, mutated

CHECKS = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@pytest.mark.timeout(600)
@settings(max_examples=400, suppress_health_check=CHECKS)
@given(data=st.data())
def test_hundreds_of_mutated_models_load_or_are_one_sentence(tiny_model: Path, data: st.DataObject) -> None:
    with mutated(tiny_model, data.draw) as model:
        looked_at(model)


@pytest.mark.timeout(600)
@settings(max_examples=6, suppress_health_check=CHECKS)
@given(data=st.data())
def test_a_learner_of_a_mutated_model_ends_as_check_says(tiny_model: Path, data: st.DataObject) -> None:
    with mutated(tiny_model, data.draw) as model:
        found = looked_at(model)
        command = [sys.executable, "-m", "streamlearn", "check", f"--set=updater.model={model}"]
        nowhere = ["kafka.bootstrap_servers=127.0.0.1:1", "kafka.connect_timeout_seconds=1", "updater.max_tokens=32"]
        nowhere.append(f"publisher.directory={model.parent / 'state'}")
        done = subprocess.run(
            [*command, *(f"--set={setting}" for setting in nowhere)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            stdin=subprocess.DEVNULL,
            env=os.environ | {"HF_HUB_OFFLINE": "1"},
        )
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stdout.splitlines() if " model: " in line]
    assert line.startswith("✗" if found.startswith("refused") else "✓")
