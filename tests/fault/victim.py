"""A learner that kills or freezes itself at a chosen point, forked from a process that has imported everything."""

from __future__ import annotations

import itertools
import logging
import multiprocessing.process
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from kafka import KafkaConsumer

from streamlearn.buffer import RecentWindow
from streamlearn.checkpointing import checkpoints
from streamlearn.checkpointing.journal import Journal
from streamlearn.config import load
from streamlearn.consumer.decode import Decoder
from streamlearn.learner import Learner
from streamlearn.pipeline import Pipeline
from streamlearn.publisher import snapshots
from streamlearn.updater.experts.transformer.optimizer import Optimizer
from tests.forked import FORKS

POINTS: dict[str, tuple[Any, str, int]] = {
    "poll": (KafkaConsumer, "poll", 3),
    "decode": (Decoder, "decode", 130),
    "journal append": (Journal, "append", 71),
    "backward": (torch.Tensor, "backward", 71),
    "optimiser step": (Optimizer, "step", 71),
    "buffer insert": (RecentWindow, "extend", 71),
    "temp write": (checkpoints, "write_state", 2),
    "fsync": (os, "fsync", 7),
    "rename": (Path, "rename", 2),
    "offset commit": (KafkaConsumer, "commit", 1),
    "pointer move": (snapshots, "point", 1),
}
"""Where to kill: the function after whose n-th call that brings something the process ends."""

DEADLINE_SECONDS = 90.0


def start(
    overrides: list[str], *, until: int, point: str = "", nth: int = 0, by: signal.Signals = signal.SIGKILL
) -> multiprocessing.process.BaseProcess:
    """Start a learner that ends as SIGTERM ends one once its positions add up to `until`.

    Where `point` names one, it sends itself the signal `by` there, at the `nth` call or at the one that POINTS says.
    """
    process = FORKS.Process(target=_run, args=(overrides, until, point, nth, by))
    process.start()
    return process


def exit_code(process: multiprocessing.process.BaseProcess) -> int | None:
    """Wait for `process` and return how it ended: minus the signal, where one ended it."""
    process.join(DEADLINE_SECONDS)
    code = process.exitcode
    if code is None:
        process.kill()
    return code


def _run(overrides: list[str], until: int, point: str, nth: int, by: signal.Signals) -> None:
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)-7s %(message)s")
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    if point:
        owner, name, usual = POINTS[point]
        setattr(owner, name, deadly(getattr(owner, name), nth or usual, by))
    for name in ("learn", "load"):
        setattr(Learner, name, _looking(getattr(Learner, name), until, stopping))
    Pipeline(load(overrides=overrides), stopping=stopping).run()


def _looking(method: Callable[..., Any], until: int, stopping: threading.Event) -> Callable[..., Any]:
    def wrapped(learner: Learner, *arguments: Any) -> Any:
        result = method(learner, *arguments)
        if sum(learner.positions.values()) >= until:
            stopping.set()
        return result

    return wrapped


def deadly(function: Callable[..., Any], nth: int, by: signal.Signals) -> Callable[..., Any]:
    """Return `function` that ends its process with the signal `by` after its `nth` call that brings something."""
    calls = itertools.count(1)

    def wrapped(*arguments: Any, **options: Any) -> Any:
        result = function(*arguments, **options)
        if result != {} and next(calls) == nth:
            signal.pthread_kill(threading.get_ident(), by)  # this very thread goes no further
        return result

    return wrapped
