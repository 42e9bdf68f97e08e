"""What a learner waits for, in plain sentences, and since when: the first question of the person on call."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from streamlearn.config import Kafka
from streamlearn.control import Control
from streamlearn.masking import masked
from streamlearn.monitor.health import Health
from streamlearn.terminal import escaped


class Waiting:
    """What learning, reading and checkpoints wait for.

    Parameters
    ----------
    health, control
        Whether model, group and Kafka are available, and whether an operator has paused the learner.
    config
        The section ``kafka``, for names.
    clock
        Seconds since 1970.

    Attributes
    ----------
    takeover
        Why a takeover has not finished; empty if none is in progress.
    reading
        What reading waits for, as in :class:`~streamlearn.source.Watch`; empty for nothing.
    checkpoint
        Why the last checkpoint could not be written; empty if it was.
    idle, behind
        Whether no step has been taken for a while, and whether Kafka has records for one; None if not known yet.

    """

    def __init__(
        self, health: Health, control: Control, config: Kafka, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._health, self._control, self._config, self._clock = health, control, config, clock
        self.takeover = self.reading = self.checkpoint = ""
        self.idle = False
        self.behind: bool | None = None
        self._since: dict[str, float] = {}
        self._lock = threading.Lock()

    @property
    def state(self) -> str:
        """The learner's state in one to three words."""
        state = self._health.state
        return "paused" if self._control.paused and state == "active" else state

    def view(self) -> list[dict[str, Any]]:
        """Return everything that is waited for: what it is ``for``, a sentence as ``text``, and ``since`` when.

        The time is in seconds since 1970: that of the first call in a row that found it. Nothing is waited for while
        the learner learns.
        """
        now, found = self._clock(), self._found()
        with self._lock:
            self._since = {thing: self._since.get(thing, now) for thing in found}
            since = self._since
        return [{"for": thing, "text": escaped(masked(text)), "since": since[thing]} for thing, text in found.items()]

    def _found(self) -> dict[str, str]:
        first = next(((thing, text) for thing, applies, text in self._reasons() if applies), None)
        found = dict([first]) if first else {}
        if self.checkpoint and self._health.active:
            found["checkpoint"] = f"waiting to write a checkpoint, while learning goes on: {self.checkpoint}"
        return found

    def _reasons(self) -> Iterator[tuple[str, bool, str]]:
        """Yield the possible causes in the order in which they arise: name, whether it applies, sentence."""
        health, reading = self._health, self.reading
        topic, group, letters = self._config.topic, self._config.group, self._config.dead_letter_topic
        yield "model", not health.model_loaded, "waiting for its model, which is being loaded"
        yield "kafka", not health.kafka_answers, "waiting for Kafka, which does not answer"
        yield "group", not health.joined, f"waiting to become a member of group {group}"
        yield "topic", not health.active and reading == "topic", f"waiting for topic {topic}, which is not there"
        yield (
            "turn",
            not health.active,
            f"standing by: another learner of group {group} is active",
        )
        yield "takeover", bool(self.takeover), self.takeover
        yield "operator", self._control.paused, "paused by an operator: waiting for 'streamlearn resume'"
        yield (
            "dead_letters",
            reading == "dead_letters",
            f"waiting for topic {letters} to take dead letters: until it does, nothing more is read",
        )
        yield "schemas", reading == "schemas", "waiting for the schema registry, without which no record can be decoded"
        yield (
            "records",
            self.idle and bool(self.behind),
            "waiting for records that Kafka has and has not handed over yet",
        )
        known = self.behind is not None
        yield "events", self.idle and known, "waiting for events: all that the topic holds has been dealt with"
        yield "events", self.idle, "waiting for events: whether the topic holds more is not known yet"
        yield (
            "learning",
            reading == "learning",
            "reading waits for learning: as much has been read ahead as kafka.queue_records and queue_bytes allow",
        )
