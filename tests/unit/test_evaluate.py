"""The evaluation of a file, with the tiny model: what it measures, and what it does with lines that are no events."""

from __future__ import annotations

import io
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamlearn.cli.evaluate import Progress
from streamlearn.commands import lines as lines_of
from streamlearn.commands.curve import WINDOW, rolling
from streamlearn.commands.evaluate import evaluate
from streamlearn.commands.measures import Meter
from streamlearn.commands.tally import ExpertCourse, Tally
from streamlearn.errors import StreamlearnError
from streamlearn.events import Label, Outcome
from streamlearn.learner import Learner
from streamlearn.local.tiny import WORDS
from streamlearn.reports import ExpertReport, MicroBatch, StepReport, StepResult
from tests.conftest import OVERFLOWING, streamlearn, without
from tests.unit.builders import Terminal, make_event
from tests.unit.conftest import MakeConfig
from tests.unit.test_learner import admitted, learn

ALL = ("events.holdout_ratio=0", "updater.dropout=0.1")


def line(number: int, **fields: Any) -> bytes:
    event = make_event(number)
    return json.dumps({"text": event.text, "label": event.label} | fields).encode() + b"\n"


def file_of(*lines: bytes) -> io.BytesIO:
    return io.BytesIO(b"".join(lines))


def measured(*pairs: tuple[Label, Label | None], confidence: float = 0.5, loss: float = 1.0) -> Meter:
    meter = Meter()
    for label, predicted in pairs:
        meter.add(label, predicted, confidence, loss)
    return meter


def test_measures_are_those_of_the_textbook() -> None:
    pairs = [("a", "a"), ("a", "a"), ("a", "b"), ("b", "a"), ("b", "b"), ("c", "a"), ("c", "c"), ("c", "c")]
    found = measured(*pairs).measures()
    assert found.events == 8
    assert found.accuracy == pytest.approx(5 / 8)
    assert found.recall == {"a": pytest.approx(2 / 3), "b": pytest.approx(1 / 2), "c": pytest.approx(2 / 3)}
    f1 = [2 * 0.5 * (2 / 3) / (0.5 + 2 / 3), 0.5, 2 * 1.0 * (2 / 3) / (1.0 + 2 / 3)]
    assert found.macro_f1 == pytest.approx(sum(f1) / 3)
    chance = (3 * 4 + 2 * 2 + 3 * 2) / 64
    assert found.kappa == pytest.approx((5 / 8 - chance) / (1 - chance))
    assert found.log_loss == 1.0


def test_an_event_for_which_no_label_was_known_is_wrong_and_no_label_of_its_own() -> None:
    found = measured((1, None), (1, 1), (2, 2), (2, None)).measures()
    assert found.accuracy == 0.5
    assert found.recall == {1: 0.5, 2: 0.5}
    assert found.macro_f1 == pytest.approx(2 / 3)
    assert found.calibration_error == pytest.approx(0.5)  # of the two that were predicted
    assert measured((1, None)).measures().calibration_error is None


def test_confidence_that_is_too_high_in_one_bin_and_too_low_in_another_is_an_error_in_both() -> None:
    meter = Meter()
    for correct, confidence in [(1, 1.0), (0, 1.0), (1, 0.5), (1, 0.5)]:
        meter.add("a", "a" if correct else "b", confidence, 0.0)
    assert meter.measures().calibration_error == pytest.approx(0.5)


def test_what_it_measures_is_what_the_learner_did_in_the_same_micro_batches(make_config: MakeConfig) -> None:
    config = make_config(*ALL)
    found, tally = evaluate(config, file_of(*map(line, range(42))))
    learner, correct, losses = Learner(config), list[bool](), list[float]()
    for first in range(0, 42, 4):
        result = learn(learner, admitted(learner, *map(make_event, range(first, min(first + 4, 42))))).result
        assert result is not None
        correct += result.correct.tolist()
        losses += result.losses.tolist()
    assert [bool(hit) for hit in tally.correct] == correct
    assert tally.losses.tolist() == losses
    assert found.whole.accuracy == pytest.approx(np.mean(correct))
    assert found.whole.log_loss == pytest.approx(np.mean(losses))
    assert found.outcomes == {"trained": 42}


def test_each_part_is_measured_apart_and_the_lines_that_name_none_count_in_the_whole(make_config: MakeConfig) -> None:
    parts = ["one"] * 9 + [None] * 2 + [2] * 10 + ["one"] * 5
    seen: list[tuple[int, int]] = []
    found, tally = evaluate(
        make_config(*ALL),
        file_of(*(line(number, part=part) for number, part in enumerate(parts))),
        progress=lambda tally: seen.append((tally.lines, tally.whole.events)),
    )
    assert found.whole.events == 26
    assert {name: measures.events for name, measures in found.parts.items()} == {"one": 14, "2": 10}
    assert tally.begins == [(0, "one"), (9, ""), (11, "2"), (21, "one")]
    assert seen == [(n, n) for n in [*range(4, 26, 4), 26]]
    one = [*tally.correct[:9], *tally.correct[21:]]
    assert found.parts["one"].accuracy == pytest.approx(np.mean(one))


def test_lines_that_are_no_events_are_counted_by_reason_and_stop_nothing(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines_of, "LONGEST_LINE", 200)
    bad = [
        b"no json\n",
        b"  \r\n",
        b'{"text": "a"}\n',
        b'{"text": " ", "label": "a"}\n',
        b'{"text": "a", "label": "a", "part": [1]}\n',
        b'{"text": "a", "label": 7}\n',
        b'{"text": "\xff", "label": "a"}\n',
        b'{"text": "' + b"x" * 1000 + b'", "label": "a"}\n',
        line(5, id="again"),
        line(6, id="again"),
        b'{"text": "last", "label": "label-0"}',
    ]
    found, _ = evaluate(make_config("events.holdout_ratio=0"), file_of(*map(line, range(5)), *bad))
    assert found.outcomes == {"trained": 7, "dead_letter": 7, "duplicate": 1}
    reasons = "not_json", "missing_field", "empty_text", "wrong_type", "label_type", "not_utf8", "record_too_large"
    assert found.reasons == dict.fromkeys(reasons, 1)
    assert found.lines == 15


def test_a_text_that_the_model_refuses_is_counted_too(make_config: MakeConfig, overflowing_model: Path) -> None:
    config = make_config(f"updater.model={overflowing_model}", "events.holdout_ratio=0")
    lines = [line(n, text=f"late {WORDS[n]}") for n in range(8)]
    found, _ = evaluate(config, file_of(*lines[:2], line(9, text=f"late {OVERFLOWING}"), *lines[2:]))
    assert found.outcomes == {"trained": 8, "dead_letter": 1}
    assert found.reasons == {"not_finite": 1}
    assert found.whole.events == 8


def test_fields_have_the_names_of_the_configuration_and_what_is_held_out_is_scored_in_the_end(
    make_config: MakeConfig,
) -> None:
    lines = [line(n).replace(b'"text"', b'"body"') for n in range(60)]
    found, _ = evaluate(make_config("events.fields.text=body", "events.holdout_ratio=0.3"), file_of(*lines))
    held_out = found.outcomes["held_out"]
    assert held_out > 5
    assert found.whole.events == 60 - held_out
    assert all(score is not None and 0.0 <= score <= 1.0 for score in found.hold_out.values())


@pytest.mark.parametrize(
    ("content", "said"), [(b"", "none of the 0 lines"), (b"x\ny\n{}\n", "2 not_json, 1 missing_f")]
)
def test_a_file_without_events_is_one_sentence(make_config: MakeConfig, content: bytes, said: str) -> None:
    with pytest.raises(StreamlearnError, match=said):
        evaluate(make_config(), io.BytesIO(content))


def test_experts_are_reported_with_their_mean_loss_and_how_often_they_were_left_out() -> None:
    tally = Tally()
    for count, loss, dropped in ((3, 1.0, {}), (1, 2.0, {"worse": "runaway"}), (2, 4.0, {"worse": "runaway"})):
        result = StepResult(
            correct=np.zeros(count, np.bool_),
            losses=np.ones(count, np.float32),
            loss=1.0,
            gradient_norm=1.0,
            learning_rate=1.0,
            predicted=[None] * count,
            confidences=np.zeros(count, np.float32),
            experts={"better": ExpertReport(weight=loss / 10, loss=loss)},
            dropped=dropped,
        )
        learnt = [make_event(n) for n in range(count)]
        tally.add(StepReport(1, MicroBatch(), Counter({Outcome.TRAINED: count}), [], result, learnt))
    assert tally.experts() == {
        "better": ExpertCourse(log_loss=pytest.approx((3 + 2 + 8) / 6), weight=0.4, left_out={}),
        "worse": ExpertCourse(log_loss=None, weight=None, left_out={"runaway": 2}),
    }


def test_a_rolling_mean_begins_with_what_there_is() -> None:
    values = [1.0, 0.0, 1.0] + [0.5] * (2 * WINDOW)
    found = rolling(values)
    assert found[:3].tolist() == [1.0, 0.5, pytest.approx(2 / 3)]
    assert found[-1] == pytest.approx(0.5)
    assert len(found) == len(values)


@pytest.mark.parametrize(("stream", "erased"), [(Terminal(), "\r\x1b[K"), (io.StringIO(), "")])
def test_progress_is_one_line_on_a_terminal_and_lines_elsewhere(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, erased: str
) -> None:
    now = [0.0]
    monkeypatch.setattr(sys, "stderr", stream)
    progress, tally = Progress(clock=lambda: now[0]), Tally()
    progress(tally)
    for number, part in enumerate(["one", "one", "two"], 1):
        meter = tally.parts.setdefault(part, Meter())
        for each in (tally.whole, meter):
            each.add("a", "a" if number > 1 else "b", 1.0, 0.5)
        tally.correct.append(number > 1)
        tally.lines, now[0] = number, now[0] + 10.0
        progress(tally)
    progress.clear()
    begin, end = ("\r", "\x1b[K") if erased else ("", "\n")
    assert stream.getvalue() == (
        f"{begin}1 lines, accuracy 0.000 over the last 1, 0 events/s{end}"
        f"{begin}2 lines, accuracy 0.500 over the last 2, 0 events/s{end}"
        f"{erased}part one: 2 events, accuracy 0.500, log loss 0.500\n"
        f"{begin}3 lines, accuracy 0.667 over the last 3, 0 events/s{end}{erased}"
    )


def test_the_command_prints_measures_and_draws_whatever_a_part_is_called(tiny_model: Path, tmp_path: Path) -> None:
    data, picture = tmp_path / "events.jsonl", tmp_path / "events.svg"
    hostile = "a $\\frac{ \x1b[2J part"
    data.write_bytes(b"".join(line(n, part="one" if n < 20 else hostile) for n in range(40)) + b"bad\n")
    common = ["evaluate", f"--data={data}", f"--set=updater.model={tiny_model}", "--set=updater.micro_batch=4"]
    done = streamlearn(*common, f"--plot={picture}")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    first, *rows = done.stdout.splitlines()
    assert first.startswith("41 lines: ")
    assert first.endswith("1 dead letter (1 not_json)")
    assert [row.split()[0] for row in rows[1:4]] == ["all", "part", "part"]
    assert any(row.startswith("recall: label-0 ") for row in rows)
    assert [line for line in done.stderr.splitlines() if line.startswith("part one: 1")]
    assert picture.read_text().startswith("<?xml")
    found = json.loads(streamlearn(*common, "--json").stdout)
    assert found["lines"] == 41
    assert list(found["parts"]) == ["one", hostile]
    assert found["whole"]["recall"].keys() == {"label-0", "label-1", "label-2"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data=/no/such/file"], "cannot read /no/such/file: No such file or directory"),
        (["--data=/tmp"], "cannot read /tmp: Is a directory"),
        ([], "Missing option '--data'"),
        (["--data={data}", "--plot=/no/such/place.png"], "there is no directory /no/such"),
        (["--data={data}", "--plot=picture.docx"], "the name must end in the name of a format"),
        (["--data={data}", "--set=updater.modl=x"], "unknown key 'updater.modl'"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(arguments: list[str], said: str, tmp_path: Path) -> None:
    data = tmp_path / "events.jsonl"
    data.write_bytes(line(1))
    done = streamlearn("evaluate", *(argument.format(data=data) for argument in arguments))
    assert done.returncode == 2
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith("streamlearn: ")
    assert said in sentence


def test_without_matplotlib_a_plot_names_what_brings_it(tmp_path: Path) -> None:
    data = tmp_path / "events.jsonl"
    data.write_bytes(line(1))
    done = without(tmp_path, ["matplotlib"], "evaluate", f"--data={data}", "--plot=x.png")
    assert done.returncode == 2
    assert done.stderr == "streamlearn: --plot needs matplotlib; pip install 'streamlearn[demo]' brings it\n"


def test_a_file_in_which_nothing_can_be_learnt_ends_with_1(tiny_model: Path, tmp_path: Path) -> None:
    data = tmp_path / "events.jsonl"
    data.write_bytes(b"bad\n")
    done = streamlearn("evaluate", f"--data={data}", f"--set=updater.model={tiny_model}")
    assert done.returncode == 1
    assert "none of the 1 lines is an event that could be learnt: 1 not_json" in done.stderr.splitlines()[-1]
