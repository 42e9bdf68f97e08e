"""How long it takes from the end of a learner to the next step: started again, and with a standby beside it.

The next step is the first that is taken again of those behind the checkpoint. The first new one comes when all of
these have been taken: how long that is, publisher.checkpoints decides.
"""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.ingest import value
from benchmarks.results import keep, median
from streamlearn.commands.retracing import open_journal
from streamlearn.config import Config
from streamlearn.consumer.client import create_topic, make_producer
from streamlearn.local.broker import Broker, free_port, start_broker
from streamlearn.local.demo import demo_config

RUNS = 3
EVENTS_PER_SECOND = 100
SESSION_SECONDS = 10.0  # what the learner asks the group for
MORE_SECONDS = 5.0
LOAD = (
    "import sys; from streamlearn.config import load; from streamlearn.learner import Learner;"
    "Learner(load(overrides=sys.argv[1:]))"
)


class Process:
    """``streamlearn run`` with `settings`."""

    def __init__(self, settings: list[str]) -> None:
        self._address = f"http://127.0.0.1:{(port := free_port())}"
        flags = [f"--set={setting}" for setting in [*settings, f"monitor.port={port}"]]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "streamlearn", "run", *flags], stderr=subprocess.DEVNULL
        )

    def wait_until_ready(self) -> None:
        """Return once the group has let it in."""
        wait_for(lambda: self._get("readyz") == "ready\n")

    def wait_for_steps(self, more: int = 1) -> None:
        """Return once it has taken `more` steps, counted from now."""
        least = self._steps() + more
        wait_for(lambda: self._steps() >= least)

    def _steps(self) -> float:
        lines = self._get("metrics").splitlines()
        return float(next((line.split()[1] for line in lines if line.startswith("streamlearn_steps_total ")), "0"))

    def _get(self, path: str) -> str:
        try:
            with urllib.request.urlopen(f"{self._address}/{path}", timeout=5) as answer:  # noqa: S310 - an address of ours
                return str(answer.read().decode())
        except OSError:
            return ""

    def end(self, by: signal.Signals) -> None:
        """Send it the signal `by`."""
        self._process.send_signal(by)

    def wait(self) -> None:
        """Return once it has ended."""
        self._process.wait()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.01)


def newest_entry(config: Config) -> tuple[int, int]:
    """Return the newest epoch of the journal and how many steps are recorded in it."""
    segments = open_journal(config).segments()
    epoch = segments[-1].epoch if segments else 0
    return epoch, sum(s.path.read_bytes().count(b"\n") - 1 for s in segments if s.epoch == epoch)


def measure(config: Config, settings: list[str]) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {}

    def note(name: str, since: float) -> None:
        seconds.setdefault(name, []).append(time.monotonic() - since)
        print(name, round(seconds[name][-1], 1), flush=True)

    def end(learner: Process, by: signal.Signals, name: str, standby: Process | None = None) -> Process:
        """End `learner` and note when whoever goes on takes the next step and the first new one."""
        epoch, _ = newest_entry(config)
        started = time.monotonic()
        learner.end(by)
        following = standby or Process(settings)
        following.wait_for_steps()
        note(name, started)
        wait_for(lambda: newest_entry(config) > (epoch + 1, 0))
        note(f"{name}, to the first new step", started)
        learner.wait()
        following.wait_for_steps(20)
        return following

    for _ in range(RUNS):
        started = time.monotonic()
        subprocess.run([sys.executable, "-c", LOAD, *settings], check=True)
        note("load", started)
    learner = Process(settings)
    learner.wait_for_steps(20)
    for _ in range(RUNS):
        learner = end(learner, signal.SIGKILL, "killed")
        for by, name in ((signal.SIGKILL, "killed with a standby"), (signal.SIGTERM, "ended with a standby")):
            standby = Process(settings)
            standby.wait_until_ready()
            learner = end(learner, by, name, standby)
    learner.end(signal.SIGKILL)
    learner.wait()
    return seconds


def feed(config: Config, until: threading.Event) -> None:
    producer = make_producer(config.kafka)
    for number in itertools.count():
        producer.send(config.kafka.topic, value(number))
        if until.wait(1 / EVENTS_PER_SECOND):
            break
    producer.close()


def run(broker: Broker, directory: Path) -> dict[str, Any]:
    config = demo_config(broker, directory)
    settings = [
        f"kafka.bootstrap_servers={broker.bootstrap_servers}",
        f"updater.model={config.updater.model}",
        f"publisher.directory={config.publisher.directory}",
    ]
    config = config.model_copy(update={"kafka": config.kafka.model_copy(update={"group": "streamlearn"})})
    create_topic(config.kafka, config.kafka.topic)
    done = threading.Event()
    feeding = threading.Thread(target=feed, args=(config, done))
    feeding.start()
    try:
        seconds = measure(config, settings)
    finally:
        done.set()
        feeding.join()
    return {
        "seconds": {name: {"median": median(v), "most": median([max(v)])} for name, v in seconds.items()},
        "within_bounds": {
            "killed: load + 5 s": max(seconds["killed"]) <= max(seconds["load"]) + MORE_SECONDS,
            "killed with a standby: session timeout + 5 s": (
                max(seconds["killed with a standby"]) <= SESSION_SECONDS + MORE_SECONDS
            ),
        },
        "runs": RUNS,
        "broker": broker.name,
    }


def main() -> None:
    with start_broker() as broker, tempfile.TemporaryDirectory() as directory:
        if broker.name != "Apache Kafka":
            print("takeover is left out: the development broker never misses a member that was killed")
            return
        keep("takeover", run(broker, Path(directory)))


if __name__ == "__main__":
    main()
