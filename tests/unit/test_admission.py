from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from streamlearn.config import Events
from streamlearn.consumer.decode import Decoder
from streamlearn.events import Event, Outcome, Reason
from streamlearn.learner.admission import Admission
from streamlearn.learner.draft import Draft
from tests.unit.builders import make_event, make_record

ALL_TRAINED = Events(holdout_ratio=0.0)


def admit(admission: Admission, event: Event) -> Outcome | Reason:
    """Return the outcome of `event` as a micro-batch of its own, which is learnt at once."""
    draft = Draft(admission)
    outcome = draft.admit(event)
    admission.take_in(draft.batch)
    return outcome


def test_a_repeated_id_is_a_duplicate_within_the_window_and_fresh_after_it() -> None:
    admission = Admission(Events(holdout_ratio=0.0, duplicate_window=2))
    numbers = [1, 1, 2, 1, 3, 1]
    trained, duplicate = Outcome.TRAINED, Outcome.DUPLICATE
    expected = [trained, duplicate, trained, duplicate, trained, trained]
    assert [admit(admission, make_event(number)) for number in numbers] == expected


def test_an_id_made_from_an_offset_is_no_identity() -> None:
    admission = Admission(ALL_TRAINED)
    unnamed = msgspec.structs.replace(make_event(0), id="t/0/7", identified=False)
    named = msgspec.structs.replace(unnamed, identified=True)
    assert [admit(admission, unnamed), admit(admission, unnamed)] == [Outcome.TRAINED] * 2
    assert admission.state()["ids"] == []
    outcomes = [admit(admission, named), admit(admission, unnamed), admit(admission, named)]
    assert outcomes == [Outcome.TRAINED, Outcome.TRAINED, Outcome.DUPLICATE]


def test_two_hundred_events_with_an_empty_id_are_two_hundred_events() -> None:
    admission, decoder = Admission(ALL_TRAINED), Decoder(ALL_TRAINED)
    value = b'{"text": "hello", "label": "ham", "id": ""}'
    events = [decoder.decode(make_record(value, offset=n)) for n in range(200)]
    assert {admit(admission, event) for event in events if isinstance(event, Event)} == {Outcome.TRAINED}


def test_an_event_of_an_older_checkpoint_has_an_id_of_its_own() -> None:
    event = b'{"text":"a","label":"b","id":"t/0/7","timestamp":0.0,"topic":"t","partition":0,"offset":7}'
    assert msgspec.json.decode(event, type=Event).identified


def test_the_hold_out_is_the_texts_own_and_about_the_configured_share() -> None:
    events = [make_event(n, text=f"text number {n}") for n in range(2000)]
    again = [make_event(n + 5000, text=event.text) for n, event in enumerate(events)]
    first, second = Admission(Events(holdout_ratio=0.2)), Admission(Events(holdout_ratio=0.2))
    outcomes = [admit(first, event) for event in events]
    assert [admit(second, event) for event in again] == outcomes
    assert 0.17 < outcomes.count(Outcome.HELD_OUT) / 2000 < 0.23


def test_in_discovery_the_first_label_decides_the_type() -> None:
    admission = Admission(ALL_TRAINED)
    assert admit(admission, make_event(0, label="a")) is Outcome.TRAINED
    assert admit(admission, make_event(1, label=1)) is Reason.LABEL_TYPE
    assert admit(admission, make_event(2, label="b")) is Outcome.TRAINED


def test_in_discovery_labels_beyond_the_limit_are_refused() -> None:
    admission = Admission(Events(holdout_ratio=0.0, max_labels=2))
    outcomes = [admit(admission, make_event(n, label=f"l{n}")) for n in range(3)]
    assert outcomes == [Outcome.TRAINED, Outcome.TRAINED, Reason.TOO_MANY_LABELS]
    assert admit(admission, make_event(3, label="l1")) is Outcome.TRAINED


def test_a_refused_event_may_come_again_with_its_id_put_right() -> None:
    admission = Admission(ALL_TRAINED)
    admit(admission, make_event(0, label="a"))
    assert admit(admission, make_event(1, label=1)) is Reason.LABEL_TYPE
    assert admit(admission, make_event(1, label="a")) is Outcome.TRAINED


def test_after_a_restart_the_same_events_get_the_same_answers() -> None:
    events = [make_event(n % 70, label=n % 4 if n % 9 == 0 else f"l{n % 5}") for n in range(200)]
    unbroken, before = Admission(Events(duplicate_window=20)), Admission(Events(duplicate_window=20))
    expected = [admit(unbroken, event) for event in events]
    assert [admit(before, event) for event in events[:100]] == expected[:100]
    after = Admission(Events(duplicate_window=20))
    after.load(before.state())
    assert [admit(after, event) for event in events[100:]] == expected[100:]


def test_what_a_micro_batch_adds_is_remembered_once_it_is_learnt_and_not_before() -> None:
    admission = Admission(Events(holdout_ratio=0.0, duplicate_window=3))
    admit(admission, make_event(0))
    before = admission.state()
    draft = Draft(admission)
    assert draft.admit(make_event(1, label="new")) is Outcome.TRAINED
    assert (draft.admit(make_event(0)), draft.admit(make_event(1))) == (Outcome.DUPLICATE, Outcome.DUPLICATE)
    assert admission.state() == before
    admission.take_in(draft.batch)
    assert admission.state() == {"ids": ["e0", "e1"], "labels": ["label-0", "new"]}


def test_what_was_refused_after_all_leaves_neither_its_id_nor_its_label() -> None:
    admission, good, bad = Admission(ALL_TRAINED), make_event(1, label="a"), make_event(2, label="b")
    draft = Draft(admission)
    assert [draft.admit(event) for event in (good, bad)] == [Outcome.TRAINED, Outcome.TRAINED]
    admission.take_in(draft.batch, accepted=[good], refused=[bad])
    assert admission.state() == {"ids": ["e1"], "labels": ["a"]}
    assert admit(admission, bad) is Outcome.TRAINED


@given(st.lists(st.integers(0, 12), max_size=60), st.integers(0, 8), st.integers(1, 20))
def test_how_the_stream_is_cut_into_micro_batches_changes_no_answer(numbers: list[int], window: int, size: int) -> None:
    config = Events(duplicate_window=window, holdout_ratio=0.3, max_labels=2)
    one_by_one, cut = Admission(config), Admission(config)
    expected = [admit(one_by_one, make_event(number)) for number in numbers]
    found = []
    for first in range(0, len(numbers), size):
        draft = Draft(cut)
        found += [draft.admit(make_event(number)) for number in numbers[first : first + size]]
        cut.take_in(draft.batch)
    assert found == expected
    assert cut.state() == one_by_one.state()
    assert cut.known == set(cut.ids)
