from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers

from streamlearn.checkpointing.fence import Fence
from streamlearn.checkpointing.keeper import Keeper
from streamlearn.config import Publisher as PublisherConfig
from streamlearn.control import Kept
from streamlearn.decisions import Step
from streamlearn.errors import StateError, UnforeseenError
from streamlearn.publisher.gate import rejection
from streamlearn.publisher.progress import Accuracy
from streamlearn.publisher.publisher import Capture, Publisher
from streamlearn.publisher.snapshots import SnapshotStore
from streamlearn.publisher.triggers import Triggers
from streamlearn.records import Positions
from streamlearn.state import Export, State
from streamlearn.storage.states import pack, unpack
from streamlearn.updater import Updater, published
from tests.unit.builders import flat, make_event
from tests.unit.conftest import MakeConfig

POSITIONS: Positions = {("t", 0): 5}
MIXTURE: State = {"labels": ["ham", 3], "pool": {"weights": torch.tensor([0.5, 0.25]), "steps": 4}}


@pytest.fixture
def updater(make_config: MakeConfig) -> Updater:
    updater = Updater(make_config("events.labels=[ham, spam]"))
    updater.step(updater.encode([make_event(n, label="spam") for n in range(4)]))
    return updater


@pytest.fixture
def export(updater: Updater) -> Export:
    return published.export(updater, updater.state())


def test_anybody_loads_a_snapshot_with_the_learners_own_figures(
    updater: Updater, export: Export, tmp_path: Path
) -> None:
    path = SnapshotStore(tmp_path).write(1, 4, export, {})
    texts = ["late refund please", "moon"]
    encoded = transformers.AutoTokenizer.from_pretrained(path)(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = transformers.AutoModelForSequenceClassification.from_pretrained(path)(**encoded).logits
    own = updater.log_probabilities(updater.encode([make_event(0, text=text) for text in texts]))
    torch.testing.assert_close(logits.log_softmax(-1), own, rtol=1e-5, atol=1e-6)
    labels = {found["label"] for found in transformers.pipeline("text-classification", model=str(path))(texts)}
    assert labels <= {"ham", "spam"}


def test_a_snapshot_holds_the_mixture_and_says_so(export: Export, tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path)
    alone, path = store.write(1, 1, replace(export, mixture={}, settings={}), {}), store.path(2)
    assert (store.manifest(1)["predictor"], (alone / "experts.safetensors").exists()) == ("transformer", False)
    store.write(2, 2, replace(export, mixture=MIXTURE, settings={"experts": ["pool"]}), {})
    found = store.manifest(2)
    assert (found["predictor"], found["settings"]) == ("mixture", {"experts": ["pool"]})
    assert flat(unpack(path / "experts.safetensors")) == flat(MIXTURE)
    (path / "experts.safetensors").write_bytes(pack(MIXTURE | {"labels": ["x"]}))
    with pytest.raises(StateError, match=r"experts\.safetensors is not what was written"):
        store.verify(2)


def test_versions_point_to_their_parents_and_the_oldest_retire(export: Export, tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path, keep=2)
    for version in (1, 2, 3):
        store.write(version, version, export, {})
    assert (store.versions(), store.latest()) == ([2, 3], 3)
    assert [store.manifest(version)["parent"] for version in (2, 3)] == [1, 2]
    assert [store.resolve(name) for name in ("latest", "2", "v00000003")] == [3, 2, 3]
    with pytest.raises(StateError, match=r"no snapshot '1' \(there: 2, 3\)"):
        store.resolve("1")


def test_a_snapshot_whose_writer_was_killed_before_latest_moved_is_used_if_it_is_the_same(
    export: Export, tmp_path: Path
) -> None:
    store = SnapshotStore(tmp_path)
    written = store.write(1, 7, export, {"config_digest": "by the killed one"})
    (tmp_path / "latest").unlink()
    store.write(1, 7, export, {"config_digest": "again"})
    assert (store.latest(), store.verify(1)["config_digest"]) == (1, "by the killed one")
    (tmp_path / "latest").unlink()
    store.write(1, 8, export, {"config_digest": "of another step"})
    assert store.verify(1)["config_digest"] == "of another step"
    (tmp_path / "latest").unlink()
    (written / "config.json").write_text("{}")
    store.write(1, 8, export, {"config_digest": "whole"})
    assert store.verify(1)["config_digest"] == "whole"


def test_a_changed_snapshot_is_refused_by_name(export: Export, tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path)
    (store.write(1, 1, export, {}) / "config.json").write_text("{}")
    with pytest.raises(StateError, match=r"config\.json is not what was written"):
        store.verify(1)


@pytest.mark.parametrize(
    ("weight", "accuracy", "expected"),
    [
        (0.0, None, None),
        (0.0, 0.8, None),
        (0.0, 0.6, "validation accuracy 0.600 is below 0.700"),
        (float("nan"), 0.8, "w holds a value that is not finite"),
    ],
)
def test_the_gate_names_its_reason(weight: float, accuracy: float | None, expected: str | None) -> None:
    weights = {"w": torch.tensor([1.0, weight])}
    assert rejection(weights, accuracy, min_validation_accuracy=0.7) == expected


def test_the_gate_rejects_a_candidate_that_predicts_nothing_and_forgives_a_few_texts() -> None:
    def reason(unpredictable: float) -> str | None:
        return rejection({}, 0.5, min_validation_accuracy=0.0, unpredictable=unpredictable)

    assert reason(0.5) is None
    assert reason(0.75) == "its probabilities for 75% of the validation hold-out are not finite"


def test_triggers_fire_by_steps_or_by_seconds_but_never_without_a_step() -> None:
    now = 0.0
    triggers = Triggers(10, 60.0, clock=lambda: now)
    assert [triggers.due(step, done=0) for step in (9, 10)] == [False, True]
    triggers.tried(10)
    now = 61.0
    assert [triggers.due(step, done=10) for step in (10, 11)] == [False, True]


def test_what_was_tried_and_not_done_is_due_again_though_no_step_was_made() -> None:
    now = 0.0
    triggers = Triggers(10, 60.0, clock=lambda: now)
    triggers.tried(10)
    assert [triggers.due(step, done=0) for step in (10, 19, 20)] == [False, False, True]
    now = 61.0
    assert triggers.due(10, done=0)
    assert not triggers.due(10, done=10)


class Told:
    """What a publisher told, in its order."""

    def __init__(self) -> None:
        self.events: list[object] = []
        self.kept: list[Kept] = []

    def settle(self) -> bool:
        self.events.append("settle")
        return True

    def commit(self, positions: Positions) -> bool:
        self.events.append(("commit", positions))
        return True

    def checkpointed(self, outcome: str, seconds: float, why: str = "") -> None:
        del seconds
        self.events.append(("checkpoint", outcome))
        assert bool(why) == (outcome == "failed")

    def published(self, outcome: str, version: int, seconds: float, accuracy: Accuracy) -> None:
        del seconds, accuracy
        self.events.append(("snapshot", outcome, version))

    def settled(self, kept: Kept) -> None:
        self.kept.append(kept)


def publish(
    directory: Path, told: Told, capture: Capture, then: Callable[[Path], object] = lambda _: None
) -> tuple[Keeper, Publisher]:
    """Return what has claimed `directory`, and a publisher that has waited for `then` and written `capture`."""
    config = PublisherConfig(directory=directory)
    keeper = Keeper(config, configuration={}, source="group g")
    publisher = Publisher(
        config,
        keeper=keeper,
        change=keeper.fence.change,
        settle=told.settle,
        commit=told.commit,
        progress=told,
    )
    publisher.start()
    keeper.claim()
    publisher.begin(0)
    then(directory)
    publisher.submit(capture)
    publisher.drain()
    publisher.stop()
    keeper.close()
    return keeper, publisher


def test_what_a_step_records_of_publications_begins_anew_with_each_term(export: Export, tmp_path: Path) -> None:
    _, publisher = publish(tmp_path, Told(), capture(export))
    assert publisher.version == 1
    assert publisher.offers.next_step(3, [], heeded=True) == Step(4, offered=True)
    publisher.begin(7)  # another term, of a learner that another process has brought further
    assert publisher.offers.next_step(7, [], heeded=True) == Step(8)
    publisher.begin(3)  # a start with what was published at the stop
    assert publisher.offers.next_step(3, [], heeded=True) == Step(4, offered=True)
    assert publisher.offers.next_step(4, [], heeded=True) == Step(5, published=True)


def capture(export: Export | None = None) -> Capture:
    return Capture(3, {"step": 3}, POSITIONS, 1, export, {"validation": 0.5})


def test_dead_letters_settle_then_the_checkpoint_then_the_commit_then_the_snapshot(
    export: Export, tmp_path: Path
) -> None:
    told = Told()
    keeper, publisher = publish(tmp_path, told, capture(export))
    expected = ["settle", ("checkpoint", "written"), ("commit", POSITIONS), ("snapshot", "published", 1)]
    assert told.events == expected
    assert told.kept == [Kept(3, version=1)]
    assert publisher.snapshots.latest() == 1
    assert not keeper.unwritten(3)
    assert not publisher.unpublished(3)


def test_a_tokenizer_that_the_disk_refuses_costs_the_snapshot_alone(
    export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> None:
        raise Exception("No space left on device (os error 28)")  # noqa: TRY002 - as the tokenizers package does

    monkeypatch.setattr(export.tokenizer, "save_pretrained", refuse)
    told = Told()
    _, publisher = publish(tmp_path, told, capture(export))
    assert told.events[1:] == [("checkpoint", "written"), ("commit", POSITIONS), ("snapshot", "failed", 1)]
    assert publisher.snapshots.versions() == []


def test_without_settled_dead_letters_nothing_is_written_or_committed(export: Export, tmp_path: Path) -> None:
    class Unsettled(Told):
        def settle(self) -> bool:
            return False

    told = Unsettled()
    keeper, publisher = publish(tmp_path, told, capture(export))
    assert told.events == [("checkpoint", "failed"), ("snapshot", "failed", 1)]
    why = "dead letters are not acknowledged yet"
    assert told.kept == [Kept(3, why, 1, why)]
    assert (keeper.checkpoints.names(), publisher.snapshots.versions()) == ([], [])


def test_a_disk_that_refuses_costs_the_checkpoint_and_the_commit(export: Export, tmp_path: Path) -> None:
    told = Told()
    (tmp_path / "checkpoints").touch()
    keeper, publisher = publish(tmp_path, told, capture(export))
    assert told.events == ["settle", ("checkpoint", "failed"), ("snapshot", "failed", 1)]
    assert keeper.unwritten(3)
    assert publisher.unpublished(3)


def test_weights_that_are_not_finite_are_no_checkpoint_and_no_snapshot(export: Export, tmp_path: Path) -> None:
    told = Told()
    state = {"weights": {"bias": torch.tensor([1.0, float("nan")])}}
    keeper, publisher = publish(tmp_path, told, Capture(3, state, POSITIONS, 1, export))
    assert told.events == ["settle", ("checkpoint", "failed"), ("snapshot", "rejected", 1)]
    assert (keeper.checkpoints.names(), publisher.snapshots.versions()) == ([], [])
    assert not list(tmp_path.rglob(".tmp-*"))


def test_once_another_learner_has_claimed_the_directory_nothing_is_kept_committed_or_published(
    export: Export, tmp_path: Path
) -> None:
    told = Told()
    keeper, publisher = publish(tmp_path, told, capture(export), lambda here: Fence(here, source="group g").claim(0))
    assert told.events == ["settle"]
    (kept,) = told.kept
    assert "another learner" in kept.checkpoint
    assert kept.snapshot == kept.checkpoint
    assert (keeper.checkpoints.names(), publisher.snapshots.versions()) == ([], [])
    assert not list(tmp_path.rglob(".tmp-*"))


def test_a_group_that_refuses_the_offsets_keeps_the_candidate_from_being_published(
    export: Export, tmp_path: Path
) -> None:
    class Refused(Told):
        def commit(self, positions: Positions) -> bool:
            super().commit(positions)
            return False

    told = Refused()
    keeper, publisher = publish(tmp_path, told, capture(export))
    assert told.events[2:] == [("commit", POSITIONS), ("snapshot", "failed", 1)]
    assert told.kept == [Kept(3, version=1, snapshot="lost membership of the group")]
    assert (keeper.checkpoints.oldest(), publisher.snapshots.versions()) == (3, [])


def test_a_rejected_candidate_is_counted_and_latest_stays(export: Export, tmp_path: Path) -> None:
    told = Told()
    export.weights["classifier.bias"][0] = float("inf")
    _, publisher = publish(tmp_path, told, capture(export))
    assert told.events[-1] == ("snapshot", "rejected", 1)
    (kept,) = told.kept
    assert (kept.checkpoint, kept.version) == ("", 1)
    assert kept.snapshot.startswith("the gate rejects it, since classifier.bias")
    assert publisher.snapshots.latest() is None


def test_a_mixture_that_is_not_finite_is_rejected_by_the_name_of_its_tensor(
    export: Export, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told, bad = Told(), {"pool": {"weights": torch.tensor([0.5, float("nan")])}}
    _, publisher = publish(tmp_path, told, capture(replace(export, mixture=bad)))
    assert told.events[-1] == ("snapshot", "rejected", 1)
    assert "pool/weights holds a value that is not finite" in caplog.text
    assert publisher.snapshots.latest() is None


def test_what_is_not_foreseen_ends_the_learner_and_not_only_the_thread(tmp_path: Path) -> None:
    with pytest.raises(UnforeseenError, match="the thread 'publisher' ended with TypeError"):
        publish(tmp_path, Told(), Capture(3, {"step": object()}, POSITIONS, 1))
