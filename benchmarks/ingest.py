"""Events a second from Kafka to the replay buffer, beside kafka-python's bare ``poll()`` on the same topic.

Each round reads the whole topic both ways, in turn. It also shows what an event costs against the size of the
buffer, and along a stream of a million events, with the resident memory at each tenth of it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from kafka import TopicPartition

from benchmarks.results import keep, median, resident_mebibytes
from streamlearn.buffer import POLICIES, make_buffer
from streamlearn.config import Buffer, Config, load
from streamlearn.consumer.client import create_topic, make_consumer, make_producer
from streamlearn.consumer.consumer import Consumer
from streamlearn.consumer.dead_letter_topic import make_dead_letter_producer
from streamlearn.consumer.dead_letters import DeadLetters
from streamlearn.consumer.decode import Decoder
from streamlearn.events import Event
from streamlearn.learner.admission import Admission
from streamlearn.learner.draft import Draft
from streamlearn.learner.intake import Intake
from streamlearn.local.broker import Broker, start_broker
from streamlearn.source import Watch

TENTHS = 10
LABELS = ("billing", "delivery", "product", "account")
LEAVE = 2000  # records at the end that are not measured: the last micro-batch is partial and waits for more
DEFAULT_SWITCH_SECONDS = sys.getswitchinterval()  # the consumer shortens it
WORDS = ("the", "parcel", "came", "late", "again", "and", "nobody", "answered", "my", "letter", "about", "a", "refund")


def value(number: int) -> bytes:
    """Return an event of about 300 bytes."""
    text = " ".join(WORDS[(number + index * 7) % len(WORDS)] for index in range(40))
    return json.dumps({"text": text, "label": LABELS[number % 4], "id": f"event-{number}"}).encode()


def fill_topic(config: Config, events: int) -> None:
    create_topic(config.kafka, config.kafka.topic)
    producer = make_producer(
        config.kafka.model_copy(
            update={"client": {"linger_ms": 20, "batch_size": 2**18, "delivery_timeout_ms": 300_000}}
        )
    )
    for number in range(events):
        producer.send(config.kafka.topic, value(number))
    producer.flush()
    producer.close()


def bare_poll(config: Config, events: int) -> float:
    """Return records a second of ``poll()`` and nothing else."""
    sys.setswitchinterval(DEFAULT_SWITCH_SECONDS)
    consumer = make_consumer(config.kafka.model_copy(update={"group": f"bare-{time.time_ns()}"}))
    partition = TopicPartition(config.kafka.topic, 0)
    consumer.assign([partition])
    consumer.seek_to_beginning(partition)
    seen = sum(map(len, consumer.poll(timeout_ms=5000).values()))
    first, started = seen, time.perf_counter()
    while seen < events - LEAVE:
        seen += sum(map(len, consumer.poll(timeout_ms=5000).values()))
    rate = (seen - first) / (time.perf_counter() - started)
    consumer.close()
    return rate


def ingest(config: Config, events: int, each_tenth: Callable[[float], None] = lambda _: None) -> float:
    """Return events a second from the broker through decoding, admission and queue to the buffer."""
    nothing: Any = lambda _: None  # noqa: E731
    dead_letters = DeadLetters(partial(make_dead_letter_producer, config.kafka), "none", refused=nothing)
    config = config.model_copy(update={"kafka": config.kafka.model_copy(update={"group": f"ingest-{time.time_ns()}"})})
    consumer = Consumer(config.kafka, decoder=Decoder(config.events), dead_letters=dead_letters, watch=Watch())
    admission, buffer = Admission(config.events), make_buffer(config.buffer, seed=0)
    intake = Intake(consumer.queue, lambda: Draft(admission), size=1000, max_wait=5.0, clock=time.monotonic)
    consumer.start()
    consumer.wait_for_term(0, 30.0)
    consumer.read_from({}, {}, 30.0)
    batch = intake.next(idle=30.0)
    admission.take_in(batch)
    seen = first = batch.outcomes.total()
    started = tenth_started = time.perf_counter()
    tenth = events // TENTHS
    tenth_begins = seen
    while seen < events - LEAVE:
        batch = intake.next(idle=30.0)
        buffer.extend(batch.fresh)
        admission.take_in(batch)
        seen += batch.outcomes.total()
        if seen - tenth_begins >= tenth:
            now = time.perf_counter()
            each_tenth((seen - tenth_begins) / (now - tenth_started))
            tenth_begins, tenth_started = seen, now
    rate = (seen - first) / (time.perf_counter() - started)
    consumer.stop()
    return rate


def cost_by_buffer_size(events: int) -> dict[str, dict[str, float]]:
    """Return microseconds an event of insertion, by policy and size."""
    stream = [Event(WORDS[n % len(WORDS)], LABELS[n % 4], str(n), 0.0, "t", 0, n) for n in range(events)]
    costs: dict[str, dict[str, float]] = {}
    for policy in POLICIES:
        costs[policy] = {}
        for records in (1_000, 10_000, 100_000):
            buffer = make_buffer(Buffer(policy=policy, records=records), seed=0)
            started = time.perf_counter()
            buffer.extend(stream)
            costs[policy][str(records)] = float(f"{(time.perf_counter() - started) / events * 1e6:.3g}")
    return costs


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--events", type=int, default=1_000_000, help="with noida-db at most 40,000")
    options = arguments.parse_args()
    with start_broker() as broker:
        events = options.events if broker.name == "Apache Kafka" else min(options.events, 40_000)
        run(broker, events, options.rounds)


def run(broker: Broker, events: int, rounds: int) -> None:
    config = load(overrides=[f"kafka.bootstrap_servers={broker.bootstrap_servers}", "kafka.topic=benchmark"])
    fill_topic(config, events)
    bare, whole, along, memory = [], [], [], []
    for number in range(rounds):
        bare.append(bare_poll(config, events))
        rates: list[float] = []

        def each_tenth(rate: float, rates: list[float] = rates) -> None:
            rates.append(round(rate))
            memory.append(round(resident_mebibytes(), 1))

        whole.append(ingest(config, events, each_tenth))
        along.append(rates)
        print(f"round {number}: poll {bare[-1]:,.0f}/s, to the buffer {whole[-1]:,.0f}/s")
    keep(
        "ingest",
        {
            "ratio_to_bare_poll": median([w / b for w, b in zip(whole, bare, strict=True)]),
            "events_per_second": {"bare_poll": median(bare), "to_the_buffer": median(whole)},
            "events": events,
            "bytes_per_event": len(value(0)),
            "rate_by_tenth_of_the_stream": along[-1],
            "resident_mebibytes_by_tenth": memory[-TENTHS:],
            "insert_microseconds_by_policy_and_records": cost_by_buffer_size(200_000),
            "rounds": rounds,
            "broker": broker.name,
        },
    )


if __name__ == "__main__":
    main()
