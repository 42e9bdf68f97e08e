"""Each architecture either learns what can be learnt, and predicts as its published model does, or is refused."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import torch
import transformers

from streamlearn.config import load
from streamlearn.errors import ConfigurationError
from streamlearn.events import Event
from streamlearn.local.tiny import WORDS
from streamlearn.publisher.snapshots import SnapshotStore
from streamlearn.updater import Updater, published
from streamlearn.updater.features import Encoded
from tests import zoo
from tests.unit.builders import make_event

Save = Callable[[str], Path]
LABELS = "events.labels=[label-0, label-1, label-2]"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Save:
    """Return the directory of a tiny model by architecture, saved once."""
    return cache(lambda kind: zoo.save(kind, tmp_path_factory.mktemp(kind)))


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Models this small are faster on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def updater(model: Path, *overrides: str) -> Updater:
    settings = ["updater.max_tokens=32", "updater.warmup_steps=0", "updater.learning_rate=0.002", LABELS]
    return Updater(load(overrides=[f"updater.model={model}", *settings, *overrides]))


def toy(count: int, seed: int) -> list[Event]:
    """Texts of very different lengths, whose label is told by their own words among those of all."""
    draw = random.Random(seed)
    events = []
    for number in range(count):
        label = draw.randrange(3)
        own, others = WORDS[8 * label : 8 * label + 8], WORDS[24:]
        words = [draw.choice(own if draw.random() < 0.5 else others) for _ in range(draw.randint(2, 24))]
        events.append(make_event(number, label=f"label-{label}", text=" ".join([*words, draw.choice(own)])))
    return events


@pytest.mark.parametrize("kind", ["bert", "xlnet", "gpt2", "llama", "t5", "bart", "fnet"])
def test_a_model_of_any_family_learns_what_can_be_learnt(saved: Save, kind: str) -> None:
    learner = updater(saved(kind))
    for step in range(150):
        learner.step(learner.encode(toy(16, step)))
    unseen = learner.encode(toy(200, 999))
    right = [event.label == label for event, label in zip(unseen, learner.predict(unseen), strict=True)]
    assert sum(right) / len(right) > 0.97


@pytest.mark.parametrize("kind", ["bert", "roberta", "xlnet", "gpt2", "llama", "t5", "bart", "fnet"])
@pytest.mark.parametrize(
    "overrides",
    [(), ("updater.trains=last-1",), ("updater.trains=lora",)],
    ids=["all layers", "frozen layers run once", "adapters"],
)
def test_a_published_model_gives_the_probabilities_of_the_learner(
    saved: Save, kind: str, overrides: tuple[str, ...], tmp_path: Path
) -> None:
    learner = updater(saved(kind), *overrides)
    for step in range(20):
        learner.step(learner.encode(toy(8, step)))
    spelt = ["late </s> again", "[SEP] moon [PAD]", "<pad> key <s>", "<|end|> cipher", "refund " * 60, "unheard of"]
    events = [make_event(n, label="label-0", text=text) for n, text in enumerate(spelt)] + toy(12, 7)
    expected = learner.transformer.predict(Encoded.of(learner.encode(events), frozenset())).exp()
    path = SnapshotStore(tmp_path).write(1, 1, published.export(learner, learner.state()), {})
    classify = transformers.pipeline("text-classification", model=str(path), top_k=None)
    for event, row in zip(events, expected, strict=True):
        (given,) = classify([event.text], truncation=True)
        scores = {found["label"]: found["score"] for found in given}
        assert [scores[f"label-{column}"] for column in range(3)] == pytest.approx(row.tolist(), abs=1e-5)


def test_token_types_that_matter_reach_the_model_and_texts_are_padded_where_it_does_not_read(saved: Save) -> None:
    learner = updater(saved("xlnet"))
    short, long = toy(2, 1)
    tokens = [event.tokens for event in learner.encode([short, long]) if event.tokens is not None]
    (part,) = learner.transformer.forward.parts([tokens[0], tokens[0][-3:]])
    assert part.companions["token_type_ids"][:, -2:].tolist() == [[0, 2], [0, 2]]
    assert sorted(part.attention_mask[:, 0].tolist()) == [0, 1]


def test_a_start_leaves_weights_optimiser_and_random_state_as_if_nothing_had_been_tried(
    saved: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = updater(saved("bert"), "updater.dropout=0.3").state()["transformer"]
    monkeypatch.setattr("streamlearn.updater.experts.transformer.expert.TransformerExpert._probe", lambda _: None)
    untried = updater(saved("bert"), "updater.dropout=0.3").state()["transformer"]
    assert torch.equal(tried["random"], untried["random"])
    assert all(torch.equal(value, untried["weights"][name]) for name, value in tried["weights"].items())
    assert tried["optimizer"] == untried["optimizer"]


@pytest.mark.parametrize(
    ("kind", "overrides", "sentence"),
    [
        ("bert", ["updater.max_tokens=200"], "updater.max_tokens is 200, but the model reads at most 64 tokens"),
        ("roberta", ["updater.max_tokens=65"], "reads at most 63 tokens; set it to 63 or less"),
        ("gpt2", ["updater.max_tokens=65"], "reads at most 64 tokens"),
        ("bart", ["updater.max_tokens=100"], "reads at most 64 tokens"),
        ("bert", ["updater.max_tokens=2"], "updater.max_tokens is 2, but 2 of a text's tokens are special"),
        ("xlm", ["updater.trains=last-1"], "updater.trains .* set it to all or head"),
        ("albert", ["updater.trains=last-1"], "updater.trains .* set it to all or head"),
        ("llama", ["updater.trains=bias"], "updater.trains is 'bias', but LlamaModel has no biases; set it to lora"),
        ("bert", ["updater.trains=lora", "updater.lora_targets=[qery]"], "is called 'qery'; did you mean 'query'"),
        ("mra", [], "its predictions do not depend on the text"),
        ("perceiver", ["updater.max_tokens=32"], "updater.model: .*perceiver"),
    ],
)
def test_what_a_model_cannot_do_is_one_sentence_that_names_the_setting(
    saved: Save, kind: str, overrides: list[str], sentence: str
) -> None:
    with pytest.raises(ConfigurationError, match=sentence) as caught:
        updater(saved(kind), *overrides)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_embeddings_shared_by_encoder_and_decoder_may_be_sparse(saved: Save, kind: str) -> None:
    plain = ["updater.optimizer=sgd", "updater.weight_decay=0", "updater.clip_norm=0"]
    dense, sparse = updater(saved(kind), *plain), updater(saved(kind), *plain, "updater.embeddings=sparse")
    for learner in (dense, sparse):
        learner.step(learner.encode(toy(8, 1)))
    expected, found = (learner.state()["transformer"]["weights"] for learner in (dense, sparse))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6)


def test_the_last_layers_of_an_encoder_with_a_decoder_are_those_of_the_decoder(saved: Save) -> None:
    learner = updater(saved("t5"), "updater.trains=last-1")
    before = {name: value.clone() for name, value in learner.transformer.weights().items()}
    learner.step(learner.encode(toy(8, 1)))
    moved = {name for name, value in learner.transformer.weights().items() if not value.equal(before[name])}
    assert any(name.startswith("transformer.decoder.block.1.") for name in moved)
    assert not any(name.startswith(("transformer.encoder.", "transformer.decoder.block.0.")) for name in moved)


@pytest.mark.parametrize("rows", [5, 30, 38])
def test_more_tokens_than_embeddings_are_refused(tmp_path: Path, rows: int) -> None:
    model = zoo.save("bert", tmp_path, vocab_size=rows)
    with pytest.raises(ConfigurationError, match="its tokenizer has 39 tokens, but the model has embeddings for"):
        updater(model)


def test_neither_pad_nor_eos_is_refused(tmp_path: Path) -> None:
    model = zoo.save("gpt2", tmp_path)
    zoo.save_tokenizer(zoo.GPT, tmp_path, eos_token=None)
    with pytest.raises(ConfigurationError, match=r"neither a pad nor an eos token.*tokenizer_config\.json"):
        updater(model)


def test_a_text_of_which_the_tokenizer_keeps_nothing_is_learnt_all_the_same(saved: Save) -> None:
    learner = updater(saved("gpt2"))
    result = learner.step(learner.encode([make_event(1, label="label-0", text="\u200b"), *toy(4, 1)]))
    assert result.applied
    assert math.isfinite(result.loss)


def test_experts_of_a_tier_that_a_model_gives_nothing_to_are_left_out_and_named_ones_are_refused(
    saved: Save, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    whole = updater(saved("bert"), "updater.experts=frozen").experts
    assert "left out" not in caplog.text
    some = updater(saved("t5"), "updater.experts=frozen").experts
    assert [name for name in whole if name not in some] == [name for name in whole if "frozen" in name or "mid" in name]
    assert "'frozen_long_memory' of the tier 'frozen' is left out" in caplog.text
    with pytest.raises(
        ConfigurationError, match=r"updater\.experts: 'frozen_long_memory' reads frozen embeddings, which"
    ):
        updater(saved("t5"), "updater.experts=[naive_bayes, frozen_long_memory]")


def test_a_model_of_characters_learns_with_what_needs_no_token_embeddings(tmp_path: Path) -> None:
    model = zoo.save_canine(tmp_path)
    assert updater(model, "updater.experts=tokens").experts == ["naive_bayes", "softmax"]
    with pytest.raises(ConfigurationError, match="'recent_memory' reads static embeddings"):
        updater(model, "updater.experts=[recent_memory]")
