"""Learns from the topic until told to stop, with the log set up and every error turned into one sentence."""

from __future__ import annotations

import signal
import threading
from typing import Any

from streamlearn.config import Config
from streamlearn.monitor.logs import START, adopt, catch, configure
from streamlearn.unforeseen import unforeseen


def run(config: Config) -> None:
    """Learn until SIGTERM or SIGINT, then checkpoint, publish and leave.

    While nothing unsaved has been learnt, the first of these signals ends the process at once; later signals, and
    repeated ones, are only noted.

    Raises
    ------
    StreamlearnError
        The error that ended learning, as one sentence.

    """
    stopping = threading.Event()
    pipeline: Any = None

    def told_to_end(*_: object) -> None:
        again = stopping.is_set()
        stopping.set()
        if pipeline and pipeline.starting and not again:  # it may be waiting for Kafka or loading a model
            raise SystemExit(0)

    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, told_to_end)
    placed = configure(config.monitor, lambda: START)
    catch()
    try:
        from streamlearn.pipeline import Pipeline  # noqa: PLC0415 - torch takes seconds to import

        pipeline = Pipeline(config, stopping=stopping)
        placed.place = pipeline.monitor.place
        threading.excepthook = pipeline.thread_died
        adopt()
        pipeline.run()
    except Exception as error:  # noqa: BLE001 - whatever it is, it becomes a sentence
        raise unforeseen("learning", error) from None
