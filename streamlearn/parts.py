"""The parts of a running learner: who is given what, and what is started before what."""

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
    """What stands around the loop.

    Parameters
    ----------
    config
        The whole configuration.
    stopping
        Ends every wait once it is set; set by :meth:`running` at its end.

    Attributes
    ----------
    monitor
        Is told everything, and shows it.
    dead_letters
        Where refused records go.
    source, consumer
        Where events come from, and what reads them.
    keeper, publisher
        What is kept for recovery, and what leaves.
    died
        What has ended a thread that nobody looks after, None while nothing has.

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
        """Start everything but the consumer, which waits for the model; at the end, stop all of it in reverse.

        So nobody refuses records any more when the dead letters end.

        Raises
        ------
        ConfigurationError
            If the address of the server cannot be used.
        BrokerError
            If Kafka cannot be reached, or has not what is read or where refused records go.
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
            stack.callback(self._stopping.set)  # whatever ended it, from there on nothing is waited for at length
            yield

    def recall(self) -> None:
        """Have it shown what the newest checkpoint says of the past, unless it is shown already."""
        checkpoints = self.keeper.checkpoints
        try:
            newest = max(checkpoints.names(), default="")
            if newest != self._recalled:
                self._recalled = newest  # once, or what cannot be read would be named again and again
                self.monitor.recalled(checkpoints.history(newest), self.publisher.snapshots.newest())
        except (OSError, StateError) as error:  # a takeover says what of it matters
            log.debug("the past is not shown: %s", error)

    def thread_died(self, died: threading.ExceptHookArgs) -> None:
        """Remember what has ended a thread that nobody looks after; a ``threading.excepthook``."""
        name = died.thread.name if died.thread else "unknown"
        self.died = unforeseen(name, died.exc_value or died.exc_type())

    def require_alive(self) -> None:
        """Raise what has ended another thread, if something has."""
        for failed in (self.dead_letters.failed, self.publisher.failed, self.monitor.failed, self.died):
            if failed:
                raise failed

    def _membership(self, joined: bool) -> None:
        if joined and self._seat:
            self._seat.remember(self.consumer.member)
        self.monitor.joined(joined)
