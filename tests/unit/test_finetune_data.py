"""What a fine-tuning learns from: files of lines, tables, and data sets that the package datasets saved."""

from __future__ import annotations

import contextlib
import csv
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from streamlearn.commands.finetuning.examples import Examples, read
from streamlearn.commands.finetuning.files import shown_name, values
from streamlearn.config import Config, Fields
from streamlearn.errors import ConfigurationError
from streamlearn.events import Label
from streamlearn.learner import Learner
from tests.unit.labelled import examples, tuned, write

SHARD = "data-00000-of-00001.arrow"
SAVED = SHARD, "dataset_info.json", "state.json"


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


def test_texts_are_held_out_by_the_hash_of_the_stream(tuned_config: Config, labelled_file: Path) -> None:
    found = read(tuned_config, labelled_file, None, None)
    assert found.validation
    assert found.test
    draft = Learner(tuned_config).draft()
    assert {draft.admit(event).value for event in (*found.validation, *found.test)} == {"held_out"}
    assert {draft.admit(event).value for event in found.train} == {"trained"}
    assert [event.offset for event in found.train] == list(range(len(found.train)))
    with_test = read(tuned_config, labelled_file, None, labelled_file)
    assert len(with_test.validation) == len(found.validation) + len(found.test)
    assert len(read(tuned_config, labelled_file, labelled_file, None).train) == 160


def test_tables_and_lines_of_the_same_examples_are_the_same(
    tuned_config: Config, labelled_file: Path, tmp_path: Path
) -> None:
    table = tmp_path / "train.csv"
    with table.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, ["label", "text", "beside"])
        writer.writeheader()
        writer.writerows({**row, "beside": 'a "b",\n'} for row in examples(160))
    assert read(tuned_config, table, None, None).digest() == read(tuned_config, labelled_file, None, None).digest()


def test_what_a_table_writes_as_integers_are_integers_where_all_are(tuned_config: Config, tmp_path: Path) -> None:
    def labels(*written: str) -> set[object]:
        rows = [f"{row['text']},{written[number % len(written)]}" for number, row in enumerate(examples(60))]
        path = tmp_path / "t.csv"
        path.write_text("\n".join(["text,label", *rows]))
        return {event.label for event in read(tuned_config, path, path, None).train}

    assert labels("0", "-1") == {0, -1}
    assert labels("0", "x") == {"0", "x"}
    assert labels("01", "1") == {"01", "1"}


def test_parquet_needs_a_package_and_says_so(
    tuned_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "train.parquet"
    path.write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigurationError, match=r"train.parquet takes the package pyarrow: pip install pyarrow"):
        read(tuned_config, path, None, None)


def test_parquet_is_read_where_the_package_is_there(tuned_config: Config, labelled_file: Path, tmp_path: Path) -> None:
    parquet.write_table(pa.Table.from_pylist(examples(160)), tmp_path / "train.parquet")
    assert (
        read(tuned_config, tmp_path / "train.parquet", None, None).digest()
        == read(tuned_config, labelled_file, None, None).digest()
    )
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    with pytest.raises(ConfigurationError, match="cannot read"):
        read(tuned_config, tmp_path / "bad.parquet", None, None)


def test_a_saved_data_set_of_the_same_examples_is_the_same(
    tuned_config: Config, labelled_file: Path, tmp_path: Path
) -> None:
    rows, saved = examples(160), tmp_path / "saved"
    classes = datasets.ClassLabel(names=["label-2", "label-1", "label-0"])
    named = datasets.Dataset.from_list(rows).cast_column("label", classes)
    assert set(named["label"]) == {0, 1, 2}
    named.save_to_disk(saved, num_shards=3)
    same = read(tuned_config, labelled_file, None, labelled_file).digest()
    assert read(tuned_config, saved, None, saved).digest() == same
    datasets.Dataset.from_list(rows).to_json(tmp_path / "by_datasets.jsonl")
    assert read(tuned_config, tmp_path / "by_datasets.jsonl", None, saved).digest() == same


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
    tuned_config: Config, tmp_path: Path, names: list[str], listed: Any, learnt: set[Label]
) -> None:
    rows = [{"text": row["text"], "label": number % 3 - 1} for number, row in enumerate(examples(60))]
    features = datasets.Features(text=datasets.Value("string"), label=datasets.ClassLabel(names=names))
    datasets.Dataset.from_list(rows, features=features).save_to_disk(tmp_path / "saved")
    found = read(with_events(tuned_config, labels=listed), tmp_path / "saved", tmp_path / "saved", None)
    assert {event.label for event in found.train} == learnt
    assert found.refused == {"missing_field": 40}  # the class −1 is none
    as_listed = [str(names[number % 3 - 1]) for number in range(60) if number % 3]
    assert [str(event.label) for event in found.train] == as_listed


@pytest.mark.parametrize("place", ["p.label", "p.several[0]", "p.label || p.several[1]"])
def test_a_class_within_others_is_given_by_its_name_too(tuned_config: Config, tmp_path: Path, place: str) -> None:
    rows = [{"p": row | {"several": [row["label"], "label-0"]}} for row in examples(160)]
    classes = datasets.ClassLabel(names=["label-2", "label-1", "label-0"])
    within = {"text": datasets.Value("string"), "label": classes, "several": datasets.List(classes)}
    datasets.Dataset.from_list(rows, features=datasets.Features(p=within)).save_to_disk(tmp_path / "saved")
    fields = Fields(text="p.text", label=place)
    found = read(with_events(tuned_config, fields=fields), tmp_path / "saved", None, None)
    assert found.digest() == read(tuned_config, write(tmp_path / "d.jsonl", examples(160)), None, None).digest()


def test_bytes_are_texts_and_other_columns_are_not_looked_at(tuned_config: Config, tmp_path: Path) -> None:
    times = pa.array([10**18 + n for n in range(160)], pa.timestamp("ns"))
    beyond = pa.array([2**62] * 160, pa.timestamp("us"))
    texts = [row["text"].encode() for row in examples(160)]
    labels = [row["label"].encode() for row in examples(160)]
    table = pa.table({"text": [*texts[:-1], b"\xff"], "label": labels, "timestamp": times, "a.b": beyond})
    parquet.write_table(table, tmp_path / "t.parquet")
    datasets.Dataset(table.replace_schema_metadata()).save_to_disk(tmp_path / "saved")
    found = [read(tuned_config, tmp_path / name, None, None) for name in ("t.parquet", "saved")]
    assert found[0].digest() == found[1].digest()
    assert found[0].refused == {"missing_field": 1}
    assert found[0].train[0].text == texts[0].decode()
    assert found[0].train[0].timestamp == 10**9
    fields = Fields(id='"a.b"')
    with pytest.raises(ConfigurationError, match=r"cannot read .*t\.parquet: "):
        read(with_events(tuned_config, fields=fields), tmp_path / "t.parquet", None, None)


def test_other_directories_are_refused_in_a_sentence(
    tuned_config: Config, tmp_path: Path, saved: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = datasets.Dataset.from_list(examples(60))
    datasets.DatasetDict(train=one, test=one).save_to_disk(tmp_path / "both")
    (tmp_path / "plain").mkdir()
    one.select([]).save_to_disk(tmp_path / "empty")
    one.rename_column("label", "class").save_to_disk(tmp_path / "renamed")
    one.save_to_disk(tmp_path / "a::b")
    restore(saved, tmp_path / "half", **{SHARD: b""})
    restore(saved, tmp_path / "cut", **{SHARD: saved[SHARD][:-8]})
    restore(saved, tmp_path / "info", **{"dataset_info.json": b"[]"})
    for name, said in (
        ("both", r"both holds several splits: name one of them \(.*both/train, .*both/test\)"),
        ("plain", "plain: it is a directory, but not one that Dataset.save_to_disk wrote"),
        ("empty", "empty holds no example that can be learnt$"),
        ("half", r"cannot read .*half/data.*\.arrow: it is cut off"),
        ("cut", r"cannot read .*cut/data.*\.arrow: it is cut off"),
        ("info", r"cannot read .*info as a data set of the package datasets \(\w+: "),
        ("renamed", r"renamed has no column 'label' \(there: text, class\); events.fields.label names"),
        ("a::b", "cannot read .*a::b: the package datasets takes '::' in a path for something else"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            read(tuned_config, tmp_path / name, None, None)
    assert read(tuned_config, tmp_path / "both" / "train", None, tmp_path / "both" / "test").test
    assert shown_name(tmp_path / "both" / "train") == "both/train"
    monkeypatch.chdir(tmp_path / "a::b")
    assert shown_name(Path()) == "a::b"
    with pytest.raises(ConfigurationError, match="the package datasets takes '::' in a path"):
        read(tuned_config, Path(), None, None)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ConfigurationError, match=r"renamed takes the package datasets: pip install datasets"):
        read(tuned_config, tmp_path / "renamed", None, None)


def test_an_offset_that_leads_out_of_a_shard_is_refused_before_it_is_followed(
    saved: dict[str, bytes], tmp_path: Path
) -> None:
    ends = [len(examples(60)[0]["text"]), len(examples(60)[0]["text"]) + len(examples(60)[1]["text"])]
    offsets, held = struct.pack("<3i", 0, *ends), saved[SHARD]
    at = held.index(offsets)
    restore(saved, tmp_path / "bad", **{SHARD: held[: at + 4] + struct.pack("<i", 2**31 - 2) + held[at + 8 :]})
    code = """
import sys
from pathlib import Path
from streamlearn.commands.finetuning.files import values
from streamlearn.config import Fields
list(values(Path(sys.argv[1]), Fields(), kind=None))
"""
    command = [sys.executable, "-c", code, tmp_path / "bad"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
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
    tuned_config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [*examples(60), {"text": " ", "label": "label-0"}, {"text": "late"}, {"text": "late", "label": 7}]
    rows += [{"text": f"late {n}", "label": "label-1", "id": "same"} for n in range(3)]
    data = write(tmp_path / "d.jsonl", rows)
    held_out = write(
        tmp_path / "v.jsonl", [*examples(30)[20:], {"text": "new", "label": "x"}, {"text": "n", "label": 1}]
    )
    found: Examples = read(tuned_config, data, held_out, None)
    assert found.refused == {"empty_text": 1, "missing_field": 1, "label_type": 2}
    assert found.duplicates == 2
    assert "v.jsonl has labels that no training example has, which count as wrong: x" in caplog.text
    assert "10 texts of v.jsonl are also in the training data" in caplog.text
    assert "not all of v.jsonl is predicted and judged: 1 label_type (all labels are of one type" in caplog.text
    numbered = write(tmp_path / "n.jsonl", [{"text": "new", "label": 1}, {"text": "x"}])
    for files in ((numbered, None), (None, numbered)):
        with pytest.raises(ConfigurationError, match=r"n\.jsonl holds no example .* judged: 1 label_type, 1 missing"):
            read(tuned_config, data, *files)


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
