"""A million events through the whole learner, with a tiny model: memory, series, files and threads stay flat."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.ingest import fill_topic
from benchmarks.results import keep, resident_mebibytes
from streamlearn.config import Config, load
from streamlearn.local.broker import Broker, start_broker
from streamlearn.local.tiny import save_tiny_model
from streamlearn.pipeline import Pipeline
from streamlearn.reports import StepReport

TENTHS = 10


def look(pipeline: Pipeline) -> dict[str, Any]:
    """Return what must not grow."""
    return {
        "resident_mebibytes": round(resident_mebibytes(), 1),
        "series": sum(len(family.samples) for family in pipeline.monitor.metrics.registry.collect()),
        "open_files": len(os.listdir("/proc/self/fd")),  # noqa: PTH208 - it lists descriptors
        "threads": threading.active_count(),
    }


def soak(config: Config, events: int) -> list[dict[str, Any]]:
    """Learn `events` and return what was seen after each tenth of them."""
    seen, dealt_with = [], 0

    def note(report: StepReport) -> None:
        nonlocal dealt_with
        dealt_with += report.outcomes.total()
        if dealt_with >= (len(seen) + 1) * events // TENTHS:
            seen.append({"events": dealt_with} | look(pipeline))
            print(seen[-1], flush=True)
        if dealt_with >= events:
            pipeline.stop()

    pipeline = Pipeline(config, on_step=note)
    pipeline.run()
    return seen


def configuration(broker: Broker, directory: Path) -> Config:
    return load(
        overrides=[
            f"kafka.bootstrap_servers={broker.bootstrap_servers}",
            "kafka.topic=soak",
            f"updater.model={save_tiny_model(directory / 'model')}",
            "updater.micro_batch=32",
            "updater.max_tokens=32",
            f"publisher.directory={directory / 'state'}",
            "publisher.checkpoints.every_seconds=5",
            "publisher.snapshots.every_seconds=20",
            "monitor.port=0",
        ]
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--events", type=int, default=1_000_000)
    options = arguments.parse_args()
    logging.basicConfig(level="WARNING")
    with start_broker() as broker, tempfile.TemporaryDirectory() as directory:
        if broker.name != "Apache Kafka":
            sys.exit("the soak needs KAFKA_HOME: the development broker does not hold so many events")
        config = configuration(broker, Path(directory))
        fill_topic(config, options.events)
        started = time.monotonic()
        seen = soak(config, options.events)
        seconds = time.monotonic() - started
    first, last = seen[1], seen[-1]  # after the first tenth the buffer and the duplicate window are full
    watched = sorted(first.keys() - {"events"})
    keep(
        "soak",
        {
            "events": last["events"],
            "seconds": round(seconds),
            "growth_since_second_tenth": {name: round(last[name] - first[name], 1) for name in watched},
            "by_tenth": seen,
            "broker": broker.name,
        },
    )


if __name__ == "__main__":
    main()
