"""Streams for learners under fault, and the settings with which they learn them in steps that do not depend on time."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from pathlib import Path

from streamlearn.config import load
from streamlearn.learner.admission import BUCKETS
from streamlearn.local.broker import Broker
from streamlearn.local.feed import POISON
from tests.integration.conftest import settings
from tests.integration.learner import event


def stream(trained: int) -> Iterator[bytes | None]:
    """Yield events, and some poison, until `trained` of them are not held out; a label comes late."""
    config = load().events
    number = 0
    while trained:
        value = event(number, label="late-comer" if number > 100 and number % 9 == 0 else None)
        text = json.loads(value)["text"]
        trained -= zlib.crc32(text.encode()) >= int(config.holdout_ratio * BUCKETS)
        yield value
        if number % 40 == 7:
            yield POISON[number // 40 % len(POISON)][0]
        number += 1


def learner_settings(broker: Broker, topic: str, model: Path, directory: Path) -> list[str]:
    return [
        *settings(broker, topic, model, directory),
        f"kafka.group={directory.name}",
        "kafka.poll_records=50",
        "updater.micro_batch=4",
        "updater.max_wait_seconds=60",
        "publisher.checkpoints.every_steps=7",
        "publisher.snapshots.every_steps=13",
    ]
