"""The memory that a learner takes when records are large only once they are decompressed, beside its settings.

Each input goes to a learner of its own, whose peak is compared with what it took for small events.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from kafka import KafkaProducer

from benchmarks.results import keep
from streamlearn.config import Kafka, load
from streamlearn.consumer.batch import LARGEST_RECORD
from streamlearn.consumer.client import create_topic
from streamlearn.local.broker import Broker, free_port, start_broker
from streamlearn.local.tiny import WORDS, save_tiny_model

MEBI = 2**20
LARGE = 900_000  # bytes; as a rule a broker takes a megabyte, compressed
SMALL_EVENTS = 40
QUEUE_BYTES = 32 * MEBI
BOUND = 3 * QUEUE_BYTES + 2 * LARGEST_RECORD
"""Beyond what a learner takes that reads small events; ``deploy/GUARANTEES.md`` says why."""
Record = dict[str, Any]


def event(number: int, **fields: Any) -> bytes:
    """Return a small event, with `fields` beside."""
    text = " ".join(WORDS[(number * step) % len(WORDS)] for step in (1, 7, 11))
    return json.dumps({"text": text, "label": f"label-{number % 3}", "id": f"e{number}"} | fields).encode()


def padded(number: int) -> Record:
    """Return an event that is small but for a field that nobody reads."""
    return {"value": event(number, unread="x" * LARGE), "partition": number % 2}


def large_values() -> tuple[Iterable[Record], dict[str, Any]]:
    return map(padded, range(2000)), {}


def large_keys() -> tuple[Iterable[Record], dict[str, Any]]:
    return ({"key": b"k" * LARGE, "value": event(n), "partition": n % 2} for n in range(2000)), {}


def large_headers() -> tuple[Iterable[Record], dict[str, Any]]:
    return ({"headers": [("h", b"x" * LARGE)], "value": event(n), "partition": n % 2} for n in range(1000)), {}


def large_texts() -> tuple[Iterable[Record], dict[str, Any]]:
    return ({"value": event(n, text="y" * LARGE), "partition": n % 2} for n in range(300)), {}


def one_batch() -> tuple[Iterable[Record], dict[str, Any]]:
    return map(padded, range(500)), {"batch_size": 2**30, "linger_ms": 60_000}


def one_record() -> tuple[Iterable[Record], dict[str, Any]]:
    return [{"value": b"z" * 200 * MEBI, "key": b"k", "partition": 0}], {"batch_size": 2**29}


INPUTS: dict[str, Callable[[], tuple[Iterable[Record], dict[str, Any]]]] = {
    f.__name__: f for f in (large_values, large_keys, large_headers, large_texts, one_batch, one_record)
}


def write(kafka: Kafka, records: Iterable[Record], **options: Any) -> int:
    """Send `records` compressed, and return how many they were."""
    producer = KafkaProducer(
        bootstrap_servers=kafka.bootstrap_servers, compression_type="gzip", max_request_size=2**30, **options
    )
    futures = [producer.send(kafka.topic, **record) for record in records]
    producer.flush()
    for future in futures:
        future.get(timeout=60)
    producer.close()
    return len(futures)


class Watched:
    """A learner process, of which the memory and the records that it has dealt with can be asked."""

    def __init__(self, overrides: list[str]) -> None:
        self._port = free_port()
        arguments = [f"--set={override}" for override in [*overrides, f"monitor.port={self._port}"]]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "streamlearn", "run", *arguments], stderr=subprocess.PIPE, text=True
        )

    def peak(self) -> int:
        """Return the most bytes of resident memory that it has ever had."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])

    def dealt_with(self) -> int:
        """Return how many records have been trained on, held out or refused."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=5) as answer:
                text = answer.read().decode()
        except OSError:
            return 0
        return int(sum(map(float, re.findall(r"^streamlearn_events_total\{.*\} (\S+)$", text, re.MULTILINE))))

    def wait_for(self, records: int, seconds: float = 240.0) -> None:
        """Wait until it has dealt with so many."""
        deadline = time.monotonic() + seconds
        while (seen := self.dealt_with()) < records:
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise AssertionError(f"{seen} of {records} records after {seconds:g} s, exit {self.process.poll()}")
            time.sleep(0.1)

    def end(self, by: signal.Signals = signal.SIGTERM) -> str:
        """End it, and return its log."""
        self.process.send_signal(by)
        return self.process.communicate(timeout=60)[1]


def settings(broker: Broker, topic: str, model: Path, directory: Path) -> list[str]:
    """Return the overrides of a learner in `directory`, its topic created with two partitions."""
    overrides = [
        f"kafka.bootstrap_servers={broker.bootstrap_servers}",
        f"kafka.topic={topic}",
        f"kafka.group={topic}",
        f"kafka.queue_bytes={QUEUE_BYTES}",
        f"updater.model={model}",
        "updater.experts=[transformer]",  # the pages of the others' tables come into memory with any event
        "updater.micro_batch=4",
        "updater.max_wait_seconds=0.5",
        "updater.threads=1",
        f"publisher.directory={directory / topic}",
        "publisher.checkpoints.every_steps=100000",
        "publisher.checkpoints.every_seconds=100000",
        "publisher.snapshots.every_seconds=100000",
    ]
    create_topic(load(overrides=overrides).kafka, topic, partitions=2)
    return overrides


def growth(overrides: list[str], name: str) -> int:
    """Return how many bytes the peak of a learner grows by when it meets the input called `name`."""
    kafka = load(overrides=overrides).kafka
    learner = Watched(overrides)
    write(kafka, ({"value": event(-n)} for n in range(1, SMALL_EVENTS + 1)))
    try:
        learner.wait_for(SMALL_EVENTS)
        before = learner.peak()
        records, options = INPUTS[name]()
        learner.wait_for(SMALL_EVENTS + write(kafka, records, **options))
        return learner.peak() - before
    finally:
        learner.end()


def growth_in_recovery(overrides: list[str]) -> int:
    """Return by how many bytes more a killed learner takes that comes back beside a backlog of large records."""
    kafka = load(overrides=overrides).kafka
    learner = Watched(overrides)
    write(kafka, ({"value": event(-n)} for n in range(1, SMALL_EVENTS + 1)))
    learner.wait_for(SMALL_EVENTS)
    before = learner.peak()
    recorded = SMALL_EVENTS + write(kafka, map(padded, range(200)))
    learner.wait_for(recorded)
    learner.end(signal.SIGKILL)
    backlog = write(kafka, map(padded, range(200, 1700)))
    again = Watched(overrides)
    try:
        again.wait_for(recorded + backlog)
        return again.peak() - before
    finally:
        if "re-running journal steps" not in again.end():
            raise AssertionError("nothing was recovered")


def main() -> None:
    if not os.environ.get("KAFKA_HOME"):
        sys.exit("this needs KAFKA_HOME: the development broker decompresses what it is sent")
    grown = {}
    with start_broker() as broker, tempfile.TemporaryDirectory() as directory:
        model = save_tiny_model(Path(directory) / "model")
        for name in INPUTS:
            grown[name] = growth(settings(broker, name, model, Path(directory)), name) / MEBI
            print(f"{name}: {grown[name]:.0f} MiB", flush=True)
        grown["recovery"] = growth_in_recovery(settings(broker, "recovery", model, Path(directory))) / MEBI
    keep(
        "memory",
        {
            "growth_of_the_peak_mebibytes": {name: round(figure) for name, figure in grown.items()},
            "queue_mebibytes": QUEUE_BYTES // MEBI,
            "bound_mebibytes": BOUND // MEBI,
            "broker": broker.name,
        },
    )


if __name__ == "__main__":
    main()
