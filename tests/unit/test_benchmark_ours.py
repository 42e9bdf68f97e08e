"""streamlearn in the learning benchmark: the learner that production runs, fed from a stream."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from benchmarks.ablation import Kept
from benchmarks.ours import NAMES, Stepper, configuration, noted, settings
from benchmarks.streams import Stream
from streamlearn.config import load
from streamlearn.local.tiny import WORDS, save_tiny_model

EVENTS = 60


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def stream() -> Stream:
    draw = random.Random(0)
    topics = {"a": WORDS[:8], "b": WORDS[8:16], "c": WORDS[16:24]}
    labels = draw.choices("ab", k=EVENTS // 2) + draw.choices("abc", k=EVENTS // 2)
    texts = [f"{' '.join(draw.choices(topics[label], k=4))} {draw.choice(WORDS)}" for label in labels]
    return Stream("s", texts, labels, ["A", "B"], [EVENTS // 2, EVENTS])


@pytest.mark.parametrize("name", NAMES)
def test_every_event_is_predicted_before_it_is_learnt_whatever_it_is_fed_at_a_time(
    name: str, model: Path, stream: Stream
) -> None:
    config = configuration(name, 0, [f"updater.model={json.dumps(str(model))}"])
    whole, bit_by_bit = Stepper(config, stream), Stepper(config, stream)
    whole.run(0, EVENTS)
    for first in range(0, EVENTS, 20):
        bit_by_bit.run(first, min(EVENTS, first + 20))
    assert np.isfinite(whole.losses).all()
    assert not whole.correct[0]  # no label had been met
    np.testing.assert_array_equal(whole.correct, bit_by_bit.correct)
    np.testing.assert_array_equal(whole.losses, bit_by_bit.losses)


def test_the_experts_that_were_noted_mix_to_what_the_learner_said(model: Path, stream: Stream, tmp_path: Path) -> None:
    stepper = Stepper(configuration("tuned", 0, [f"updater.model={json.dumps(str(model))}"]), stream)
    with noted() as notes:
        stepper.run(0, EVENTS)
    np.savez(tmp_path / "kept.npz", **notes.arrays(stepper.learner.updater.experts))
    kept = Kept(tmp_path / "kept.npz")
    correct, losses = kept.mixed(kept.names)
    np.testing.assert_array_equal(correct, stepper.correct)
    np.testing.assert_allclose(losses, stepper.losses, rtol=1e-5)  # what they said is kept in single precision
    assert not np.array_equal(kept.mixed(["long_memory"])[0], stepper.correct)


def test_the_settings_that_name_a_run_hold_no_path_of_this_machine(model: Path) -> None:
    config = configuration("tokens", 3, [f"updater.model={json.dumps(str(model))}", "updater.micro_batch=8"])
    assert str(model) not in json.dumps(settings(config))
    assert settings(config)["updater"]["micro_batch"] == 8


def test_a_run_is_named_by_what_decides_its_weights_and_not_by_what_is_published_of_them(model: Path) -> None:
    chosen = ["updater.objective=language_model", f"updater.model={json.dumps(str(model))}"]
    plain, annealed = (load(overrides=[*chosen, f"updater.annealing_steps={steps}"]) for steps in (0, 10))
    assert settings(plain) == settings(annealed)
    assert settings(plain) != settings(load(overrides=[*chosen, "updater.replay_ratio=0.5"]))
