"""What of a language model trains: adapters and biases, how they are published, and what a checkpoint holds of them."""

from __future__ import annotations

import json
from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from streamlearn.config import load
from streamlearn.errors import ConfigurationError
from streamlearn.learner import Learner
from streamlearn.local.tiny import WORDS, save_tiny_language_model
from streamlearn.state import State
from streamlearn.storage.layout import ADAPTER, WEIGHTS
from tests.unit.conftest import MakeConfig
from tests.unit.language import event, settings, snapshot, take, take_steps

LORA = ["updater.trains=lora", "updater.lora_rank=3"]
IDS = torch.tensor([[1, 5, 9, 20, 13, 4]])


def weights_of(learner: Learner) -> State:
    state: State = learner.state()["updater"]["weights"]
    return state


def test_adapters_learn_and_a_checkpoint_holds_nothing_else_of_the_weights(make_language_config: MakeConfig) -> None:
    learner = Learner(make_language_config(*LORA, "events.holdout_ratio=0", "monitor.accuracy_window=4"))
    costs = []
    for step in range(40):
        take(learner, *(event(4 * step + n, f"{WORDS[n]} again refund please thanks") for n in range(4)))
        costs.append(learner.standing().bits_per_byte)
    assert costs[-1] < 0.9 * costs[0]  # the output layer, which was drawn, stays and sets a limit
    assert {name.rpartition(".")[2] for name in weights_of(learner)} == {"lora_A", "lora_B"}


def test_the_published_model_says_what_the_learner_says_to_the_bit_and_its_adapter_what_peft_makes_of_it(
    make_language_config: MakeConfig, language_model: Path, tmp_path: Path
) -> None:
    config = make_language_config(*LORA)
    learner = Learner(config)
    take_steps(learner, 0, 5)
    path = snapshot(learner, config, tmp_path / "snapshots")
    own = learner.updater.model.eval()(input_ids=IDS).logits
    merged = AutoModelForCausalLM.from_pretrained(path).eval()
    assert torch.equal(merged(input_ids=IDS).logits, own)
    assert not any("lora" in name for name, _ in merged.named_parameters())
    plain = AutoModelForCausalLM.from_pretrained(language_model).eval()
    adapted = peft.PeftModel.from_pretrained(plain, str(path / ADAPTER)).eval()
    torch.testing.assert_close(adapted(input_ids=IDS).logits, own, rtol=1e-4, atol=1e-5)
    with adapted.disable_adapter():
        assert not torch.allclose(adapted(input_ids=IDS).logits, own, atol=1e-3)
    assert json.loads((path / ADAPTER / "adapter_config.json").read_bytes())["task_type"] == "CAUSAL_LM"


def test_where_biases_train_nothing_else_moves_and_a_model_without_any_is_refused(tmp_path: Path) -> None:
    biased = save_tiny_language_model(tmp_path / "gpt2", kind="gpt2")
    learner = Learner(load(overrides=[*settings(biased), "updater.trains=bias"]))
    take_steps(learner, 0, 5)
    began, now = load_file(biased / WEIGHTS), learner.export(learner.state()).weights
    moved = {name for name, value in now.items() if not torch.equal(value, began[name])}
    assert moved == set(weights_of(learner))
    assert moved
    assert all(name.endswith("bias") for name in moved)
    without = save_tiny_language_model(tmp_path / "llama")
    with pytest.raises(ConfigurationError, match="but LlamaModel has no biases; set it to lora, head or all"):
        Learner(load(overrides=[*settings(without), "updater.trains=bias"]))


def test_the_output_layer_alone_trains_where_it_is_not_the_table_of_embeddings(tmp_path: Path) -> None:
    apart, shared = (save_tiny_language_model(tmp_path / kind, kind=kind) for kind in ("llama", "gpt2"))
    learner = Learner(load(overrides=[*settings(apart), "updater.trains=head"]))
    take_steps(learner, 0, 3)
    assert set(weights_of(learner)) == {"lm_head.weight"}
    with pytest.raises(ConfigurationError, match="its output layer is its table of embeddings; set it to all"):
        Learner(load(overrides=[*settings(shared), "updater.trains=head"]))


def test_what_trains_may_become_more_or_less_and_what_has_moved_is_kept(make_language_config: MakeConfig) -> None:
    first = Learner(make_language_config("updater.trains=last-1"))
    take_steps(first, 0, 3)
    for trains in ("all", "lora"):
        later = Learner(make_language_config(f"updater.trains={trains}"))
        later.load(first.state())
        said = (learner.updater.model.eval()(input_ids=IDS).logits for learner in (first, later))
        assert torch.equal(*said)
        take_steps(later, 3, 5)
        assert later.updater.steps == 5
