from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from streamlearn.capture import capture
from streamlearn.learner import Learner
from streamlearn.learner.intake import MicroBatch
from streamlearn.local.tiny import WORDS
from streamlearn.pipeline import Pipeline
from streamlearn.publisher.publisher import Publisher
from streamlearn.records import Positions
from tests.unit.builders import learn, make_event, make_record
from tests.unit.conftest import MakeConfig

LABEL_OF = {"moon": "space", "goal": "hockey"}
POSITIONS: Positions = {("t", 0): 1}
SCRIPT = """
import resource, sys
from streamlearn.capture import capture_checkpoint, capture_snapshot
from streamlearn.config import load
from streamlearn.learner import Learner
from streamlearn.reports import MicroBatch
from tests.unit.builders import learn, make_event, make_record

config = load(overrides=[f"updater.model={sys.argv[1]}", "updater.micro_batch=4"])
learner = Learner(config)
fresh = [make_event(number) for number in range(4)]
batch = MicroBatch(fresh=fresh, records=[make_record(b"")] * 4, positions={("t", 0): 4})
if sys.argv[2] == "learnt":
    learn(learner, batch)  # its first step makes torch import some more
opened = []
sys.addaudithook(lambda event, arguments: opened.append(arguments[0]) if event in ("open", "os.listdir") else None)
resource.setrlimit(resource.RLIMIT_NOFILE, (3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
assert capture_checkpoint(learner).state
if sys.argv[2] == "learnt":
    assert capture_snapshot(learner, config, version=1).export is not None
    learn(learner, batch)
    assert capture_snapshot(learner, config, version=2).export is not None
print(opened)
"""


@pytest.mark.parametrize("when", ["new", "learnt"])
def test_a_capture_opens_no_file_not_even_the_first_one(tiny_model: Path, when: str) -> None:
    command = [sys.executable, "-c", SCRIPT, str(tiny_model), when]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "[]\n", done.stderr


@pytest.fixture
def learner(make_config: MakeConfig, micro_batches: list[MicroBatch]) -> Learner:
    learner = Learner(make_config())
    learn(learner, micro_batches[0])
    return learner


def test_the_copy_counts_the_version_as_which_it_is_published_and_the_learner_stays_as_it_is(
    learner: Learner, make_config: MakeConfig
) -> None:
    copy = capture(learner, make_config(), 7)
    assert (copy.version, copy.state["version"], learner.version) == (7, 7, 0)
    assert list(copy.state) == list(learner.state())
    learner.version = 7
    checkpoint = capture(learner, make_config(), None)
    assert (checkpoint.version, checkpoint.state["version"], checkpoint.export) == (7, 7, None)


def test_the_manifest_states_the_accuracy_of_both_predictors(make_config: MakeConfig) -> None:
    learner = Learner(make_config("updater.experts=[transformer, naive_bayes]", "updater.learning_rate=1e-6"))
    for number in range(12):  # of which the counting expert learns what the transformer is too slow for
        fresh = [make_event(number, text=f"{word} again", label=label) for word, label in LABEL_OF.items()]
        held_out = [make_event(number, text=f"{word} {WORDS[number]}", label=label) for word, label in LABEL_OF.items()]
        learn(learner, MicroBatch(fresh=fresh, records=[make_record(b"")] * 2, held_out=held_out, positions=POSITIONS))
    copy = capture(learner, make_config(), 1)
    metrics = copy.provenance["metrics"]
    assert copy.accuracy == metrics["holdout_accuracy"] == {"validation": 1.0, "test": 1.0}
    assert metrics["transformer_holdout_accuracy"].keys() == {"validation", "test"}
    assert min(metrics["transformer_holdout_accuracy"].values()) < 1.0


@pytest.fixture
def pipeline(make_config: MakeConfig, tmp_path: Path) -> Pipeline:
    """A pipeline of which nothing has been started."""
    return Pipeline(make_config(f"publisher.directory={tmp_path}"))


@pytest.fixture
def submitted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The versions of the captures that the publisher was handed, instead of writing them."""
    versions: list[int] = []
    monkeypatch.setattr(Publisher, "submit", lambda _, copy: versions.append(copy.version))
    return versions


def test_a_capture_that_fails_leaves_the_version_as_it_was_and_one_that_exists_counts_it(
    learner: Learner, pipeline: Pipeline, submitted: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as no_memory:
        no_memory.setattr(learner, "export", raise_memory_error)
        pipeline._keep(learner, 3)
    assert (learner.version, submitted) == (0, [])
    pipeline._keep(learner, 3)
    assert (learner.version, submitted) == (3, [3])


@pytest.mark.parametrize(
    ("counted", "published", "there", "expected"),
    [
        (3, 2, None, [3]),  # killed before it was written
        (3, 2, 1, [3]),  # written, but not pointed to
        (3, 2, 9, [4]),  # another step's, which readers may have
        (3, 3, None, []),
        (3, 5, None, []),
    ],
)
def test_a_version_that_is_published_again_keeps_its_number(
    learner: Learner,
    pipeline: Pipeline,
    submitted: list[int],
    monkeypatch: pytest.MonkeyPatch,
    counted: int,
    published: int,
    there: int | None,
    expected: list[int],
) -> None:
    learner.version, pipeline.publisher.version = counted, published
    monkeypatch.setattr(pipeline.publisher.snapshots, "step_of", lambda _: there)
    pipeline._takeover._republish(learner)
    assert submitted == expected
    assert learner.version == (expected or [counted])[0]


def raise_memory_error(_: object) -> None:
    raise MemoryError
