"""Whether a change keeps the bits: the demo's stretch under this tree and under another revision, snapshots compared.

    python -m benchmarks.bits --against HEAD~3

Both learn the same records from one broker as ``streamlearn run`` does, with the same packages. Every record is in
the topic before the learner starts, so the micro-batches are full and the same for both.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import yaml

import streamlearn
from streamlearn.config import load
from streamlearn.consumer.client import create_topic
from streamlearn.local.broker import Broker, free_port, start_broker
from streamlearn.local.data import minilm, newsgroups
from streamlearn.local.feed import Feed, make_feed, send

DEADLINE_SECONDS = 600.0


def digests(tree: Path, broker: Broker, feed: Feed, directory: Path, name: str) -> dict[str, str]:
    """Return the SHA-256 of what each snapshot holds that the learner of `tree` publishes of `feed`, by its file."""
    with (tree / "streamlearn" / "local" / "demo.yaml").open() as file:
        settings = yaml.safe_load(file)
    settings["kafka"] |= {"bootstrap_servers": broker.bootstrap_servers, "topic": name, "group": name}
    settings["updater"]["model"] = str(minilm())
    settings["publisher"]["directory"] = str(directory / name)
    settings["publisher"]["snapshots"] |= {"every_steps": 20, "every_seconds": None}  # by what was learnt, not by time
    settings["monitor"]["port"] = port = free_port()
    configuration = directory / f"{name}.yaml"
    configuration.write_text(yaml.safe_dump(settings))
    kafka = load(configuration).kafka
    for topic in (kafka.topic, kafka.dead_letter_topic):
        create_topic(kafka, topic)
    send(kafka, feed)
    process = subprocess.Popen(
        [sys.executable, "-m", "streamlearn", "run", "--config", str(configuration)],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree)},
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + DEADLINE_SECONDS
    while dealt_with(port) < len(feed.records):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the learner of {tree} has not dealt with all records")
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    process.wait()
    snapshots = sorted((directory / name / "snapshots").glob("v*/*.safetensors"))
    return {f"{path.parent.name}/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest() for path in snapshots}


def dealt_with(port: int) -> float:
    """Return how many records the learner at `port` has dealt with, 0 while it does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return 0.0
    return sum(float(line.split()[-1]) for line in lines if line.startswith("streamlearn_events_total{"))


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--against", required=True, metavar="REV")
    arguments.add_argument("--events", type=int, default=600, help="of the first part, and as many of the second")
    options = arguments.parse_args()
    here = Path(streamlearn.__file__).parent.parent
    feed = make_feed(newsgroups((options.events, options.events, 0)))
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        other = directory / "other"
        git = ["git", "-C", str(here), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(other), options.against], check=True)
        stack.callback(subprocess.run, [*git, "remove", "--force", str(other)], check=True)
        broker = stack.enter_context(start_broker())
        ours = digests(here, broker, feed, directory, "ours")
        theirs = digests(other, broker, feed, directory, "theirs")
    for file in sorted(ours | theirs):
        same = ours.get(file) == theirs.get(file)
        print(file, "same bits" if same else f"differs: {ours.get(file)} here, {theirs.get(file)} there")
    return 0 if ours == theirs else 1


if __name__ == "__main__":
    sys.exit(main())
