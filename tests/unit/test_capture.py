from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import resource, sys
from streamlearn.capture import capture_checkpoint, capture_snapshot
from streamlearn.config import load
from streamlearn.learner.intake import MicroBatch
from streamlearn.learner import Learner
from tests.unit.builders import make_event, make_record

config = load(overrides=[f"updater.model={sys.argv[1]}", "updater.micro_batch=4"])
learner = Learner(config)
fresh = [make_event(number) for number in range(4)]
batch = MicroBatch(fresh=fresh, records=[make_record(b"")] * 4, positions={("t", 0): 4})
if sys.argv[2] == "learnt":
    learner.learn(batch)  # its first step makes torch import some more
opened = []
sys.addaudithook(lambda event, arguments: opened.append(arguments[0]) if event in ("open", "os.listdir") else None)
resource.setrlimit(resource.RLIMIT_NOFILE, (3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
assert capture_checkpoint(learner).state
if sys.argv[2] == "learnt":
    assert capture_snapshot(learner, config, after=0).export is not None
    learner.learn(batch)
    assert capture_snapshot(learner, config, after=0).export is not None
print(opened)
"""


@pytest.mark.parametrize("when", ["new", "learnt"])
def test_a_capture_opens_no_file_not_even_the_first_one(tiny_model: Path, when: str) -> None:
    command = [sys.executable, "-c", SCRIPT, str(tiny_model), when]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "[]\n", done.stderr
