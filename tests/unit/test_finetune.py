"""Fine-tuning, with the tiny BERT: what it reads, what it keeps, and that it goes on where it was."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import random
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import datasets
import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

import streamlearn as library
from streamlearn.cli.finetune import Progress
from streamlearn.commands.finetuning import Standing, finetune
from streamlearn.commands.finetuning.course import Course
from streamlearn.commands.finetuning.examples import Examples, read
from streamlearn.commands.finetuning.figures import LabelFigures
from streamlearn.commands.finetuning.files import shown_name, values
from streamlearn.commands.finetuning.outcome import Epoch
from streamlearn.config import Config, Fields, load
from streamlearn.errors import ConfigurationError, StateError, StreamlearnError
from streamlearn.events import Label
from streamlearn.learner import Learner
from streamlearn.learner.direct import take_step
from streamlearn.learner.rehearsal import Rehearsal
from streamlearn.local.tiny import WORDS
from streamlearn.updater import Updater
from tests.conftest import OVERFLOWING, streamlearn
from tests.unit.builders import Terminal, flat, make_event
from tests.unit.test_warm_start import configured

Example = dict[str, Any]
SAVED = "data-00000-of-00001.arrow", "dataset_info.json", "state.json"


def examples(count: int, *, seed: int = 0) -> list[Example]:
    """Return examples of three labels, of which most words tell the label."""
    draw = random.Random(seed)

    def text(label: int) -> str:
        own = [WORDS[3 * draw.randrange(len(WORDS) // 3) + label] for _ in range(3)]
        return " ".join([*own, draw.choice(WORDS), draw.choice(WORDS)])

    return [{"text": text(number % 3), "label": f"label-{number % 3}"} for number in range(count)]


def write(path: Path, rows: Sequence[Example]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write(tmp_path / "train.jsonl", examples(160))


def with_events(config: Config, **settings: Any) -> Config:
    return config.model_copy(update={"events": config.events.model_copy(update=settings)})


def restore(saved: dict[str, bytes], directory: Path, **others: bytes) -> Path:
    """Write a saved data set, with `others` in place of some of its files."""
    directory.mkdir()
    for name, held in (saved | others).items():
        (directory / name).write_bytes(held)
    return directory


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return the files of a saved data set."""
    directory = tmp_path_factory.mktemp("saved")
    datasets.Dataset.from_list(examples(60)).class_encode_column("label").save_to_disk(directory)
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.fixture
def config(tiny_model: Path) -> Config:
    return tuned(tiny_model)


def tuned(model: Path, *overrides: str) -> Config:
    """Return the configuration of a few experts of each kind."""
    chosen = "updater.experts=[transformer, averaged, naive_bayes, long_memory, frozen_least_squares]"
    rates = "updater.learning_rate=1e-3", "updater.dropout=0.1"
    return load(overrides=[f"updater.model={model}", chosen, *rates, *overrides])


def written(output: Path) -> dict[str, bytes]:
    """Return the files that predict."""
    return {name: (output / name).read_bytes() for name in ("model.safetensors", "experts.safetensors", "config.json")}


def epoch(number: int, loss: float) -> Epoch:
    return Epoch(number, LabelFigures(10, 0.5, 0.5, loss, None), 1.0)


def test_what_comes_of_it_is_a_snapshot_that_predicts_and_a_card_with_its_figures(
    config: Config, data: Path, tmp_path: Path
) -> None:
    test = write(tmp_path / "test.jsonl", examples(60, seed=1))
    output = tmp_path / "model"
    found = finetune(config, data, output=output, test=test, epochs=2)
    predictor = library.load(output)
    labels, _ = predictor.predict([row["text"] for row in examples(60, seed=1)])
    right = [label == row["label"] for label, row in zip(labels, examples(60, seed=1), strict=True)]
    assert found.test
    assert sum(right) / 60 == pytest.approx(found.test.accuracy)
    assert found.test.accuracy > 0.6
    assert found.train + found.validation.events == 160
    assert (found.labels, len(found.epochs)) == (3, 2)
    manifest = json.loads((output / "streamlearn.json").read_text())
    assert manifest["metrics"]["holdout_accuracy"] == {
        "validation": found.validation.accuracy,
        "test": found.test.accuracy,
    }
    assert manifest["metrics"]["transformer_holdout_accuracy"]["test"] == found.transformer_test_accuracy
    assert "README.md" in manifest["files"]
    card = (output / "README.md").read_text()
    assert f"| test, which chose nothing | 60 | {found.test.accuracy:.4f} |" in card
    assert all(f"`label-{number}`" in card for number in range(3))
    assert str(tmp_path) not in card
    assert not (tmp_path / "model.unfinished").exists()


def test_bert_as_the_textbook_has_it_is_loaded_by_plain_transformers(
    tiny_model: Path, data: Path, tmp_path: Path
) -> None:
    plain = "updater.experts=[transformer]", "updater.pooling=native", "updater.trains=all"
    output = tmp_path / "model"
    found = finetune(tuned(tiny_model, *plain), data, output=output, epochs=4, patience=4)
    classify = transformers.pipeline("text-classification", model=str(output))
    rows = examples(160)
    right = [one["label"] == row["label"] for one, row in zip(classify([r["text"] for r in rows]), rows, strict=True)]
    assert sum(right) / len(rows) > 0.6
    assert not (output / "experts.safetensors").exists()
    assert found.chosen == min(found.epochs, key=lambda one: one.validation.log_loss).number


class Killed(BaseException):
    """As SIGKILL, to a callback."""


def killed_at(step: int) -> Callable[[object], None]:
    """Return what raises when it has been called so often."""
    left = iter(range(step))

    def count(_: object) -> None:
        if next(left, None) is None:
            raise Killed

    return count


@pytest.mark.parametrize("step", [7, 33, 50], ids=["in the first pass", "in the first pass, later", "in a further one"])
def test_killed_and_given_again_it_comes_to_the_same_bits(
    tiny_model: Path, data: Path, tmp_path: Path, step: int
) -> None:
    config = tuned(tiny_model, "publisher.checkpoints.every_steps=5", "publisher.checkpoints.every_seconds=null")
    unbroken = finetune(config, data, output=tmp_path / "unbroken", epochs=3, patience=3)
    output = tmp_path / "broken"
    with pytest.raises(Killed):
        finetune(config, data, output=output, epochs=3, patience=3, progress=killed_at(step))
    assert not output.exists()
    with pytest.raises(Killed):
        finetune(config, data, output=output, epochs=3, patience=3, progress=killed_at(6))
    seen: list[Standing] = []
    again = finetune(config, data, output=output, epochs=3, patience=3, progress=seen.append)
    assert seen[0].taken > 4
    assert written(output) == written(tmp_path / "unbroken")
    assert [one.validation for one in again.epochs] == [one.validation for one in unbroken.epochs]


def test_killed_between_a_judgement_and_its_checkpoint_it_judges_again(
    config: Config, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finetune(config, data, output=tmp_path / "unbroken", epochs=2)
    keep = "streamlearn.commands.finetuning.tuning._Tuning._keep"
    with monkeypatch.context() as patched:
        patched.setattr(keep, lambda _: killed_at(0)(None))
        with pytest.raises(Killed):
            finetune(config, data, output=tmp_path / "broken", epochs=2)
    finetune(config, data, output=tmp_path / "broken", epochs=2)
    assert written(tmp_path / "broken") == written(tmp_path / "unbroken")


def test_finished_the_same_command_tells_the_same_and_another_one_is_refused(
    config: Config, data: Path, tmp_path: Path
) -> None:
    output = tmp_path / "model"
    first = finetune(config, data, output=output, epochs=1)
    before = written(output)
    assert finetune(config, data, output=output, epochs=1) == first
    assert written(output) == before
    with pytest.raises(ConfigurationError, match="already exists, and was not made by this command"):
        finetune(config, data, output=output, epochs=2)
    (tmp_path / "other").mkdir()
    with pytest.raises(ConfigurationError, match="already exists"):
        finetune(config, data, output=tmp_path / "other")


def test_what_was_begun_with_other_data_or_settings_is_not_gone_on_with(
    tiny_model: Path, data: Path, tmp_path: Path
) -> None:
    often = ["publisher.checkpoints.every_steps=1"]
    with pytest.raises(Killed):
        finetune(tuned(tiny_model, *often), data, output=tmp_path / "model", progress=killed_at(3))
    with pytest.raises(ConfigurationError, match="was begun with other settings"):
        finetune(tuned(tiny_model, *often, "updater.seed=7"), data, output=tmp_path / "model")
    other = write(tmp_path / "other.jsonl", examples(160, seed=3))
    with pytest.raises(ConfigurationError, match="was begun with other data"):
        finetune(tuned(tiny_model, *often), other, output=tmp_path / "model")


def test_two_at_once_do_not_write_into_one_directory(config: Config, data: Path, tmp_path: Path) -> None:
    def begin_another(_: object) -> None:
        with pytest.raises(StateError, match="another process is fine-tuning into"):
            finetune(config, data, output=tmp_path / "model")
        raise Killed

    with pytest.raises(Killed):
        finetune(config, data, output=tmp_path / "model", progress=begin_another)


def test_it_ends_after_passes_that_were_no_better_and_keeps_the_best() -> None:
    course = Course(epochs=[epoch(1, 0.9), epoch(2, 0.5), epoch(3, 0.5)])
    assert course.best
    assert course.best.number == 2
    assert not course.over(most=5, patience=2)
    course.epochs.append(epoch(4, 0.6))
    assert course.over(most=5, patience=2)
    assert course.over(most=4, patience=9)
    assert not Course().over(most=1, patience=1)
    assert Course.load(json.loads(json.dumps(course.state()))) == course


def test_a_further_pass_moves_the_transformer_and_nothing_that_counts_or_remembers(config: Config) -> None:
    learner = Learner(config.model_copy(update={"events": config.events.model_copy(update={"holdout_ratio": 0.0})}))
    events = [make_event(number) for number in range(16)]
    for first in range(0, 16, 4):
        take_step(learner, events[first : first + 4])
    before = learner.updater.state()
    assert Rehearsal(learner).again(events[:8]) == 8
    after = learner.updater.state()
    moved = {name for name in before if flat(before[name]) != flat(after[name])}
    assert moved == {"transformer", "averaged", "steps"}
    assert learner.step == 5


def test_a_text_that_overflows_costs_itself_alone_in_a_further_pass_too(
    overflowing_model: Path,
) -> None:
    config = tuned(overflowing_model, "updater.experts=[transformer, averaged, naive_bayes]")
    learner = Learner(config)
    events = [make_event(number, text=f"late {WORDS[number]}") for number in range(8)]
    take_step(learner, events[:4])
    take_step(learner, events[4:])
    bad = make_event(9, label="label-0", text=f"late {OVERFLOWING}")
    same = Learner(config)
    same.load(learner.state())
    assert Rehearsal(learner).again([*events[:3], bad, *events[3:6]]) == 6
    assert Rehearsal(same).again(events[:6]) == 6
    assert flat(learner.updater.state()) == flat(same.updater.state())
    assert Rehearsal(learner).again([bad]) == 0


def test_judging_lets_the_pool_follow_and_no_expert_learn(config: Config) -> None:
    learner = Learner(config)
    for first in range(0, 40, 4):
        take_step(learner, [make_event(number) for number in range(first, first + 4)])
    rehearsal, held_out = Rehearsal(learner), [make_event(number) for number in range(100, 130)]
    before = learner.updater.state()
    fixed = rehearsal.judge(held_out)
    assert flat(learner.updater.state()) == flat(before)
    pooling = rehearsal.pooling()
    followed = rehearsal.judge([*held_out, make_event(9, label="met never")], pooling=pooling)
    assert followed[:4] == fixed[:4]  # each is predicted before it is followed
    assert followed[4:30] != fixed[4:]
    assert followed[30].loss == pytest.approx(27.6)
    after = learner.updater.state()
    assert {name for name in before if flat(before[name]) != flat(after[name])} == {"pool"}
    assert rehearsal.judge(held_out, pooling=pooling) == followed[:30]  # and from the same beginning each time


def test_texts_are_held_out_by_the_hash_of_the_stream(config: Config, data: Path) -> None:
    found = read(config, data, None, None)
    assert found.validation
    assert found.test
    draft = Learner(config).draft()
    assert {draft.admit(event).value for event in (*found.validation, *found.test)} == {"held_out"}
    assert {draft.admit(event).value for event in found.train} == {"trained"}
    assert [event.offset for event in found.train] == list(range(len(found.train)))
    with_test = read(config, data, None, data)
    assert len(with_test.validation) == len(found.validation) + len(found.test)
    assert len(read(config, data, data, None).train) == 160


def test_tables_and_lines_of_the_same_examples_are_the_same(config: Config, data: Path, tmp_path: Path) -> None:
    table = tmp_path / "train.csv"
    with table.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, ["label", "text", "beside"])
        writer.writeheader()
        writer.writerows({**row, "beside": 'a "b",\n'} for row in examples(160))
    assert read(config, table, None, None).digest() == read(config, data, None, None).digest()


def test_what_a_table_writes_as_integers_are_integers_where_all_are(config: Config, tmp_path: Path) -> None:
    def labels(*written: str) -> set[object]:
        rows = [f"{row['text']},{written[number % len(written)]}" for number, row in enumerate(examples(60))]
        path = tmp_path / "t.csv"
        path.write_text("\n".join(["text,label", *rows]))
        return {event.label for event in read(config, path, path, None).train}

    assert labels("0", "-1") == {0, -1}
    assert labels("0", "x") == {"0", "x"}
    assert labels("01", "1") == {"01", "1"}


def test_parquet_needs_a_package_and_says_so(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "train.parquet"
    path.write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigurationError, match=r"train.parquet takes the package pyarrow: pip install pyarrow"):
        read(config, path, None, None)


def test_parquet_is_read_where_the_package_is_there(config: Config, data: Path, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.Table.from_pylist(examples(160)), tmp_path / "train.parquet")
    assert read(config, tmp_path / "train.parquet", None, None).digest() == read(config, data, None, None).digest()
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    with pytest.raises(ConfigurationError, match="cannot read"):
        read(config, tmp_path / "bad.parquet", None, None)


def test_a_saved_data_set_of_the_same_examples_is_the_same(config: Config, data: Path, tmp_path: Path) -> None:
    rows, saved = examples(160), tmp_path / "saved"
    classes = datasets.ClassLabel(names=["label-2", "label-1", "label-0"])
    named = datasets.Dataset.from_list(rows).cast_column("label", classes)
    assert set(named["label"]) == {0, 1, 2}
    named.save_to_disk(saved, num_shards=3)
    same = read(config, data, None, data).digest()
    assert read(config, saved, None, saved).digest() == same
    datasets.Dataset.from_list(rows).to_json(tmp_path / "by_datasets.jsonl")
    assert read(config, tmp_path / "by_datasets.jsonl", None, saved).digest() == same


@pytest.mark.parametrize(
    ("names", "listed", "learnt"),
    [
        (["no", "yes"], "discover", {"no", "yes"}),
        (["1", "5"], "discover", {1, 5}),
        (["1", "5"], ["1", "5"], {"1", "5"}),
        (["5", "1"], [1, 5], {1, 5}),
        (["-0", "0"], "discover", {"-0", "0"}),
    ],
)
def test_a_class_is_what_its_name_says(
    config: Config, tmp_path: Path, names: list[str], listed: Any, learnt: set[Label]
) -> None:
    rows = [{"text": row["text"], "label": number % 3 - 1} for number, row in enumerate(examples(60))]
    features = datasets.Features(text=datasets.Value("string"), label=datasets.ClassLabel(names=names))
    datasets.Dataset.from_list(rows, features=features).save_to_disk(tmp_path / "saved")
    found = read(with_events(config, labels=listed), tmp_path / "saved", tmp_path / "saved", None)
    assert {event.label for event in found.train} == learnt
    assert found.refused == {"missing_field": 40}  # the class −1 is none
    as_listed = [str(names[number % 3 - 1]) for number in range(60) if number % 3]
    assert [str(event.label) for event in found.train] == as_listed


@pytest.mark.parametrize("place", ["p.label", "p.several[0]", "p.label || p.several[1]"])
def test_a_class_within_others_is_given_by_its_name_too(config: Config, tmp_path: Path, place: str) -> None:
    rows = [{"p": row | {"several": [row["label"], "label-0"]}} for row in examples(160)]
    classes = datasets.ClassLabel(names=["label-2", "label-1", "label-0"])
    within = {"text": datasets.Value("string"), "label": classes, "several": datasets.List(classes)}
    datasets.Dataset.from_list(rows, features=datasets.Features(p=within)).save_to_disk(tmp_path / "saved")
    fields = Fields(text="p.text", label=place)
    found = read(with_events(config, fields=fields), tmp_path / "saved", None, None)
    assert found.digest() == read(config, write(tmp_path / "d.jsonl", examples(160)), None, None).digest()


def test_bytes_are_texts_and_other_columns_are_not_looked_at(config: Config, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    times = pyarrow.array([10**18 + n for n in range(160)], pyarrow.timestamp("ns"))
    beyond = pyarrow.array([2**62] * 160, pyarrow.timestamp("us"))
    texts = [row["text"].encode() for row in examples(160)]
    labels = [row["label"].encode() for row in examples(160)]
    table = pyarrow.table({"text": [*texts[:-1], b"\xff"], "label": labels, "timestamp": times, "a.b": beyond})
    parquet.write_table(table, tmp_path / "t.parquet")
    datasets.Dataset(table.replace_schema_metadata()).save_to_disk(tmp_path / "saved")
    found = [read(config, tmp_path / name, None, None) for name in ("t.parquet", "saved")]
    assert found[0].digest() == found[1].digest()
    assert found[0].refused == {"missing_field": 1}
    assert found[0].train[0].text == texts[0].decode()
    assert found[0].train[0].timestamp == 10**9
    fields = Fields(text="text", label="label", id='"a.b"')
    with pytest.raises(ConfigurationError, match=r"cannot read .*t\.parquet: "):
        read(with_events(config, fields=fields), tmp_path / "t.parquet", None, None)


def test_other_directories_are_refused_in_a_sentence(
    config: Config, tmp_path: Path, saved: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = datasets.Dataset.from_list(examples(60))
    datasets.DatasetDict(train=one, test=one).save_to_disk(tmp_path / "both")
    (tmp_path / "plain").mkdir()
    one.select([]).save_to_disk(tmp_path / "empty")
    one.rename_column("label", "class").save_to_disk(tmp_path / "renamed")
    one.save_to_disk(tmp_path / "a::b")
    shard = "data-00000-of-00001.arrow"
    restore(saved, tmp_path / "half", **{shard: b""})
    restore(saved, tmp_path / "cut", **{shard: saved[shard][:-8]})
    restore(saved, tmp_path / "info", **{"dataset_info.json": b"[]"})
    for name, said in (
        ("both", r"both may hold several data sets: name one of them \(.*both/train, .*both/test\)"),
        ("plain", "plain: it is a directory, but not one that Dataset.save_to_disk wrote"),
        ("empty", "empty holds no example that can be learnt$"),
        ("half", r"cannot read .*half/data.*\.arrow: it is cut off"),
        ("cut", r"cannot read .*cut/data.*\.arrow: it is cut off"),
        ("info", r"cannot read .*info as a data set of the package datasets \(\w+: "),
        ("renamed", r"renamed has no column 'label' \(there: text, class\); events.fields.label names"),
        ("a::b", "cannot read .*a::b: the package datasets takes '::' in a path for something else"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            read(config, tmp_path / name, None, None)
    assert read(config, tmp_path / "both" / "train", None, tmp_path / "both" / "test").test
    assert shown_name(tmp_path / "both" / "train") == "both/train"
    monkeypatch.chdir(tmp_path / "renamed")
    assert shown_name(Path()) == "renamed"
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ConfigurationError, match=r"renamed takes the package datasets: pip install datasets"):
        read(config, tmp_path / "renamed", None, None)


def test_an_offset_that_leads_out_of_a_shard_is_refused_before_it_is_followed(
    saved: dict[str, bytes], tmp_path: Path
) -> None:
    shard = "data-00000-of-00001.arrow"
    ends = [len(examples(60)[0]["text"]), len(examples(60)[0]["text"]) + len(examples(60)[1]["text"])]
    offsets, held = struct.pack("<3i", 0, *ends), saved[shard]
    at = held.index(offsets)
    restore(saved, tmp_path / "bad", **{shard: held[: at + 4] + struct.pack("<i", 2**31 - 2) + held[at + 8 :]})
    code = "from streamlearn.commands.finetuning.files import *; list(values(Path(sys.argv[1]), Fields(), kind=None))"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {code}", tmp_path / "bad"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.returncode  # and not by a signal
    assert "ConfigurationError: cannot read" in done.stderr


@given(position=st.integers(0, 10**4), byte=st.integers(0, 255), cut=st.booleans(), file=st.sampled_from(SAVED))
@settings(max_examples=100)
def test_a_damaged_data_set_is_read_or_refused_in_a_sentence(
    saved: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory, position: int, byte: int, cut: bool, file: str
) -> None:
    held = saved[file]
    position %= len(held)
    damaged = held[:position] + (b"" if cut else bytes([byte]) + held[position + 1 :])
    directory = restore(saved, tmp_path_factory.mktemp("damaged") / "set", **{file: damaged})
    with contextlib.suppress(ConfigurationError):
        assert len(list(values(directory, Fields(), kind=None))) <= 60


def test_what_is_no_example_is_counted_and_what_is_odd_is_said(
    config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [*examples(60), {"text": " ", "label": "label-0"}, {"text": "late"}, {"text": "late", "label": 7}]
    rows += [{"text": f"late {n}", "label": "label-1", "id": "same"} for n in range(3)]
    data = write(tmp_path / "d.jsonl", rows)
    held_out = write(
        tmp_path / "v.jsonl", [*examples(30)[20:], {"text": "new", "label": "x"}, {"text": "n", "label": 1}]
    )
    found: Examples = read(config, data, held_out, None)
    assert found.refused == {"empty_text": 1, "missing_field": 1, "label_type": 2}
    assert found.duplicates == 2
    assert "v.jsonl has labels that no training example has, which count as wrong: x" in caplog.text
    assert "10 texts of v.jsonl are also in the training data" in caplog.text
    assert "not all of v.jsonl is predicted and judged: 1 label_type (labels are of one type" in caplog.text
    numbered = write(tmp_path / "n.jsonl", [{"text": "new", "label": 1}, {"text": "x"}])
    for files in ((numbered, None), (None, numbered)):
        with pytest.raises(ConfigurationError, match=r"n\.jsonl holds no example .* judged: 1 label_type, 1 missing"):
            read(config, data, *files)


def test_one_pass_is_enough_where_nothing_gains_from_another(tiny_model: Path, data: Path, tmp_path: Path) -> None:
    config = tuned(tiny_model, "updater.experts=[naive_bayes, softmax]")
    found = finetune(config, data, output=tmp_path / "model")
    assert len(found.epochs) == 1
    assert found.transformer_test_accuracy is None
    assert sorted(library.load(tmp_path / "model").labels) == ["label-0", "label-1", "label-2"]


def test_a_learner_goes_on_from_it_with_its_own_bits(config: Config, data: Path, tmp_path: Path) -> None:
    finetune(config, data, output=tmp_path / "model", epochs=2)
    overrides = ["updater.experts=[transformer, averaged, naive_bayes, long_memory, frozen_least_squares]"]
    warm = Learner(configured(tmp_path / "model", *overrides))
    assert isinstance(warm.updater, Updater)
    texts = [row["text"] for row in examples(12, seed=5)]
    events = warm.updater.encode([make_event(n, text=text) for n, text in enumerate(texts)])
    found = warm.updater.log_probabilities(events).exp().float().tolist()
    assert found == library.load(tmp_path / "model").predict(texts)[1].tolist()
    assert warm.updater.warm_from == json.loads((tmp_path / "model" / "streamlearn.json").read_text())["step"]


def test_what_starts_from_a_snapshot_is_judged_before_it_learns(config: Config, data: Path, tmp_path: Path) -> None:
    test = write(tmp_path / "test.jsonl", examples(60, seed=1))
    first = finetune(config, data, output=tmp_path / "model", test=test, epochs=1)
    assert first.before is None  # it had no labels
    further = finetune(
        tuned(tmp_path / "model", "updater.regularizer=l2"), data, output=tmp_path / "other", validation=test, epochs=1
    )
    assert further.before == first.test
    card = (tmp_path / "other" / "README.md").read_text()
    assert f"| validation, before | 60 | {first.test.accuracy:.4f} |" in card
    assert "| `updater.regularizer` | l2 |" in card


@pytest.mark.parametrize(
    ("data", "validation", "overrides", "said"),
    [
        ("no/such/file", None, [], r"cannot read .*no/such/file: No such file or directory"),
        ("d.jsonl", "", [], r"cannot read .*: it is a directory, but not one that Dataset.save_to_disk wrote"),
        ("d.jsonl", None, ["events.holdout_ratio=0"], "no text is held out to choose the epoch by"),
        ("d.jsonl", None, ["events.fields.text=body"], "holds no example that can be learnt: 9 missing_field"),
        ("t.csv", None, [], r"has no column 'label' \(there: text, class\); events.fields.label names the one"),
        ("s.csv", None, [], "has several columns 'text', the text"),
        ("l.csv", None, [], "it is not UTF-8"),
        ("d.jsonl", "empty.jsonl", [], "empty.jsonl holds no example that can be predicted and judged"),
    ],
)
def test_a_mistake_is_one_sentence(
    tiny_model: Path, tmp_path: Path, data: str, validation: str | None, overrides: list[str], said: str
) -> None:
    write(tmp_path / "d.jsonl", examples(9))
    write(tmp_path / "empty.jsonl", [])
    (tmp_path / "t.csv").write_text("text,class\na,b\n")
    (tmp_path / "s.csv").write_text("text,label,text\na,b,c\n")
    (tmp_path / "l.csv").write_bytes(b"text,label\n\xff,b\n")
    other = None if validation is None else tmp_path / validation
    with pytest.raises(ConfigurationError, match=said):
        read(tuned(tiny_model, *overrides), tmp_path / data, other, None)


def test_where_nothing_can_be_learnt_that_is_said(overflowing_model: Path, tmp_path: Path) -> None:
    data = write(tmp_path / "d.jsonl", [{"text": f"{OVERFLOWING} {n}", "label": f"l{n % 2}"} for n in range(40)])
    config = tuned(overflowing_model, "updater.experts=[transformer]")
    with pytest.raises(StreamlearnError, match=r"none of the .* examples could be learnt|predict"):
        finetune(config, data, output=tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_the_command_says_what_it_came_to_in_words_and_as_json(tiny_model: Path, data: Path, tmp_path: Path) -> None:
    common = ["finetune", f"--data={data}", f"--set=updater.model={tiny_model}", "--epochs=1"]
    chosen = "--set=updater.experts=[transformer, naive_bayes]"
    done = streamlearn(*common, f"--output={tmp_path / 'm'}", chosen)
    assert done.returncode == 0, done.stderr
    assert "epoch 1: validation accuracy " in done.stderr
    assert "test accuracy " in done.stdout
    found = json.loads(streamlearn(*common, f"--output={tmp_path / 'm'}", chosen, "--json").stdout)
    wrong = streamlearn("finetune", "--data=/no/such/file", f"--output={tmp_path / 'n'}")
    assert wrong.returncode == 2
    assert wrong.stderr == "streamlearn: cannot read /no/such/file: No such file or directory\n"
    assert found["train"] + found["validation"]["events"] + found["test"]["events"] == 160
    assert found["chosen"] == 1


@pytest.mark.parametrize(("stream", "erased"), [(Terminal(), "\r\x1b[K"), (io.StringIO(), "")])
def test_progress_is_one_line_on_a_terminal_and_lines_elsewhere(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, erased: str
) -> None:
    now = [0.0]
    monkeypatch.setattr(sys, "stderr", stream)
    progress = Progress(clock=lambda: now[0])
    progress(Standing(1, 5, 4, 8))
    now[0] = 10.0
    progress(Standing(1, 5, 8, 8))
    progress.passed(epoch(1, 0.25))
    begin, end = ("\r", "\x1b[K") if erased else ("", "\n")
    assert stream.getvalue() == (
        f"{begin}epoch 1 of at most 5: 8 of 8 examples{end}{erased}"
        "epoch 1: validation accuracy 0.5000, log loss 0.2500 (10 examples), 1 s\n"
    )
