"""What the language demo makes of a run: a feed without labels, figures by text, and a picture."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from streamlearn.config import load
from streamlearn.consumer.decode import Decoder
from streamlearn.events import Event
from streamlearn.local.data import Part
from streamlearn.local.feed import POISON_EVERY, make_feed
from streamlearn.local.picture import draw_bits
from streamlearn.local.record import TextRecord
from streamlearn.reports import MicroBatch, StepReport, StepResult, TextFigures
from tests.unit.builders import make_event, make_record

PARTS = [Part(name, [(f"{name} text {n}", "a") for n in range(10 * POISON_EVERY)]) for name in ("first", "second")]


def test_without_labels_what_is_sent_is_an_event_or_malformed_for_a_reason_that_is_not_its_label() -> None:
    feed = make_feed(PARTS, labelled=False)
    decode = Decoder(load(overrides=["updater.objective=language_model"]).events, labelled=False).decode
    for number, value in enumerate(feed.records):
        found = decode(make_record(value, key=b"k", offset=number))
        if number in feed.poison:
            assert found is feed.poison[number]
        else:
            assert isinstance(found, Event)
            assert "label" not in json.loads(value or b"")
    assert len(feed.poison) == 20


def told(numbers: list[int], nats: list[float], sizes: list[int]) -> StepReport:
    texts = TextFigures(np.asarray(nats), np.full(len(nats), 3), np.asarray(sizes))
    result = StepResult(
        correct=np.empty(0, np.bool_),
        losses=texts.losses,
        loss=1.0,
        gradient_norm=1.0,
        learning_rate=1.0,
        refused={},
        unfit=[],
        texts=texts,
    )
    events = [make_event(number, label="") for number in numbers]
    return StepReport(
        step=1,
        batch=MicroBatch(),
        outcomes=Counter(),
        refused=[],
        result=result,
        learnt=events,
        replayed=0,
        rises=[],
    )


@pytest.fixture
def record() -> TextRecord:
    record = TextRecord()
    record.add(told([0, 1], [10 * math.log(2), 30 * math.log(2)], [10, 10]), None)
    record.add(told([5], [4 * math.log(2)], [8]), 1)
    return record


def test_bits_per_byte_of_several_texts_are_those_of_all_as_one(record: TextRecord) -> None:
    assert record.bits_per_byte(record.within(0, 5)) == pytest.approx(2.0)
    assert record.bits_per_byte(record.within(0, 6)) == pytest.approx(44 / 28)
    assert math.isnan(record.bits_per_byte(record.within(6, 9)))
    assert record.rolling_bits(2) == pytest.approx([1.0, 2.0, 34 / 18])
    assert record.headline() == {"bits per byte (last 200)": "1.571"}
    assert TextRecord().headline() == {"bits per byte (last 200)": "-"}


def test_the_picture_is_drawn_of_few_texts_too(record: TextRecord, tmp_path: Path) -> None:
    draw_bits(record, make_feed(PARTS, labelled=False), PARTS, tmp_path / "demo.png")
    assert (tmp_path / "demo.png").read_bytes().startswith(b"\x89PNG")
