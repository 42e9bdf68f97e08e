from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlearn.buffer import POLICIES, ClassBalancedReservoir, RecentWindow, ReplayBuffer, Reservoir
from streamlearn.buffer.base import size_of
from streamlearn.events import Event
from tests.unit.builders import make_event

policies = pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
LARGE = 2**30


def ids(events: list[Event]) -> list[str]:
    return [event.id for event in events]


@policies
@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 2000), max_size=120),
    labels=st.integers(1, 5),
    records=st.integers(1, 30),
    kilobytes=st.integers(1, 20),
)
def test_neither_bound_is_ever_exceeded(
    policy: type[ReplayBuffer], lengths: list[int], labels: int, records: int, kilobytes: int
) -> None:
    buffer = policy(records=records, bytes=kilobytes * 1000)
    for number, length in enumerate(lengths):
        buffer.add(make_event(number, label=f"l{number * number % labels}", text="x" * length))
        assert len(buffer) <= records
        assert buffer.held_bytes <= kilobytes * 1000
    held = buffer.draw(1000)
    assert buffer.held_bytes == sum(map(size_of, held))
    assert buffer.by_label() == Counter(event.label for event in held)
    assert len(held) == len(buffer) == len(set(ids(held)))


@pytest.mark.parametrize(("text", "width"), [("a", 1), ("\xe9", 1), ("\u044f", 2), ("\U0001f600", 4)])
def test_a_text_counts_as_wide_as_its_widest_character(text: str, width: int) -> None:
    plain, wide = make_event(0, text="a" * 1000), make_event(0, text="a" * 999 + text)
    assert size_of(wide) - size_of(plain) == (width - 1) * 1000


@policies
def test_a_saved_buffer_goes_on_with_the_same_inserts_and_draws(policy: type[ReplayBuffer]) -> None:
    unbroken = policy(records=20, bytes=LARGE, seed=3)
    unbroken.extend(make_event(n) for n in range(70))
    restored = policy(records=20, bytes=LARGE, seed=99)
    restored.load(unbroken.state())
    for number in range(70, 200):
        assert ids(unbroken.draw(5)) == ids(restored.draw(5))
        unbroken.add(make_event(number))
        restored.add(make_event(number))


@policies
@pytest.mark.parametrize("former", POLICIES.values(), ids=POLICIES)
def test_a_buffer_of_another_policy_takes_over_what_it_can_hold(
    policy: type[ReplayBuffer], former: type[ReplayBuffer]
) -> None:
    before = former(records=20, bytes=LARGE)
    before.extend(make_event(n) for n in range(70))
    after, again = policy(records=15, bytes=LARGE), policy(records=15, bytes=LARGE, seed=7)
    for buffer in (after, again):
        buffer.load(before.state())
        buffer.extend(make_event(n) for n in range(70, 90))
    held = ids(after.draw(15))
    assert len(held) == len(set(held)) == 15
    assert ids(again.draw(15)) == held  # the generator goes on too


@policies
def test_a_state_is_a_copy(policy: type[ReplayBuffer]) -> None:
    buffer = policy(records=5, bytes=LARGE)
    buffer.extend(make_event(n) for n in range(5))
    state = buffer.state()
    held = ids(state["events"])
    buffer.extend(make_event(n) for n in range(5, 500))
    assert ids(state["events"]) == held


@policies
def test_a_buffer_made_smaller_keeps_within_its_new_bounds(policy: type[ReplayBuffer]) -> None:
    large = policy(records=50, bytes=LARGE)
    large.extend(make_event(n) for n in range(50))
    small = policy(records=7, bytes=LARGE)
    small.load(large.state())
    small.add(make_event(51))
    assert len(small) == 7


@policies
def test_a_buffer_made_larger_fills_with_what_comes(policy: type[ReplayBuffer]) -> None:
    small = policy(records=7, bytes=LARGE)
    small.extend(make_event(n) for n in range(50))
    large = policy(records=20, bytes=LARGE)
    large.load(small.state())
    large.extend(make_event(n) for n in range(50, 63))
    assert len(large) == 20


def test_a_reservoir_that_had_no_room_in_memory_grows_only_where_it_is_given_more() -> None:
    crowded = Reservoir(records=50, bytes=20_000)
    crowded.extend(make_event(n, text="x" * 1600) for n in range(50))
    assert len(crowded) == 10
    for bytes, held in ((20_000, 10), (LARGE, 50)):  # noqa: A001
        continued = Reservoir(records=50, bytes=bytes)
        continued.load(crowded.state())
        continued.extend(make_event(n) for n in range(50, 200))
        assert len(continued) == held


def test_a_reservoir_holds_every_event_with_the_same_probability() -> None:
    counts: Counter[int] = Counter()
    for seed in range(400):
        reservoir = Reservoir(records=10, bytes=LARGE, seed=seed)
        reservoir.extend(make_event(n) for n in range(100))
        counts.update(event.offset // 10 for event in reservoir.draw(10))
    expected = 400
    chi_square = sum((counts[tenth] - expected) ** 2 / expected for tenth in range(10))
    assert chi_square < 21.7  # 99th percentile of nine degrees of freedom


def test_a_recent_window_holds_exactly_the_last_events() -> None:
    window = RecentWindow(records=7, bytes=LARGE)
    for number in range(100):
        window.add(make_event(number))
        assert sorted(e.offset for e in window.draw(99)) == list(range(max(0, number - 6), number + 1))


def test_a_class_balanced_reservoir_keeps_rare_labels_and_samples_each_over_all_of_its_time() -> None:
    reservoir = ClassBalancedReservoir(records=90, bytes=LARGE)
    cycle = itertools.cycle(["a"] * 90 + ["b"] * 9 + ["c"])
    reservoir.extend(make_event(n, label=label) for n, label in zip(range(9000), cycle, strict=False))
    assert all(abs(held - 30) <= 1 for held in reservoir.by_label().values())
    offsets = [event.offset for event in reservoir.draw(90) if event.label == "a"]
    assert min(offsets) < 3000
    assert max(offsets) > 6000


@policies
def test_labels_are_counted(policy: type[ReplayBuffer]) -> None:
    buffer = policy(records=100, bytes=LARGE)
    buffer.extend(make_event(n) for n in range(9))
    assert buffer.by_label() == {"label-0": 3, "label-1": 3, "label-2": 3}


@policies
def test_events_that_are_forgotten_are_drawn_no_more_and_the_rest_goes_on(policy: type[ReplayBuffer]) -> None:
    buffer = policy(records=20, bytes=LARGE)
    buffer.extend(make_event(n, label=f"label-{n % 4}") for n in range(70))
    gone = buffer.draw(20)[:9]
    buffer.forget(gone)
    held = buffer.draw(99)
    assert len(held) == len(buffer) == 11
    assert not set(ids(gone)) & set(ids(held))
    assert buffer.held_bytes == sum(map(size_of, held))
    again = policy(records=20, bytes=LARGE)
    again.load(buffer.state())
    assert buffer.by_label() == again.by_label() == Counter(event.label for event in held)
    for each in (buffer, again):
        each.extend(make_event(n, label=f"label-{n % 4}") for n in range(70, 140))
    assert ids(again.draw(20)) == ids(buffer.draw(20))
    assert len(buffer) <= 20
