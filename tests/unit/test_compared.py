"""The table of a comparison: one set of columns for all rows, and only what can be compared."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from streamlearn.cli.compare import show
from streamlearn.commands.compare import Course, compare, open_journal
from streamlearn.config import load
from streamlearn.decisions import Step
from streamlearn.errors import ConfigurationError
from streamlearn.records import Range

LEARNT = Course("recorded", 2, 8, None, 3.5, 2.0, 2.1, bits_per_byte=2.25, objective="language_model", each=[2.25] * 8)
NOTHING_LEARNT = dataclasses.replace(
    LEARNT, configuration="other", events=0, loss=None, validation=None, test=None, bits_per_byte=None, each=[]
)


@pytest.mark.parametrize("courses", [[LEARNT, NOTHING_LEARNT], [NOTHING_LEARNT, LEARNT], [NOTHING_LEARNT]])
def test_a_course_without_a_learnt_text_stands_under_the_headings_of_the_others(
    courses: list[Course], capsys: pytest.CaptureFixture[str]
) -> None:
    show(courses, json_output=False)
    headings, *rows = (line.split() for line in capsys.readouterr().out.splitlines())
    assert headings == ["configuration", "steps", "events", "loss", "validation", "test", "bits_per_byte"]
    shown = {row[0]: dict(zip(headings[1:], row[1:], strict=True)) for row in rows}
    assert shown["other"] == {"steps": "2", "events": "0"} | dict.fromkeys(headings[3:], "-")
    assert shown.get("recorded", {"bits_per_byte": "2.2500"})["bits_per_byte"] == "2.2500"
    show(courses, json_output=True)
    assert {tuple(row) for row in json.loads(capsys.readouterr().out)} == {tuple(headings)}


def test_the_columns_of_a_classifier_are_as_ever(capsys: pytest.CaptureFixture[str]) -> None:
    show([Course("recorded", 2, 0, None, None, None, None)], json_output=False)
    headings, row = (line.split() for line in capsys.readouterr().out.splitlines())
    assert headings == ["configuration", "steps", "events", "accuracy", "loss", "validation", "test"]
    assert row == ["recorded", "2", "0", "-", "-", "-", "-"]


@pytest.mark.parametrize(
    ("recorded", "other"), [("classification", "language_model"), ("language_model", "classification")]
)
def test_another_objective_is_refused_before_anything_is_run(recorded: str, other: str, tmp_path: Path) -> None:
    config, there = (
        load(overrides=[f"publisher.directory={tmp_path}", f"updater.objective={objective}"])
        for objective in (recorded, other)
    )
    journal = open_journal(config)
    journal.begin(0, epoch=1)
    journal.append(Step(1, [Range("t", 0, 0, 4, 4)]))
    journal.close()
    said = f"'there' has updater.objective: {other}, but what is recorded was learnt with {recorded}"
    with pytest.raises(ConfigurationError, match=said):
        compare(config, {"as it was": config, "there": there}, from_step=0)
