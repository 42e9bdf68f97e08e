from __future__ import annotations

import time

import pytest

from streamlearn.config import Events
from streamlearn.consumer import queue as arrivals
from streamlearn.consumer.queue import ArrivalQueue
from streamlearn.events import Event, Outcome, Reason
from streamlearn.learner.admission import Admission
from streamlearn.learner.draft import Draft
from streamlearn.learner.intake import Intake
from streamlearn.records import Arrival, Range
from tests.unit.builders import make_event, make_record

LARGE = 2**30


def arrival(offsets: range, partition: int = 0, refused: tuple[int, ...] = ()) -> Arrival:
    outcomes: list[Event | Reason] = [
        Reason.NOT_JSON if offset in refused else make_event(1000 * partition + offset) for offset in offsets
    ]
    records = [make_record(b"", offset=offset) for offset in offsets]
    return arrivals.arrival(("t", partition), records, outcomes, begin=offsets.start, end=offsets.stop)


def intake(queue: ArrivalQueue, size: int = 4, max_wait: float = 0.05) -> Intake:
    admission = Admission(Events(holdout_ratio=0.0))
    return Intake(queue, lambda: Draft(admission), size=size, max_wait=max_wait, clock=time.monotonic)


def test_a_micro_batch_is_full_at_its_size_and_the_rest_waits_in_order() -> None:
    queue = ArrivalQueue(records=100, bytes=LARGE)
    queue.put(arrival(range(6)))
    queue.put(arrival(range(6, 8)))
    taking = intake(queue)
    batches = [taking.next(), taking.next()]
    assert [[event.id for event in batch.fresh] for batch in batches] == [
        ["e0", "e1", "e2", "e3"],
        ["e4", "e5", "e6", "e7"],
    ]
    assert [batch.positions for batch in batches] == [{("t", 0): 4}, {("t", 0): 8}]
    assert batches[1].ranges == [Range("t", 0, 4, 6, 2), Range("t", 0, 6, 8, 2)]
    assert len(queue) == 0


def test_positions_and_outcomes_cover_what_was_refused_too() -> None:
    queue = ArrivalQueue(records=100, bytes=LARGE)
    queue.put(arrival(range(4), refused=(0, 3)))
    batch = intake(queue).next()
    assert batch.positions == {("t", 0): 4}
    assert batch.outcomes == {Outcome.TRAINED: 2, Outcome.DEAD_LETTER: 2}
    assert [record.offset for record in batch.records] == [1, 2]


def test_a_partial_micro_batch_goes_after_the_wait_and_nothing_comes_of_nothing() -> None:
    queue = ArrivalQueue(records=100, bytes=LARGE)
    queue.put(arrival(range(2)))
    taking = intake(queue)
    assert len(taking.next().fresh) == 2
    assert not taking.next(idle=0.01)


def test_what_comes_once_it_is_told_to_stop_stays_in_the_queue_unless_a_micro_batch_was_begun() -> None:
    queue, told = ArrivalQueue(records=100, bytes=LARGE), iter([False, True])
    queue.put(arrival(range(2)))
    queue.put(arrival(range(2, 4)))
    assert not intake(queue).next(stopping=lambda: True)
    assert len(queue) == 4
    assert len(intake(queue).next(stopping=lambda: next(told)).fresh) == 4


def test_several_partitions_share_a_micro_batch_each_with_its_position() -> None:
    queue = ArrivalQueue(records=100, bytes=LARGE)
    for partition in (0, 1):
        queue.put(arrival(range(2), partition))
    assert intake(queue).next().positions == {("t", 0): 2, ("t", 1): 2}


def test_the_queue_counts_records_and_is_drained_at_half() -> None:
    queue = ArrivalQueue(records=4, bytes=LARGE)
    queue.put(arrival(range(4)))
    assert (queue.full, queue.drained) == (True, False)
    taken = queue.get(0)
    assert taken
    taken.start = 2
    queue.put_back(taken)
    assert (queue.full, queue.drained, len(queue)) == (False, True, 2)


def test_the_queue_is_full_at_its_bytes_and_drained_at_half_of_them() -> None:
    queue = ArrivalQueue(records=100, bytes=1000)
    for _ in range(2):
        large = arrival(range(1))
        large.bytes = 500
        queue.put(large)
    assert (queue.full, queue.drained) == (True, False)
    queue.get(0)
    assert (queue.full, queue.drained) == (False, True)


def test_a_queue_that_is_cleared_is_empty_and_takes_new_arrivals() -> None:
    queue = ArrivalQueue(records=2, bytes=LARGE)
    queue.put(arrival(range(5, 8)))
    queue.clear()
    assert (len(queue), queue.full, queue.get(0)) == (0, False, None)
    queue.put(arrival(range(1)))
    assert len(queue) == 1


def test_a_failure_is_raised_after_what_was_queued_before_it() -> None:
    queue = ArrivalQueue(records=10, bytes=LARGE)
    queue.put(arrival(range(1)))
    queue.fail(RuntimeError("gone"))
    assert queue.get(0)
    with pytest.raises(RuntimeError, match="gone"):
        queue.get(0)
