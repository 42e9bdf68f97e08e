"""What of a model is in a checkpoint, and what comes from the model again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from streamlearn.errors import StateError
from streamlearn.updater import Updater, published
from tests.unit.builders import make_event
from tests.unit.conftest import MakeConfig

HEAD = {"classifier.weight", "classifier.bias"}
TABLE = "bert.embeddings.word_embeddings.weight"
FIRST = "bert.encoder.layer.0.output.dense.weight"


def one_step(updater: Updater) -> None:
    assert updater.step(updater.encode([make_event(n) for n in range(8)])).applied


def test_a_state_holds_what_trains_and_names_the_rest_by_its_digest(make_config: MakeConfig) -> None:
    updater = Updater(make_config("updater.trains=head"))
    state = updater.state()["transformer"]
    parameters = dict(updater.transformer.model.named_parameters())
    assert {name for name in state["weights"] if "pooler" not in name} == HEAD
    assert state["frozen"].keys() == parameters.keys() - state["weights"].keys()
    assert updater.transformer.weights().keys() == parameters.keys()


def test_a_state_is_refused_where_a_weight_that_does_not_train_is_another_one(
    make_config: MakeConfig, tiny_model: Path, tmp_path: Path
) -> None:
    trains = "updater.embeddings=frozen"  # with which no layer is passed by, so that no other digest tells
    before = Updater(make_config(trains))
    one_step(before)
    directory = shutil.copytree(tiny_model, tmp_path / "other")
    weights = load_file(directory / "model.safetensors")
    weights[TABLE][3, 3] += 1e-3
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    other = Updater(make_config(trains, f"updater.model={directory}"))
    with pytest.raises(StateError, match=rf"not those that the checkpoint was made with \({TABLE} differs\)"):
        other.load(before.state() | {"model": str(directory)})


def test_what_trains_no_more_is_held_on_in_each_state_to_come(make_config: MakeConfig) -> None:
    learner = Updater(make_config("updater.trains=all"))
    one_step(learner)
    for trains in ("last-1", "head", "last-1"):
        later = Updater(make_config(f"updater.trains={trains}"))
        later.load(learner.state())
        assert torch.equal(later.transformer.weights()[FIRST], learner.transformer.weights()[FIRST])
        assert FIRST in later.state()["transformer"]["weights"]
        learner = later


def test_a_state_that_holds_all_weights_as_those_of_before_is_loaded_and_holds_less_from_then_on(
    make_config: MakeConfig,
) -> None:
    config = make_config("updater.trains=last-1")
    before, after = Updater(config), Updater(config)
    one_step(before)
    state = before.state()
    state["transformer"]["weights"] = {n: v.clone() for n, v in before.transformer.weights().items()}
    del state["transformer"]["frozen"]
    after.load(state)
    for updater in (before, after):
        one_step(updater)
    ours, theirs = after.state()["transformer"], before.state()["transformer"]
    assert ours["frozen"] == theirs["frozen"]
    assert ours["weights"].keys() == theirs["weights"].keys()
    assert all(torch.equal(value, theirs["weights"][name]) for name, value in ours["weights"].items())


def test_what_is_published_of_a_state_does_not_move_with_the_learner(make_config: MakeConfig) -> None:
    learner = Updater(make_config("updater.trains=last-1"))
    export = published.export(learner, learner.state())
    before = {name: value.clone() for name, value in export.weights.items()}
    one_step(learner)
    assert all(torch.equal(value, before[name]) for name, value in export.weights.items())
    assert not torch.equal(learner.transformer.weights()["classifier.weight"], before["classifier.weight"])
