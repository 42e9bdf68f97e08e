"""The streams on which learners are compared: nothing stands twice, parts end where they should, files are read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.streams import CHARACTERS, Stream, from_file, make_stream, micro_batches
from streamlearn.errors import ConfigurationError
from streamlearn.local.data import Part


def test_a_text_stands_once_in_its_stream_and_each_part_has_its_size() -> None:
    long = "a" * CHARACTERS
    parts = [
        Part("A", [("one", "x"), ("one", "x"), ("two", "y"), ("three", "x")]),
        Part("B", [("two", "y"), (long + "b", "x"), (long + "c", "x"), ("four", "y")]),
    ]
    stream = make_stream("s", parts, [2, 2])
    assert stream.texts == ["one", "two", long, "four"]
    assert stream.labels == ["x", "y", "x", "y"]
    assert (stream.begins, stream.ends, stream.classes) == ([0, 2], [2, 4], ["x", "y"])


def test_a_part_with_too_few_different_texts_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="part 'A' has 1 different texts, fewer than 2"):
        make_stream("s", [Part("A", [("one", "x"), ("one", "y")])], [2])


@pytest.mark.parametrize(
    ("parts", "returns"), [(["A", "B", "A"], [2]), (["A", "B", "C"], []), (["all"], []), (["A", "B", "A", "B"], [2, 3])]
)
def test_a_part_returns_whose_name_has_been_there(parts: list[str], returns: list[int]) -> None:
    assert Stream("s", [], [], parts, [0] * len(parts)).returns == returns


def test_a_file_is_read_in_its_order_with_its_parts(tmp_path: Path) -> None:
    path = tmp_path / "tickets.jsonl"
    lines = [("one", "x", "A"), ("two", 1, "A"), ("one", "x", "B"), ("four", "x", "A")]
    path.write_text("\n".join(json.dumps({"text": t, "label": label, "part": p}) for t, label, p in lines) + "\n\n")
    stream = from_file(path)
    assert (stream.name, stream.parts, stream.ends, stream.returns) == ("tickets", ["A", "B", "A"], [2, 3, 4], [2])
    assert stream.labels == ["x", "1", "x", "x"]
    assert from_file(path, 0.5).texts == ["one", "one", "four"]


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"text": "one"}', '{"text": 1, "label": "x"}', '{"text": "a", "label": []}']
)
def test_a_line_that_is_no_event_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "tickets.jsonl"
    path.write_text('{"text": "one", "label": "x"}\n' + line)
    with pytest.raises(ConfigurationError, match=r"^line 2 of .*tickets\.jsonl"):
        from_file(path)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "none.jsonl").write_text("\n")
    with pytest.raises(ConfigurationError, match="holds no event"):
        from_file(tmp_path / "none.jsonl")


@pytest.mark.parametrize(("events", "found"), [(0, []), (3, [(0, 3)]), (4, [(0, 4)]), (6, [(0, 4), (4, 6)])])
def test_micro_batches_cover_the_stream(events: int, found: list[tuple[int, int]]) -> None:
    assert list(micro_batches(events, 4)) == found
