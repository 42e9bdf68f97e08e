"""A learner on a broker that goes on from what another one has published."""

from __future__ import annotations

from pathlib import Path

from streamlearn.config import Config, load
from streamlearn.learner import Learner
from streamlearn.local.tiny import WORDS
from streamlearn.publisher.snapshots import SnapshotStore
from tests.integration.learner import event, learners, send
from tests.unit.builders import make_event
from tests.unit.test_warm_start import configured, published, taught

SENT = 60


def text(number: int) -> str:
    """Return words that tell the label."""
    return " ".join(WORDS[(3 * number * step + number % 3) % (len(WORDS) // 3 * 3)] for step in (1, 2, 5))


def test_it_knows_the_labels_from_the_first_event_on_and_says_what_it_began_with(
    config: Config, overrides: list[str], tiny_model: Path, tmp_path: Path
) -> None:
    history = configured(tiny_model)
    before = taught(history, range(80), lambda n: make_event(n, text=text(n)))
    path = published(before, history, tmp_path / "history")
    send(config, [event(number, text=text(number)) for number in range(SENT)])
    with learners([*overrides, f"updater.model={path}", "events.holdout_ratio=0"]) as start:
        learner = start()
        learner.wait_for("streamlearn_events_total", SENT, outcome="trained")
        learner.wait_until_learning()
        assert learner.terminate() == 0
        assert f"starting with {path} and its mixture as of step {before.step}" in learner.stderr()
        again = start()
        again.wait_until_learning()
        assert again.terminate() == 0
        assert "continuing at step" in again.stderr()
    store = SnapshotStore(config.publisher.directory / "snapshots")
    manifest = store.manifest(store.resolve("latest"))
    assert manifest["warm_from"] == before.step
    assert manifest["model"] == str(path)
    assert manifest["metrics"]["prequential_accuracy"] > 0.8
    went_on = Learner(load(overrides=[f"updater.model={store.path(store.resolve('latest'))}"]))
    assert went_on.updater.warm_from == manifest["step"]
