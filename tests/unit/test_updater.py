from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
import transformers
from torch import Tensor

from streamlearn.errors import ConfigurationError, StateError
from streamlearn.updater import Updater, published
from streamlearn.updater.experts.transformer import batches as batches_module
from tests.unit.builders import flat, make_event
from tests.unit.conftest import MakeConfig

Weights = dict[str, Tensor]
CLOSED = "events.labels=[label-0, label-1, label-2]"


def weights(updater: Updater) -> Weights:
    whole: Weights = updater.transformer.weights()
    return whole


def same(one: Weights, other: Weights) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def one_step(updater: Updater, count: int = 8, first: int = 0) -> None:
    assert updater.step(updater.encode([make_event(n) for n in range(first, first + count)])).applied


def test_the_parts_of_a_micro_batch_give_the_gradient_of_the_whole(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain_sgd = make_config(CLOSED, "updater.optimizer=sgd", "updater.warmup_steps=0", "updater.learning_rate=0.5")
    in_parts, whole = Updater(plain_sgd), Updater(plain_sgd)
    events = in_parts.encode([make_event(n) for n in range(16)])
    monkeypatch.setattr(batches_module, "CPU_PART_OVERHEAD", 0)
    tokens = [event.tokens for event in events if event.tokens is not None]
    assert len(in_parts.transformer.forward.parts(tokens)) > 2
    in_parts.step(events[:8], events[8:])
    monkeypatch.setattr(batches_module, "CPU_PART_OVERHEAD", 10**9)
    assert len(whole.transformer.forward.parts(tokens)) == 1
    whole.step(events[:8], events[8:])
    for name, value in weights(whole).items():
        torch.testing.assert_close(weights(in_parts)[name], value, rtol=1e-4, atol=1e-6)


def test_sgd_is_the_formula(make_config: MakeConfig) -> None:
    rate, decay = 0.1, 0.03
    config = make_config(
        CLOSED,
        "updater.optimizer=sgd",
        f"updater.learning_rate={rate}",
        f"updater.head_learning_rate={rate}",
        f"updater.weight_decay={decay}",
        "updater.clip_norm=0",
        "updater.warmup_steps=0",
    )
    updater = Updater(config)
    events = updater.encode([make_event(n) for n in range(8)])
    reference = updater.transformer.model.__class__(updater.transformer.model.config).eval()
    reference.load_state_dict(weights(updater))
    longest = max(len(event.tokens) for event in events if event.tokens is not None)
    ids = torch.zeros(8, longest, dtype=torch.long)
    for row, event in enumerate(events):
        assert event.tokens is not None
        ids[row, : len(event.tokens)] = torch.from_numpy(event.tokens.astype(np.int64))
    logits = reference(input_ids=ids, attention_mask=(ids != 0).long()).logits
    targets = torch.tensor([n % 3 for n in range(8)])
    F.cross_entropy(logits, targets).backward()
    updater.step(events)
    after = weights(updater)
    for name, parameter in reference.named_parameters():
        penalty = decay * parameter if parameter.ndim > 1 else 0.0
        gradient = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
        torch.testing.assert_close(after[name], parameter - rate * (gradient + penalty), rtol=1e-4, atol=1e-6)


def test_the_prediction_is_made_before_the_event_is_learnt(make_config: MakeConfig) -> None:
    updater = Updater(make_config(CLOSED, "updater.learning_rate=0.01", "updater.warmup_steps=0"))
    events = updater.encode([make_event(n) for n in range(12)])
    for _ in range(5):
        before = updater.predict(events)
        log_probabilities = updater.log_probabilities(events)
        result = updater.step(events)
        assert result.correct.tolist() == [e.label == label for e, label in zip(events, before, strict=True)]
        columns = [updater.labels.index(event.label) for event in events]
        expected = -log_probabilities[range(12), columns].numpy()
        np.testing.assert_allclose(result.losses, expected, rtol=1e-4, atol=1e-6)


def test_a_new_label_counts_as_wrong_and_grows_the_head_with_what_was_learnt_kept(make_config: MakeConfig) -> None:
    updater = Updater(make_config())
    one_step(updater)
    head = "classifier.weight"
    before, moments = weights(updater)[head], updater.state()["transformer"]["optimizer"]
    result = updater.step(updater.encode([make_event(1, label="new")]))
    assert result.correct.tolist() == [False]
    after = updater.state()["transformer"]
    assert after["weights"][head].shape == (4, 32)
    torch.testing.assert_close(after["weights"][head][:3], before, atol=1e-3, rtol=0)
    index = next(i for i, m in moments["optimizers"][0].items() if m["exp_avg"].shape == (3, 32))
    grown = after["optimizer"]["optimizers"][0][index]
    torch.testing.assert_close(
        grown["exp_avg_sq"][:3], moments["optimizers"][0][index]["exp_avg_sq"], rtol=0.1, atol=1e-5
    )
    assert float(grown["step"]) == 2
    assert list(updater.labels) == ["label-0", "label-1", "label-2", "new"]


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_a_step_that_is_not_finite_leaves_every_bit_as_it_was(make_config: MakeConfig, poison: float) -> None:
    updater = Updater(make_config(CLOSED))
    one_step(updater)
    before = updater.state()["transformer"]
    bias = updater.transformer.model.classifier.bias
    with torch.no_grad():
        kept = bias.clone()
        bias[0] = poison
    result = updater.step(updater.encode([make_event(n) for n in range(4)]))
    with torch.no_grad():
        bias.copy_(kept)
    assert not result.applied
    after = updater.state()["transformer"]
    assert same(after["weights"], before["weights"])
    assert after["optimizer"]["steps"] == before["optimizer"]["steps"]


@pytest.mark.parametrize(
    ("trains", "moves"),
    [
        ("head", lambda name: name.startswith("classifier")),
        ("last-1", lambda name: name.startswith(("classifier", "bert.pooler", "bert.encoder.layer.1."))),
        ("bias", lambda name: name.startswith("classifier") or name.endswith(".bias")),
        ("all", lambda _: True),
    ],
)
def test_only_what_trains_moves(make_config: MakeConfig, trains: str, moves: Callable[[str], bool]) -> None:
    updater = Updater(make_config(CLOSED, f"updater.trains={trains}"))
    before = weights(updater)
    one_step(updater)
    after = weights(updater)
    for name, value in before.items():
        changed = not torch.equal(after[name], value)
        untouched_by_nature = "position" in name or "token_type" in name
        assert changed == moves(name) or untouched_by_nature, name


def test_frozen_embeddings_stay_and_the_rest_moves(make_config: MakeConfig) -> None:
    updater = Updater(make_config(CLOSED, "updater.embeddings=frozen"))
    before = weights(updater)
    one_step(updater)
    name = "bert.embeddings.word_embeddings.weight"
    assert torch.equal(weights(updater)[name], before[name])
    assert not torch.equal(weights(updater)["classifier.weight"], before["classifier.weight"])


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_sparse_embeddings_move_only_where_a_token_occurred(make_config: MakeConfig, optimizer: str) -> None:
    updater = Updater(make_config(CLOSED, "updater.embeddings=sparse", f"updater.optimizer={optimizer}"))
    name = "bert.embeddings.word_embeddings.weight"
    before = weights(updater)[name]
    one_step(updater, count=2)
    after = weights(updater)[name]
    occurred = {int(t) for e in updater.encode([make_event(0), make_event(1)]) for t in e.tokens}  # type: ignore[union-attr]
    moved = {row for row in range(len(before)) if not torch.equal(before[row], after[row])}
    assert moved
    assert moved <= occurred


def test_sparse_and_dense_embeddings_agree_in_plain_sgd(make_config: MakeConfig) -> None:
    plain = [CLOSED, "updater.optimizer=sgd", "updater.weight_decay=0", "updater.warmup_steps=0"]
    dense, sparse = Updater(make_config(*plain)), Updater(make_config(*plain, "updater.embeddings=sparse"))
    one_step(dense)
    one_step(sparse)
    for name, value in weights(dense).items():
        torch.testing.assert_close(weights(sparse)[name], value, rtol=1e-5, atol=1e-7)


def test_the_rate_warms_up_and_then_decays_as_the_inverse_square_root(make_config: MakeConfig) -> None:
    updater = Updater(
        make_config(CLOSED, "updater.warmup_steps=4", "updater.decay=inverse_sqrt", "updater.learning_rate=0.01")
    )
    rates = [updater.step(updater.encode([make_event(n)])).learning_rate for n in range(16)]
    expected = [0.0025, 0.005, 0.0075, 0.01, *(0.01 * math.sqrt(4 / step) for step in range(5, 17))]
    np.testing.assert_allclose(rates, expected)


def test_a_long_gradient_is_clipped_to_the_norm(make_config: MakeConfig) -> None:
    plain = [CLOSED, "updater.optimizer=sgd", "updater.weight_decay=0", "updater.warmup_steps=0"]
    updater = Updater(
        make_config(*plain, "updater.clip_norm=0.01", "updater.learning_rate=1", "updater.head_learning_rate=1")
    )
    before = weights(updater)
    result = updater.step(updater.encode([make_event(n) for n in range(8)]))
    assert result.gradient_norm > 0.01
    moved = torch.sqrt(sum(((value - before[name]) ** 2).sum() for name, value in weights(updater).items()))  # type: ignore[arg-type]
    assert float(moved) == pytest.approx(0.01, rel=1e-3)


SHAPES = [
    "updater.trains=all",
    "updater.trains=last-1",
    "updater.trains=head",
    "updater.trains=bias",
    "updater.embeddings=frozen",
    "updater.embeddings=sparse",
    "updater.optimizer=sgd",
]


@pytest.mark.parametrize(
    "settings",
    [
        [],
        ["updater.optimizer=sgd"],
        ["updater.embeddings=sparse"],
        ["updater.trains=last-1", "updater.embeddings=frozen"],
        ["updater.trains=bias"],
        ["updater.trains=lora", "updater.dropout=0.2"],
        ["updater.dropout=0.2"],
        [CLOSED, "updater.precision=bf16"],
    ],
)
def test_saved_and_loaded_it_goes_on_with_the_same_bits(make_config: MakeConfig, settings: list[str]) -> None:
    config = make_config(*settings)
    unbroken = Updater(config)
    for first in range(3):
        one_step(unbroken, first=first)
    state, random = unbroken.state(), torch.get_rng_state()
    for first in range(3, 6):
        one_step(unbroken, first=first)
    torch.set_rng_state(random)
    restored = Updater(config)
    restored.load(state)
    for first in range(3, 6):
        one_step(restored, first=first)
    assert same(weights(restored), weights(unbroken))


@pytest.mark.parametrize("before", SHAPES)
@pytest.mark.parametrize("after", SHAPES)
def test_what_trains_and_how_may_change_between_runs(
    make_config: MakeConfig, before: str, after: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = Updater(make_config(*before.split()))
    one_step(first)
    second = Updater(make_config(*after.split()))
    second.load(first.state())
    assert same(weights(second), weights(first))
    assert second.steps == 1
    assert ("the moments of the optimiser start over" in caplog.text) == (before != after)
    one_step(second, first=8)
    assert not same(weights(second), weights(first))


def test_a_state_of_another_model_or_other_labels_is_refused(make_config: MakeConfig) -> None:
    state = Updater(make_config(CLOSED)).state()
    with pytest.raises(StateError, match="labels may be added at the end"):
        Updater(make_config("events.labels=[label-1, label-0]")).load(state)
    with pytest.raises(StateError, match="was made with the model"):
        Updater(make_config(CLOSED)).load(state | {"model": "another"})


@pytest.mark.parametrize("experts", ["updater.experts=[transformer]", "updater.experts=tuned"])
def test_a_closed_list_may_grow_at_its_end_between_runs(make_config: MakeConfig, experts: str) -> None:
    before = Updater(make_config(CLOSED, experts))
    one_step(before)
    longer = [Updater(make_config("events.labels=[label-0, label-1, label-2, more]", experts)) for _ in range(2)]
    for updater in longer:
        updater.load(before.state())
        assert list(updater.labels) == ["label-0", "label-1", "label-2", "more"]
    asked = longer[0].encode([make_event(n) for n in range(4)])
    was, now = before.log_probabilities(asked), longer[0].log_probabilities(asked)
    assert now.shape == (4, 4)
    if experts == "updater.experts=[transformer]":  # whose columns know nothing of one another
        torch.testing.assert_close(now[:, :3].log_softmax(-1), was)
    for updater in longer:
        one_step(updater, first=8)
    assert flat(longer[0].state()) == flat(longer[1].state())


def test_a_snapshot_as_starting_model_keeps_its_head_and_labels(make_config: MakeConfig, tmp_path: Path) -> None:
    first = Updater(make_config(CLOSED))
    one_step(first)
    export = published.export(first, first.state())
    export.config.save_pretrained(tmp_path)
    export.tokenizer.save_pretrained(tmp_path)
    first.transformer.model.save_pretrained(tmp_path, state_dict=export.weights)
    export.config.save_pretrained(tmp_path)
    again = Updater(make_config(f"updater.model={tmp_path}", "events.labels=[label-0, label-1, label-2, more]"))
    assert list(again.labels) == ["label-0", "label-1", "label-2", "more"]
    assert torch.equal(weights(again)["classifier.weight"][:3], weights(first)["classifier.weight"])


@pytest.mark.parametrize("kind", ["distilbert", "roberta", "gpt2"])
def test_any_sequence_classification_model_learns(
    make_config: MakeConfig, tiny_model: Path, tmp_path: Path, kind: str
) -> None:
    small = {
        "distilbert": {"vocab_size": 60, "dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64},
        "roberta": {
            "vocab_size": 60,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 64,
            "pad_token_id": 0,
        },
        "gpt2": {"vocab_size": 60, "n_embd": 32, "n_layer": 2, "n_head": 2},
    }[kind]
    settings = transformers.AutoConfig.for_model(kind, **small)
    torch.manual_seed(0)
    transformers.AutoModelForSequenceClassification.from_config(settings).save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path)
    updater = Updater(make_config(f"updater.model={tmp_path}", "updater.trains=last-1", "updater.learning_rate=0.01"))
    losses = [updater.step(updater.encode([make_event(n) for n in range(9)])).loss for _ in range(60)]
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize("model", ["/no/such/directory", "no-such-organisation/no-such-model"])
def test_a_missing_model_is_one_sentence(make_config: MakeConfig, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigurationError) as caught:
        Updater(make_config(f"updater.model={model}"))
    assert model in str(caught.value)
    assert "\n" not in str(caught.value)


def test_more_layers_than_there_are_cannot_train(make_config: MakeConfig) -> None:
    with pytest.raises(ConfigurationError, match=r"'last-9', but the model has 2 layers"):
        Updater(make_config("updater.trains=last-9"))


def test_an_unknown_device_is_one_sentence(make_config: MakeConfig) -> None:
    with pytest.raises(ConfigurationError, match="'abacus' cannot be used here"):
        Updater(make_config("updater.device=abacus"))
