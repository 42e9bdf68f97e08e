"""Fine-tuning of tiny language models: continued pre-training on texts of a file, judged by bits per byte."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import peft
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from streamlearn.commands.finetuning import Outcome, Standing, finetune
from streamlearn.commands.finetuning.course import Course
from streamlearn.commands.finetuning.examples import read
from streamlearn.commands.finetuning.figures import CostFigures
from streamlearn.commands.finetuning.outcome import Epoch
from streamlearn.config import Config, load
from streamlearn.errors import ConfigurationError, StateError, StreamlearnError
from streamlearn.learner import Learner
from streamlearn.learner.language_rehearsal import LanguageRehearsal
from streamlearn.local.tiny import WORDS, save_tiny_language_model
from streamlearn.reports import TextFigures
from streamlearn.serving.language import load_language_model
from streamlearn.storage.layout import ADAPTER, WEIGHTS
from tests.conftest import OVERFLOWING, streamlearn
from tests.unit.builders import flat, make_event
from tests.unit.conftest import MakeConfig
from tests.unit.labelled import write
from tests.unit.language import event, settings, take_steps
from tests.unit.test_finetune import Killed, killed_at

Row = dict[str, Any]
OFTEN = ["publisher.checkpoints.every_steps=5", "publisher.checkpoints.every_seconds=null"]


def texts(count: int, *, seed: int = 0, most: int = 6) -> list[Row]:
    """Return texts in which each word says much of the next one."""
    draw = random.Random(seed)

    def text() -> str:
        first, step = draw.randrange(12), draw.randrange(1, 4)
        return " ".join(WORDS[(first + step * place) % 12] for place in range(draw.randrange(3, most + 1)))

    return [{"text": f"{text()} {WORDS[number % len(WORDS)]}"} for number in range(count)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write(tmp_path / "train.jsonl", texts(100))


@pytest.fixture
def config(tiny_language_model: Path) -> Config:
    return load(overrides=settings(tiny_language_model))


def plain_bits_per_byte(directory: Path, rows: list[Row]) -> float:
    """Return what transformers alone makes of `rows`."""
    model, tokenizer = (auto.from_pretrained(directory) for auto in (AutoModelForCausalLM, AutoTokenizer))
    nats, size = 0.0, 0
    for row in rows:
        ids = torch.tensor([[1, *tokenizer(row["text"], add_special_tokens=False)["input_ids"], 2]])
        with torch.no_grad():
            nats += model.eval()(input_ids=ids, labels=ids).loss.item() * (ids.shape[1] - 1)
        size += len(row["text"].encode())
    return nats / math.log(2.0) / size


def test_the_epoch_that_is_kept_is_the_best_and_plain_transformers_finds_its_bits_per_byte(
    config: Config, data: Path, tmp_path: Path
) -> None:
    validation, test = texts(30, seed=1), texts(30, seed=2)
    given = {
        "validation": write(tmp_path / "v.jsonl", validation),
        "test": write(tmp_path / "t.jsonl", test),
    }
    found = finetune(config, data, output=tmp_path / "model", **given, epochs=4, patience=4)
    assert [one.number for one in found.epochs] == [1, 2, 3, 4]
    assert found.validation == min((one.validation for one in found.epochs), key=lambda one: one.bits_per_byte)
    assert found.before
    assert plain_bits_per_byte(Path(config.updater.model), validation) == pytest.approx(found.before.bits_per_byte)
    assert found.epochs[0].validation.bits_per_byte < found.before.bits_per_byte
    assert plain_bits_per_byte(tmp_path / "model", validation) == pytest.approx(found.validation.bits_per_byte)
    assert found.test
    assert plain_bits_per_byte(tmp_path / "model", test) == pytest.approx(found.test.bits_per_byte)
    assert (found.train, found.labels, found.validation.events, found.test.events) == (100, 0, 30, 30)
    assert found.transformer_test_accuracy is None
    manifest = json.loads((tmp_path / "model" / "streamlearn.json").read_text())
    assert manifest["metrics"]["holdout_bits_per_byte"] == {
        "validation": found.validation.bits_per_byte,
        "test": found.test.bits_per_byte,
    }
    card = (tmp_path / "model" / "README.md").read_text()
    assert f"| test, which chose nothing | 30 | {found.test.bits_per_byte:.4f} | {found.test.perplexity:.4g} |" in card
    assert f"| validation, before | 30 | {found.before.bits_per_byte:.4f} | " in card
    assert card.count("which chose nothing") == 1
    assert "pipeline_tag: text-generation" in card
    assert "label" not in card
    assert str(tmp_path) not in card


def test_an_epoch_that_is_worse_than_one_before_it_is_not_what_is_kept(
    tiny_language_model: Path, tmp_path: Path
) -> None:
    rows, validation = texts(12, seed=3), texts(12, seed=4)
    config = load(overrides=[*settings(tiny_language_model), "updater.learning_rate=3e-2"])  # it soon overfits
    data, other = write(tmp_path / "d.jsonl", rows), write(tmp_path / "v.jsonl", validation)
    found = finetune(config, data, output=tmp_path / "model", validation=other, epochs=12, patience=2)
    costs = [one.validation.bits_per_byte for one in found.epochs]
    assert found.chosen == 1 + costs.index(min(costs)) < len(costs)
    assert len(costs) == found.chosen + 2  # ended for its patience
    assert plain_bits_per_byte(tmp_path / "model", validation) == pytest.approx(min(costs))


@pytest.mark.parametrize("more", [["updater.dropout=0.1"], ["updater.trains=lora", "updater.dropout=0.1"]])
@pytest.mark.parametrize("step", [7, 40], ids=["in the first pass", "in a further one"])
def test_killed_and_given_again_it_comes_to_the_same_bits(
    tiny_language_model: Path, data: Path, tmp_path: Path, step: int, more: list[str]
) -> None:
    config = load(overrides=[*settings(tiny_language_model), *OFTEN, *more])
    unbroken = finetune(config, data, output=tmp_path / "unbroken", epochs=3, patience=3)
    with pytest.raises(Killed):
        finetune(config, data, output=tmp_path / "broken", epochs=3, patience=3, progress=killed_at(step))
    assert not (tmp_path / "broken").exists()
    seen: list[Standing] = []
    again = finetune(config, data, output=tmp_path / "broken", epochs=3, patience=3, progress=seen.append)
    assert (seen[0].epoch, seen[0].taken) > (1, 4)
    assert (tmp_path / "broken" / WEIGHTS).read_bytes() == (tmp_path / "unbroken" / WEIGHTS).read_bytes()
    assert [one.validation for one in again.epochs] == [one.validation for one in unbroken.epochs]
    assert (again.test, again.before) == (unbroken.test, unbroken.before)


def test_adapters_are_merged_and_lie_beside_the_model(tiny_language_model: Path, data: Path, tmp_path: Path) -> None:
    config = load(overrides=[*settings(tiny_language_model), "updater.trains=lora"])
    finetune(config, data, output=tmp_path / "model", epochs=1)
    merged = load_file(tmp_path / "model" / WEIGHTS)
    began = load_file(tiny_language_model / WEIGHTS)
    assert merged.keys() == began.keys()
    assert any(not torch.equal(value, began[name]) for name, value in merged.items())
    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    plain = AutoModelForCausalLM.from_pretrained(tiny_language_model)
    adapted = peft.PeftModel.from_pretrained(plain, str(tmp_path / "model" / ADAPTER)).eval()
    ids = torch.tensor([[1, 5, 9, 20]])
    torch.testing.assert_close(adapted(input_ids=ids).logits, whole(input_ids=ids).logits, rtol=1e-4, atol=1e-5)
    assert "`adapter/`" in (tmp_path / "model" / "README.md").read_text()


def test_a_stream_goes_on_from_it_and_predict_continues_a_text(tiny_language_model: Path, tmp_path: Path) -> None:
    rows = [{"text": f"late again refund please thanks{' fine' * (number % 2)}"} for number in range(60)]
    data = write(tmp_path / "d.jsonl", rows)
    config = load(overrides=[*settings(tiny_language_model), "updater.learning_rate=1e-2"])
    found = finetune(config, data, output=tmp_path / "model", validation=data, epochs=4)
    assert load_language_model(tmp_path / "model").continue_text("late again", tokens=2).split() == ["refund", "please"]
    warm = Learner(load(overrides=settings(tmp_path / "model")))
    costs = LanguageRehearsal(warm).judge([make_event(0, text=row["text"], label="") for row in rows])
    assert CostFigures.of(costs) == found.validation
    take_steps(warm, 0, 2)
    assert warm.step == 2


def test_a_text_longer_than_the_model_reads_at_once_is_learnt_and_measured_to_its_end(
    tiny_language_model: Path, tmp_path: Path
) -> None:
    config = load(overrides=[*settings(tiny_language_model), "updater.max_tokens=8"])
    data, long = write(tmp_path / "d.jsonl", texts(20, most=40)), write(tmp_path / "v.jsonl", texts(8, most=40))
    found = finetune(config, data, output=tmp_path / "model", validation=long, epochs=1)
    words = [row["text"].split() for row in texts(8, most=40)]
    assert max(map(len, words)) > 16
    assert found.validation.tokens == sum(len(one) + 1 for one in words)
    assert found.validation.bytes == sum(len(row["text"]) for row in texts(8, most=40))


def test_tables_need_no_column_of_labels_and_whatever_stands_there_is_not_looked_at(
    config: Config, data: Path, tmp_path: Path
) -> None:
    rows = texts(100)
    (tmp_path / "t.csv").write_text("\n".join(["text", *(row["text"] for row in rows)]))
    labelled = write(tmp_path / "labelled.jsonl", [{**row, "label": [1, "x"][n % 2]} for n, row in enumerate(rows)])
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    expected = read(config, data, None, None).digest()
    datasets.Dataset.from_list(rows).save_to_disk(tmp_path / "saved")
    for path in (tmp_path / "t.csv", tmp_path / "t.parquet", tmp_path / "saved", labelled):
        assert read(config, path, None, None).digest() == expected
    found = read(config, data, labelled, labelled)
    assert (len(found.validation), len(found.test), found.refused) == (100, 100, {})


def test_lines_of_nothing_but_text_need_no_label_either(config: Config, data: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("".join(row["text"] + "\n" for row in texts(100)))
    plain = load(overrides=[*settings(Path(config.updater.model)), "events.format=text"])
    assert read(plain, tmp_path / "texts.txt", None, None).digest() == read(config, data, None, None).digest()


def test_a_further_pass_replays_nothing_and_leaves_out_what_no_step_can_be_taken_on(
    make_language_config: MakeConfig,
) -> None:
    config = make_language_config("events.holdout_ratio=0", "updater.replay_ratio=1.0")
    learner, same = Learner(config), Learner(config)
    take_steps(learner, 0, 2)
    same.load(learner.state())
    buffer = learner.buffer.state()
    events = [event(number) for number in range(4)]
    assert LanguageRehearsal(learner).again(events) == 4
    same.updater.step(same.updater.encode(events))
    assert flat(learner.updater.state()) == flat(same.updater.state())
    assert flat(learner.buffer.state()) == flat(buffer)
    assert learner.step == 3
    assert LanguageRehearsal(learner).again([]) == 0


def test_judging_moves_nothing(make_language_config: MakeConfig) -> None:
    learner = Learner(make_language_config("updater.dropout=0.1"))
    take_steps(learner, 0, 2)
    before, rehearsal = learner.state(), LanguageRehearsal(learner)
    events = [event(number) for number in range(130)]
    first, second = rehearsal.judge(events), rehearsal.judge(events)
    assert first.nats.tolist() == second.nats.tolist()
    assert len(first.nats) == 130
    assert flat(learner.state()) == flat(before)
    odd = rehearsal.judge([event(0), event(1, "late \ud800"), event(2)])  # which the tokenizer does not read
    assert [math.isnan(nats) for nats in odd.nats] == [False, True, False]
    assert odd.nats[[0, 2]].tolist() == pytest.approx(first.nats[[0, 2]].tolist())
    assert CostFigures.of(odd).unpredicted == 1


def test_a_text_without_a_finite_cost_counts_as_if_nothing_were_known_of_it() -> None:
    bit = math.log(2.0)
    found = CostFigures.of(TextFigures(np.array([8 * bit, math.nan]), np.array([4, 2]), np.array([8, 4])))
    assert (found.bits_per_byte, found.unpredicted, found.events) == (pytest.approx(40 / 12), 1, 2)
    assert found.perplexity == pytest.approx(math.exp(40 * bit / 6))
    assert "1 of them without a finite cost" in found.in_words()
    course = Course(epochs=[Epoch(1, found, 1.0)], before=Epoch(0, found, 0.5))
    assert Course.load(json.loads(json.dumps(course.state()))) == course


def test_figures_that_another_version_has_recorded_are_refused_in_one_sentence() -> None:
    epoch = {"number": 1, "validation": {"events": 2, "perplexity": 3.0, "mood": 1.0}, "seconds": 1.0}
    with pytest.raises(StateError, match=r"recorded other figures \(events, perplexity, mood\); .* another --output"):
        Course.load(Course().state() | {"epochs": [epoch]})


@pytest.fixture
def overflowing(tmp_path: Path) -> Config:
    """The configuration of a model that cannot bear one word."""
    directory = save_tiny_language_model(tmp_path / "overflowing")
    weights = load_file(directory / WEIGHTS)
    weights["model.embed_tokens.weight"][3 + WORDS.index(OVERFLOWING)] = 3e38
    save_file(weights, directory / WEIGHTS, metadata={"format": "pt"})
    return load(overrides=settings(directory))


def test_texts_that_overflow_the_model_cost_themselves_alone_and_where_all_do_that_is_said(
    overflowing: Config, data: Path, tmp_path: Path
) -> None:
    bad = [{"text": f"late {OVERFLOWING} {word}"} for word in WORDS[:8]]
    fine = [row for row in texts(60, seed=5) if OVERFLOWING not in row["text"]]
    mixed, held_out = write(tmp_path / "m.jsonl", [*fine, *bad]), write(tmp_path / "v.jsonl", [*fine[:9], bad[0]])
    found = finetune(overflowing, mixed, output=tmp_path / "model", validation=held_out, epochs=2)
    assert (found.train, found.refused) == (len(fine), {"not_finite": len(bad)})
    assert found.validation.events == 10
    with pytest.raises(StreamlearnError, match="none of the 8 examples could be learnt: 8 not_finite"):
        finetune(overflowing, write(tmp_path / "d.jsonl", bad), output=tmp_path / "none", validation=data)
    assert not (tmp_path / "none").exists()


def test_what_was_begun_for_labels_is_not_gone_on_with_as_a_language_model(
    config: Config, tiny_model: Path, tmp_path: Path
) -> None:
    labelled = write(tmp_path / "l.jsonl", [{**row, "label": f"l{n % 2}"} for n, row in enumerate(texts(80))])
    classifier = load(overrides=[f"updater.model={tiny_model}", "updater.experts=[naive_bayes]"])
    finetune(classifier, labelled, output=tmp_path / "model")
    with pytest.raises(ConfigurationError, match="already exists, and was not made by this command"):
        finetune(config, labelled, output=tmp_path / "model")


def test_the_command_says_what_a_byte_costs_and_refuses_what_is_for_labels(
    tiny_language_model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = [f"--set={setting}" for setting in settings(tiny_language_model)]
    common = ["finetune", f"--data={data}", "--epochs=2", f"--output={tmp_path / 'm'}", *chosen]
    done = streamlearn(*common)
    assert done.returncode == 0, done.stderr
    assert "epoch 2: validation " in done.stderr
    assert "before: validation " in done.stdout
    assert " bits per byte, perplexity " in done.stderr
    assert "learnt 7" in done.stdout or "learnt 8" in done.stdout
    assert "labels" not in done.stdout
    found = json.loads(streamlearn(*common, "--json").stdout)
    assert Outcome.load(found).test.bits_per_byte == found["test"]["bits_per_byte"]
    wrong = streamlearn(*common, "--set=updater.experts=tokens")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "there is no use for updater.experts" in wrong.stderr
    goes_on = streamlearn("predict", "--snapshot", str(tmp_path / "m"), "late again")
    assert goes_on.returncode == 0, goes_on.stderr
    monkeypatch.chdir(tmp_path)
    assert streamlearn("predict", "--snapshot", "m", "late again").stdout == goes_on.stdout
    for version in ("latest", "7", "v00000007"):
        (tmp_path / "m").rename(tmp_path / version)
        refused = streamlearn("predict", "--snapshot", version, "late again")
        assert refused.returncode == 4, refused.stdout  # that is the name of a published one, and there is none
        (tmp_path / version).rename(tmp_path / "m")
