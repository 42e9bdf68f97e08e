from __future__ import annotations

import json

import pytest

from streamlearn.commands.retracing import recorded
from streamlearn.config import Config, digest, load
from streamlearn.errors import StateError


def as_recorded(config: Config) -> dict[str, object]:
    """Return what the journal keeps of `config`, read from its line."""
    settings: dict[str, object] = json.loads(json.dumps(config.decisive()))
    return settings


def test_what_decides_the_state_is_taken_from_the_record_and_the_rest_from_what_is_given() -> None:
    before = load(
        overrides=[
            "updater.learning_rate=0.5",
            "updater.model_overrides={layers: 3}",
            "events.labels=[a, b]",
            "monitor.drift.delta=0.1",
            "monitor.accuracy_window=7",
            "monitor.port=1",
            "kafka.topic=before",
        ]
    )
    secret = "updater.model_overrides={heads: 2, token: hidden}"  # which is recorded nowhere
    now = load(overrides=[secret, "monitor.port=2", "kafka.topic=now"])
    found = recorded(now, as_recorded(before))
    assert found.decisive() == before.decisive()
    assert found.digest() == before.digest() == digest(as_recorded(before))
    assert (found.monitor.port, found.kafka.topic) == (2, "now")
    assert found.updater.model_overrides == {"layers": 3, "token": "hidden"}


def test_the_detectors_settings_are_part_of_what_decides() -> None:
    assert load(overrides=["monitor.drift.delta=0.1"]).digest() != load().digest() == load().digest()
    assert load(overrides=["monitor.port=1"]).digest() == load().digest()


def test_a_record_of_an_earlier_version_that_names_less_leaves_the_rest_as_it_is_given() -> None:
    now = load(overrides=["monitor.drift.delta=0.1"])
    earlier = as_recorded(load(overrides=["updater.seed=3"]))
    del earlier["monitor"]
    found = recorded(now, earlier)
    assert (found.updater.seed, found.monitor.drift.delta) == (3, 0.1)


def test_a_recorded_value_that_this_version_cannot_use_is_one_sentence() -> None:
    settings = as_recorded(load())
    settings["updater"] = {"learning_rate": -1}
    with pytest.raises(StateError, match=r"a value of updater\.learning_rate that this version cannot use"):
        recorded(load(), settings)
