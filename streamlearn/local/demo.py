"""The demo: everything on one machine, with a real stream, a drift, malformed records, and a summary at the end."""

from __future__ import annotations

import json
import logging
import os
import shlex
import shutil
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from rich.console import Console

from streamlearn.config import Config, load
from streamlearn.consumer.client import create_topic
from streamlearn.errors import ConfigurationError, StreamlearnError
from streamlearn.local.broker import Broker, start_broker
from streamlearn.local.data import Part, minilm, newsgroups, sentiment
from streamlearn.local.feed import Feed, make_feed, missing_dead_letters, read_dead_letters, send
from streamlearn.local.picture import draw
from streamlearn.local.record import LAST, Record
from streamlearn.local.screen import Screen
from streamlearn.pipeline import Pipeline
from streamlearn.publisher.snapshots import SnapshotStore
from streamlearn.reports import StepReport

STREAMS: dict[str, Callable[[], list[Part]]] = {
    "newsgroups": lambda: newsgroups((1600, 1600, 1200)),
    "sentiment": lambda: sentiment(1500),
}


@dataclass(frozen=True)
class Summary:
    """The results of the demo, which ``--json`` prints."""

    sent: int
    trained: int
    held_out: int
    dead_lettered: int
    duplicates: int
    seconds: float
    accuracy_from_200_to_500: float
    parts: list[dict[str, Any]]
    drifts: list[int]
    snapshots: list[str]
    broker: str


def run_demo(*, output: Path, stream: str, as_json: bool, keep: bool) -> None:
    """Run the demo into the directory `output` and print the summary.

    Raises
    ------
    ConfigurationError
        If there is no such stream.
    StreamlearnError
        If a record was not accounted for, or a malformed one is not in the dead-letter topic with its reason.

    """
    if stream not in STREAMS:
        raise ConfigurationError(f"--stream is '{stream}', and must be one of {', '.join(STREAMS)}")
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(message)s", stream=sys.stderr)
    console = Console(stderr=as_json)
    started = time.monotonic()
    console.print("getting the data ready and starting a broker")
    parts = STREAMS[stream]()
    feed = make_feed(parts)
    with start_broker() as broker:
        config = demo_config(broker, output)
        record = Record()

        def conclude() -> None:
            summary = _summarise(record, feed, parts, broker, config, time.monotonic() - started)
            _conclude(summary, record, feed, parts, config, output)
            _print(summary, console, output, as_json=as_json)

        walk(console, broker, config, feed, record, keep=keep, conclude=conclude)


def walk(
    console: Console,
    broker: Broker,
    config: Config,
    feed: Feed,
    record: Record,
    *,
    keep: bool,
    conclude: Callable[[], None],
) -> None:
    """Send `feed` and let a learner of `config` learn it, shown on `console` and recorded in `record`, then `conclude`.

    With `keep` everything keeps running until Ctrl-C.
    """
    for topic in (config.kafka.topic, config.kafka.dead_letter_topic):
        create_topic(config.kafka, topic)
    console.print(f"{broker.name} at {broker.bootstrap_servers}, sending {len(feed.records)} records")
    done = threading.Event()
    pipeline = Pipeline(config, on_step=partial(_look, record, done, len(feed.records), config.publisher.directory))
    with ThreadPoolExecutor(2) as threads:
        sending, learning = threads.submit(send, config.kafka, feed), threads.submit(pipeline.run)
        try:
            _show_page(console, pipeline, learning)
            _watch(console, record, feed, until=done, tasks=[sending, learning])
            if not keep:
                pipeline.stop()
                learning.result()
            conclude()
            if keep:
                _stay(console, broker, pipeline, learning)
        finally:
            pipeline.stop()


def demo_config(broker: Broker, output: Path, *, model: Path | None = None, name: str = "demo") -> Config:
    """Return the configuration in ``NAME.yaml`` for `broker`, after removing the state of an earlier run from `output`.

    The model is MiniLM unless another is given.
    """
    state = output / "state"
    shutil.rmtree(state, ignore_errors=True)
    overrides = [
        f"kafka.bootstrap_servers={broker.bootstrap_servers}",
        f"updater.model={model or minilm()}",
        f"publisher.directory={state}",
    ]
    with as_file(files("streamlearn.local") / f"{name}.yaml") as path:
        return load(path, overrides=overrides)


def _show_page(console: Console, pipeline: Pipeline, learning: Future[None]) -> None:
    """Print the address of the live page once it is up."""
    while not pipeline.monitor.server and not learning.done():
        time.sleep(0.05)
    if pipeline.monitor.server:
        console.print(f"live page at {pipeline.monitor.server.url}", soft_wrap=True)


def _look(record: Record, done: threading.Event, records: int, state: Path, report: StepReport) -> None:
    """Record a step; called on the learning thread."""
    record.add(report, SnapshotStore(state / "snapshots").latest())
    if record.dealt_with >= records:
        done.set()


def _watch(
    console: Console,
    record: Record,
    feed: Feed,
    *,
    until: threading.Event,
    tasks: list[Future[None]],
) -> None:
    """Show progress until all records are processed; raise the error that ended a task before."""
    with Screen(console, record, feed) as screen:
        while not until.wait(0.5):
            screen.show()
            for task in tasks:
                if task.done():
                    task.result()
        screen.show()


def _summarise(
    record: Record, feed: Feed, parts: list[Part], broker: Broker, config: Config, seconds: float
) -> Summary:
    store = SnapshotStore(config.publisher.directory / "snapshots")
    ends = [*feed.begins[1:], len(feed.records)]
    return Summary(
        sent=len(feed.records),
        trained=record.outcomes["trained"],
        held_out=record.outcomes["held_out"],
        dead_lettered=record.outcomes["dead_letter"],
        duplicates=record.outcomes["duplicate"],
        seconds=round(seconds, 1),
        accuracy_from_200_to_500=round(record.early_accuracy(), 4),
        parts=[
            {"name": part.name, "events": end - begin, "accuracy_last_500": round(record.accuracy(begin, end), 4)}
            for part, begin, end in zip(parts, feed.begins, ends, strict=True)
        ],
        drifts=record.drifts,
        snapshots=[str(store.path(version)) for version in store.versions()],
        broker=broker.name,
    )


def _conclude(summary: Summary, record: Record, feed: Feed, parts: list[Part], config: Config, output: Path) -> None:
    """Draw the plot, write the summary, and check that every record is accounted for."""
    draw(record, feed, parts, output / "demo.png")
    (output / "summary.json").write_text(json.dumps(asdict(summary), indent=1) + "\n")
    require_accounted(record, feed, config)


def require_accounted(record: Record, feed: Feed, config: Config) -> None:
    """Raise StreamlearnError if a record of `feed` is not accounted for, or a dead letter is missing."""
    sent, accounted = len(feed.records), record.dealt_with - record.outcomes["skipped"]  # of which nothing came
    if accounted != sent:
        raise StreamlearnError(f"{sent} records were sent and {accounted} are accounted for")
    missing = missing_dead_letters(feed, read_dead_letters(config.kafka, record.outcomes["dead_letter"]))
    if missing:
        raise StreamlearnError(f"malformed records are missing from the dead-letter topic: {dict(missing)}")


def _print(summary: Summary, console: Console, output: Path, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(asdict(summary)) + "\n")
        return
    console.print(
        f"\n{summary.sent} sent = {summary.trained} trained + {summary.held_out} held out "
        f"+ {summary.dead_lettered} dead-lettered + {summary.duplicates} duplicates, in {summary.seconds:.0f} s",
        soft_wrap=True,
    )
    console.print(f"{'start':>20}  accuracy from event 200 to 500: {summary.accuracy_from_200_to_500:.1%}")
    for part in summary.parts:
        console.print(f"{part['name']:>20}  accuracy over its last {LAST}: {part['accuracy_last_500']:.1%}")
    console.print(f"drift detected at event {', '.join(map(str, summary.drifts)) or '(none)'}")
    console.print(f"picture   {output / 'demo.png'}", soft_wrap=True)
    console.print(f"snapshot  {summary.snapshots[-1]}", soft_wrap=True)
    text = shlex.quote("my old bike needs a new clutch")
    command = "streamlearn" if shutil.which("streamlearn") else f"{os.path.relpath(sys.executable)} -m streamlearn"
    console.print(f"try       {command} predict --snapshot {summary.snapshots[-1]} {text}", soft_wrap=True)


def _stay(console: Console, broker: Broker, pipeline: Pipeline, learning: Future[None]) -> None:
    """Keep everything running until Ctrl-C."""
    url = pipeline.monitor.server.url if pipeline.monitor.server else ""
    console.print(
        f"\nstill learning: {url} and {url}metrics, broker at {broker.bootstrap_servers}; Ctrl-C ends it",
        soft_wrap=True,
    )
    with suppress(KeyboardInterrupt):
        learning.result()
