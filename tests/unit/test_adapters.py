"""Low-rank adapters: what trains of them, how they are merged, and that peft reads what is published of them."""

from __future__ import annotations

import json
from pathlib import Path

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file

from streamlearn.errors import ConfigurationError, StateError
from streamlearn.publisher.snapshots import SnapshotStore
from streamlearn.storage.layout import ADAPTER, WEIGHTS
from streamlearn.updater import Updater, published
from streamlearn.updater.experts.transformer.batches import inputs
from tests import zoo
from tests.unit.builders import flat, make_event
from tests.unit.conftest import MakeConfig

LORA = ["updater.trains=lora", "updater.lora_rank=3", "events.labels=[label-0, label-1, label-2]"]
QUERY = "bert.encoder.layer.0.attention.self.query"


def learnt(updater: Updater, steps: int = 4) -> Updater:
    for step in range(steps):
        assert updater.step(updater.encode([make_event(n) for n in range(8 * step, 8 * step + 8)])).applied
    return updater


def said(updater: Updater) -> torch.Tensor:
    return updater.log_probabilities(updater.encode([make_event(n) for n in range(50, 60)]))


def test_at_first_they_change_nothing_to_the_last_bit(make_config: MakeConfig) -> None:
    adapted, head = Updater(make_config(*LORA)), Updater(make_config(*LORA, "updater.trains=head"))
    assert torch.equal(said(adapted), said(head))


def test_only_the_factors_and_the_head_move_and_a_state_holds_nothing_else(
    make_config: MakeConfig, tiny_model: Path
) -> None:
    updater = learnt(Updater(make_config(*LORA, "updater.pooling=mean")))
    weights = updater.state()["transformer"]["weights"]
    assert all(name.rpartition(".")[2].startswith("lora_") or "body" not in name for name in weights)
    assert weights["body.encoder.layer.0.attention.self.query.lora_A"].shape == (3, 32)
    began = load_file(tiny_model / WEIGHTS)
    for name, value in updater.transformer.weights().items():
        if name.startswith("body."):
            moved = not torch.equal(value, began[name.replace("body.", "bert.")])
            assert moved == (name.endswith("weight") and "LayerNorm" not in name and "embeddings" not in name), name


def test_what_computes_is_the_weight_and_twice_the_product_of_the_factors(
    make_config: MakeConfig, tiny_model: Path
) -> None:
    updater = learnt(Updater(make_config(*LORA)))
    weights = updater.state()["transformer"]["weights"]
    began = load_file(tiny_model / WEIGHTS)[f"{QUERY}.weight"]
    expected = began + 2.0 * weights[f"{QUERY}.lora_B"] @ weights[f"{QUERY}.lora_A"]
    torch.testing.assert_close(updater.transformer.weights()[f"{QUERY}.weight"], expected)


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_peft_makes_of_the_published_adapter_what_the_merged_model_computes(kind: str, tmp_path: Path) -> None:
    from tests.unit.test_architectures import updater as of_a_family  # noqa: PLC0415

    directory = zoo.save(kind, tmp_path / kind)
    learner = learnt(of_a_family(directory, *LORA))
    path = SnapshotStore(tmp_path / "snapshots").write(1, 1, published.export(learner, learner.state()), {})
    events = learner.encode([make_event(n) for n in range(6)])
    tokens = [event.tokens for event in events if event.tokens is not None]
    plain = transformers.AutoModel.from_pretrained(directory).eval()
    (merged,) = (learner.transformer.model.base_model,)
    adapted = peft.PeftModel.from_pretrained(plain, str(path / ADAPTER)).eval()
    for part in learner.transformer.forward.parts(tokens):
        given = inputs(part, learner.backbone.layout)
        with torch.no_grad():
            expected, found = merged(**given).last_hidden_state, adapted(**given).last_hidden_state
            before = adapted.get_base_model()
            with adapted.disable_adapter():
                unadapted = before(**given).last_hidden_state
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(unadapted, expected, atol=1e-3)
    settings = json.loads((path / ADAPTER / "adapter_config.json").read_bytes())
    assert (settings["r"], settings["base_model_name_or_path"]) == (3, str(directory))
    assert SnapshotStore(tmp_path / "snapshots").verify(1)["files"].keys() >= {f"{ADAPTER}/adapter_config.json"}


def test_plain_transformers_loads_what_is_merged_and_says_what_the_learner_says(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    learner = learnt(Updater(make_config(*LORA)))
    path = SnapshotStore(tmp_path).write(1, 1, published.export(learner, learner.state()), {})
    model = transformers.AutoModelForSequenceClassification.from_pretrained(path).eval()
    assert not any("lora" in name for name, _ in model.named_parameters())
    (text,) = learner.encode([make_event(50)])
    with torch.no_grad():
        logits = model(input_ids=torch.tensor(text.tokens)[None]).logits  # type: ignore[arg-type]
    torch.testing.assert_close(logits.log_softmax(-1), said(learner)[:1])


@pytest.mark.parametrize("targets", ["[query, value]", "[encoder.layer.1.output.dense]"])
def test_only_the_layers_that_are_named_are_adapted(make_config: MakeConfig, targets: str) -> None:
    updater = Updater(make_config(*LORA, f"updater.lora_targets={targets}"))
    factors = [name for name in updater.state()["transformer"]["weights"] if name.endswith("lora_A")]
    assert len(factors) == (4 if "query" in targets else 1)
    assert learnt(updater).steps == 4


def test_a_layer_that_is_not_there_is_one_sentence(make_config: MakeConfig) -> None:
    with pytest.raises(ConfigurationError, match=r"no linear layer is called 'q_proj' \(there are: dense, key"):
        Updater(make_config(*LORA, "updater.lora_targets=[q_proj]"))


def test_a_state_with_other_adapters_is_refused_and_one_without_is_gone_on_from(make_config: MakeConfig) -> None:
    adapted = learnt(Updater(make_config(*LORA)))
    for other in (["updater.trains=all"], ["updater.lora_rank=4"]):
        with pytest.raises(StateError, match="the checkpoint does not fit the configured model"):
            Updater(make_config(*LORA, *other)).load(adapted.state())
    tuned, later = learnt(Updater(make_config(*LORA, "updater.trains=all"))), Updater(make_config(*LORA))
    later.load(tuned.state())
    assert torch.equal(said(later), said(tuned))
    assert learnt(later).steps == 8


def test_an_adapted_transformer_that_begins_again_is_as_new(make_config: MakeConfig) -> None:
    new, old = (Updater(make_config(*LORA, "updater.experts=[transformer, naive_bayes]")) for _ in range(2))
    learnt(old).transformer.restart()
    mine, theirs = (updater.transformer.weights() for updater in (old, new))
    assert all(torch.equal(value, theirs[name]) for name, value in mine.items())


def test_with_every_expert_it_goes_on_with_the_same_bits(make_config: MakeConfig) -> None:
    config = make_config("updater.trains=lora", "updater.experts=tuned", "updater.pooling=mean", "updater.dropout=0.1")
    unbroken, restored = learnt(Updater(config)), Updater(config)
    restored.load(unbroken.state())
    assert flat(learnt(restored).state()) == flat(learnt(unbroken).state())
