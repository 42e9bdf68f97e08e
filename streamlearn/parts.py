"""The parts of a running learner: how they are connected, and in which order they start."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from streamlearn.checkpointing.fence import source_of
from streamlearn.checkpointing.keeper import Keeper
from streamlearn.checkpointing.seat import Seat
from streamlearn.config import Config
from streamlearn.consumer import make_source
from streamlearn.consumer.dead_letter_topic import make_dead_letters, require_dead_letter_topic
from streamlearn.errors import StateError, StreamlearnError
from streamlearn.monitor.monitor import Monitor
from streamlearn.patience import Patience
from streamlearn.publisher.publisher import Publisher
from streamlearn.source import Watch
from streamlearn.unforeseen import unforeseen

log = logging.getLogger(__name__)

SETTLE_SECONDS = 30.0


class Parts:
    """The parts around the loop.

    Parameters
    ----------
    config
        The whole configuration.
    stopping
        Ends every wait once it is set; set by :meth:`running` at its end.

    Attributes
    ----------
    monitor
        Receives all events, and shows them.
    dead_letters
        Where refused records go.
    source, consumer
        Where events come from, and what reads them.
    keeper, publisher
        What saves state for recovery, and what publishes.
    died
        The error that has ended an unattended thread, or None.

    """

    def __init__(self, config: Config, stopping: threading.Event) -> None:
        self._config, self._stopping = config, stopping
        self._seat: Seat | None = None
        self._recalled = ""
        self.died: StreamlearnError | None = None
        self.monitor = monitor = Monitor(config)
        patience = Patience(stopping)
        self.source = make_source(config)
        self.dead_letters = make_dead_letters(
            config.kafka, refused=monitor.refused, detail=self.source.detail, told=monitor.explained, patience=patience
        )
        self.consumer = self.source.consumer(
            refusals=self.dead_letters,
            watch=Watch(
                polled=monitor.polled,
                decoded=monitor.decoded,
                membership=self._membership,
                skipped=monitor.skipped,
                committed=monitor.committed,
                answers=monitor.answered,
                waits=monitor.waits,
            ),
            patience=patience,
        )
        self.keeper = Keeper(
            config.publisher,
            configuration=config.decisive(),
            source=source_of(config.kafka.group, config.kafka.topic),
        )
        self.publisher = Publisher(
            config.publisher,
            keeper=self.keeper,
            change=self.keeper.fence.change,
            settle=lambda: self.dead_letters.settle(SETTLE_SECONDS),
            commit=self.consumer.commit,
            progress=monitor,
        )

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start everything but the consumer, which waits for the model; on exit, stop it in reverse order.

        So no records are refused any more when the dead letters are closed.

        Raises
        ------
        ConfigurationError
            If the address of the server cannot be used.
        BrokerError
            If Kafka cannot be reached, or the topic or the dead-letter topic does not exist.
        StateError
            If the state directory cannot be used.

        """
        with ExitStack() as stack:
            self.keeper.check()
            self.monitor.start()
            stack.callback(self.monitor.stop)
            self.source.require()
            log.info("dead letters: %s", require_dead_letter_topic(self._config.kafka))
            self._seat = Seat(self._config.publisher.directory / "seats")
            stack.callback(self._seat.leave)
            if self._seat.ghost:
                self.source.expel(self._seat.ghost)
            stack.callback(self.keeper.close)
            self.publisher.start()
            stack.callback(self.publisher.stop)
            self.dead_letters.start()
            stack.callback(self.dead_letters.stop)
            stack.callback(self.consumer.stop)
            stack.callback(self._stopping.set)  # whatever the cause, nothing waits long from here on
            yield

    def recall(self) -> None:
        """Show the history in the newest checkpoint, unless it is shown already."""
        checkpoints = self.keeper.checkpoints
        try:
            newest = max(checkpoints.names(), default="")
            if newest != self._recalled:
                self._recalled = newest  # once, or an unreadable checkpoint would be reported again and again
                self.monitor.recalled(checkpoints.history(newest), self.publisher.snapshots.newest())
        except (OSError, StateError) as error:  # a takeover reports what matters of it
            log.debug("the past is not shown: %s", error)

    def thread_died(self, died: threading.ExceptHookArgs) -> None:
        """Remember the error that has ended an unattended thread; a ``threading.excepthook``."""
        name = died.thread.name if died.thread else "unknown"
        self.died = unforeseen(name, died.exc_value or died.exc_type())

    def require_alive(self) -> None:
        """Raise the error that has ended another thread, if there is one."""
        for failed in (self.dead_letters.failed, self.publisher.failed, self.monitor.failed, self.died):
            if failed:
                raise failed

    def _membership(self, joined: bool) -> None:
        if joined and self._seat:
            self._seat.remember(self.consumer.member)
        self.monitor.joined(joined)
