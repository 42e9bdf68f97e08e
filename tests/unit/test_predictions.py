"""The confusion matrix of the page."""

from __future__ import annotations

import re
from collections import Counter, deque

from hypothesis import given
from hypothesis import strategies as st

from streamlearn.events import Label
from streamlearn.monitor.history import History, read, write
from streamlearn.monitor.predictions import MOST_EVENTS, SHOWN, Predictions, recalls
from streamlearn.terminal import escaped

LABEL = st.one_of(st.integers(0, 20), st.sampled_from(["0", "1", "spam", "", "half \ud800"]))
PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")  # both halves in two characters, which JSON makes one of
PAIRS = st.lists(st.tuples(LABEL, st.one_of(st.none(), LABEL)), max_size=80)


def of(pairs: list[tuple[Label, Label | None]], window: int = 1000) -> Predictions:
    predictions = Predictions(window)
    for label, predicted in pairs:
        predictions.add([label], [predicted])
    return predictions


@given(PAIRS, st.integers(1, 30))
def test_the_matrix_holds_each_event_of_the_window_once(pairs: list[tuple[Label, Label | None]], window: int) -> None:
    view, last = of(pairs, window).view(), pairs[-window:]
    if not pairs:
        assert view is None
        return
    assert view
    rows = view["rows"]
    assert view["events"] == len(last) == sum(row["events"] for row in rows)
    assert all(sum(row["predicted"]) == row["events"] for row in rows)
    assert len({len(row["predicted"]) for row in rows}) == 1
    right = sum(row["events"] * row["recall"] for row in rows if row["events"])
    assert round(right) == sum(label == predicted for label, predicted in last)
    labels = {label for pair in last for label in pair if label is not None}
    shown = [row for row in rows if "others" not in row]
    assert len(shown) == min(SHOWN, len(labels))
    assert sum(row.get("others", 0) for row in rows) == len(labels) - len(shown)


@given(st.lists(st.one_of(st.integers(), st.text(st.characters(), max_size=3)), max_size=20))
def test_whatever_text_a_label_is_it_is_kept_in_the_history_of_a_checkpoint(labels: list[Label]) -> None:
    whole = [label for label in labels if not isinstance(label, str) or not PAIR.search(label)]
    kept = of([(label, label) for label in whole]).kept()
    history = read(write(History(predicted=kept)))
    assert history
    assert history.predicted == kept


@given(PAIRS, st.integers(1, 30), st.integers(0, 80))
def test_it_goes_on_after_a_restart(pairs: list[tuple[Label, Label | None]], window: int, broken_at: int) -> None:
    unbroken = of(pairs, window)
    resumed = Predictions(window)
    resumed.load(of(pairs[:broken_at], window).kept())
    for label, predicted in pairs[broken_at:]:
        resumed.add([label], [predicted])
    assert resumed.view() == unbroken.view()


def test_which_of_equally_frequent_labels_are_shown_is_the_same_after_a_restart() -> None:
    unbroken, resumed = Predictions(SHOWN + 2), Predictions(SHOWN + 2)
    labels = ["early", *"abcdefghij"[:SHOWN], "early", "late"]  # the first of which leaves the window
    unbroken.add(labels, [None] * len(labels))
    resumed.load(unbroken.kept())
    assert resumed.view() == unbroken.view()


def test_recall_is_by_label_and_what_a_label_was_taken_for_stands_in_its_row() -> None:
    view = of([("ham", "ham"), ("ham", "spam"), ("ham", "ham"), ("spam", "spam"), ("ham", None)]).view()
    assert view
    assert view["rows"] == [
        {"label": "ham", "events": 4, "recall": 0.5, "predicted": [2, 1, 1]},
        {"label": "spam", "events": 1, "recall": 1.0, "predicted": [0, 1, 0]},
    ]


def test_a_label_that_is_predicted_and_never_sent_has_a_row_without_a_recall() -> None:
    view = of([("ham", "spam")]).view()
    assert view
    assert view["rows"][1] == {"label": "spam", "events": 0, "recall": None, "predicted": [0, 0]}


def test_beyond_the_most_frequent_labels_one_row_stands_for_all_others() -> None:
    often = [(n, n) for n in range(SHOWN)] * 3
    view = of([*often, ("rare", "rare"), ("odd", 0), (1, "odd")]).view()
    assert view
    assert view["rows"][-1] == {
        "label": None,
        "others": 2,
        "events": 2,
        "recall": 0.5,
        "predicted": [1, *[0] * (SHOWN - 1), 1],
    }
    assert view["rows"][1]["predicted"][-1] == 1


@given(PAIRS, st.integers(0, 30))
def test_the_recall_of_each_label_is_that_of_its_events(pairs: list[tuple[Label, Label | None]], most: int) -> None:
    found = recalls(of(pairs).counts(), most=most)
    events = Counter(escaped(str(label)) for label, _ in pairs)
    right = Counter(escaped(str(label)) for label, predicted in pairs if label == predicted)
    assert found == {label: right[label] / events[label] for label in found}
    assert len(found) == min(most, len(events))
    assert all(events[label] <= min(events[one] for one in found) for label in events.keys() - found.keys() if found)


def test_of_labels_with_as_many_events_the_recall_of_the_first_by_name_is_there_and_of_none_that_has_none() -> None:
    counts = of([("d", "d"), ("b", "b"), ("a", "c"), ("d", "c")]).counts()
    assert recalls(counts, most=2) == {"d": 0.5, "a": 0.0}
    assert recalls(counts, most=9).keys() == {"a", "b", "d"}


def test_labels_that_would_be_shown_alike_have_one_recall_and_none_is_text_that_cannot_be_written() -> None:
    assert recalls(of([(1, 1), ("1", None)]).counts(), most=9) == {"1": 0.5}
    assert recalls(of([("\ud800\n", "\ud800\n")]).counts(), most=9) == {r"\ud800\n": 1.0}


def test_an_integer_and_the_text_that_looks_like_it_are_two_labels() -> None:
    view = of([(1, "1"), ("1", "1")]).view()
    assert view
    assert [(row["label"], row["predicted"]) for row in view["rows"]] == [("1", [0, 1]), ("1", [0, 1])]


def test_however_long_the_window_may_be_it_holds_no_more_than_a_checkpoint_should_keep() -> None:
    predictions = Predictions(window=10**6)
    labels = list(range(MOST_EVENTS + 5))
    predictions.add(labels, labels)
    view = predictions.view()
    assert view
    assert view["events"] == MOST_EVENTS
    assert deque(predictions.kept().labels, maxlen=1).pop() == MOST_EVENTS + 4
