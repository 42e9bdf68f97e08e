from __future__ import annotations

import msgspec

from streamlearn.config import Events
from streamlearn.consumer.admission import Admission, Outcome
from streamlearn.consumer.decode import Decoder
from streamlearn.events import Event, Reason
from tests.unit.builders import make_event, make_record

ALL_TRAINED = Events(holdout_ratio=0.0)


def test_a_repeated_id_is_a_duplicate_within_the_window_and_fresh_after_it() -> None:
    admission = Admission(Events(holdout_ratio=0.0, duplicate_window=2))
    numbers = [1, 1, 2, 1, 3, 1]
    trained, duplicate = Outcome.TRAINED, Outcome.DUPLICATE
    expected = [trained, duplicate, trained, duplicate, trained, trained]
    assert [admission.admit(make_event(number)) for number in numbers] == expected


def test_an_id_made_from_an_offset_is_no_identity() -> None:
    admission = Admission(ALL_TRAINED)
    unnamed = msgspec.structs.replace(make_event(0), id="t/0/7", identified=False)
    named = msgspec.structs.replace(unnamed, identified=True)
    assert [admission.admit(unnamed), admission.admit(unnamed)] == [Outcome.TRAINED] * 2
    assert admission.state()["ids"] == []
    outcomes = [admission.admit(named), admission.admit(unnamed), admission.admit(named)]
    assert outcomes == [Outcome.TRAINED, Outcome.TRAINED, Outcome.DUPLICATE]


def test_two_hundred_events_with_an_empty_id_are_two_hundred_events() -> None:
    admission, decoder = Admission(ALL_TRAINED), Decoder(ALL_TRAINED)
    value = b'{"text": "hello", "label": "ham", "id": ""}'
    events = [decoder.decode(make_record(value, offset=n)) for n in range(200)]
    assert {admission.admit(event) for event in events if isinstance(event, Event)} == {Outcome.TRAINED}


def test_an_event_of_an_older_checkpoint_has_an_id_of_its_own() -> None:
    event = b'{"text":"a","label":"b","id":"t/0/7","timestamp":0.0,"topic":"t","partition":0,"offset":7}'
    assert msgspec.json.decode(event, type=Event).identified


def test_the_hold_out_is_the_texts_own_and_about_the_configured_share() -> None:
    events = [make_event(n, text=f"text number {n}") for n in range(2000)]
    again = [make_event(n + 5000, text=event.text) for n, event in enumerate(events)]
    first, second = Admission(Events(holdout_ratio=0.2)), Admission(Events(holdout_ratio=0.2))
    outcomes = [first.admit(event) for event in events]
    assert [second.admit(event) for event in again] == outcomes
    assert 0.17 < outcomes.count(Outcome.HELD_OUT) / 2000 < 0.23


def test_in_discovery_the_first_label_decides_the_type() -> None:
    admission = Admission(ALL_TRAINED)
    assert admission.admit(make_event(0, label="a")) is Outcome.TRAINED
    assert admission.admit(make_event(1, label=1)) is Reason.LABEL_TYPE
    assert admission.admit(make_event(2, label="b")) is Outcome.TRAINED


def test_in_discovery_labels_beyond_the_limit_are_refused() -> None:
    admission = Admission(Events(holdout_ratio=0.0, max_labels=2))
    outcomes = [admission.admit(make_event(n, label=f"l{n}")) for n in range(3)]
    assert outcomes == [Outcome.TRAINED, Outcome.TRAINED, Reason.TOO_MANY_LABELS]
    assert admission.admit(make_event(3, label="l1")) is Outcome.TRAINED


def test_a_refused_event_may_come_again_with_its_id_put_right() -> None:
    admission = Admission(ALL_TRAINED)
    admission.admit(make_event(0, label="a"))
    assert admission.admit(make_event(1, label=1)) is Reason.LABEL_TYPE
    assert admission.admit(make_event(1, label="a")) is Outcome.TRAINED


def test_after_a_restart_the_same_events_get_the_same_answers() -> None:
    events = [make_event(n % 70, label=n % 4 if n % 9 == 0 else f"l{n % 5}") for n in range(200)]
    unbroken, before = Admission(Events(duplicate_window=20)), Admission(Events(duplicate_window=20))
    expected = [unbroken.admit(event) for event in events]
    assert [before.admit(event) for event in events[:100]] == expected[:100]
    after = Admission(Events(duplicate_window=20))
    after.load(before.state())
    assert [after.admit(event) for event in events[100:]] == expected[100:]
