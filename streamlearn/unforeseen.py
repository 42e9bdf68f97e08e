"""Unexpected errors in any thread: one sentence for the user, and where it was raised in the log.

A thread passes the error to the learning thread, which ends the learner: a process must not go on with one of its parts
dead. The messages of such errors may contain anything, even the text of an event, so they are not shown.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from pathlib import Path

from streamlearn.errors import StreamlearnError, UnforeseenError

log = logging.getLogger(__name__)


def unforeseen(thread: str, error: BaseException) -> StreamlearnError:
    """Return `error` if it is one of our own; else log where it was raised, and return one that names the `thread`."""
    if isinstance(error, StreamlearnError):
        return error
    trace = "\n".join(_trace(error))
    log.error("unforeseen in the thread %s:\n%s", thread, trace, extra={"_lines": True})
    return UnforeseenError(
        f"the thread '{thread}' ended with {_said(error)}{_place(error)}; this is a defect, "
        "please report it with the lines of the log before this one"
    )


def _trace(error: BaseException) -> Iterator[str]:
    """Yield the lines of a traceback, without the errors' messages."""
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None:
        yield from _trace(before)
        yield "and then"
    for line in traceback.format_tb(error.__traceback__):
        yield line.rstrip()
    yield _said(error)


def _said(error: BaseException) -> str:
    """Return the type of the error; for an operating system error also what is wrong with the file or socket."""
    name = type(error).__name__
    return f"{name} ({error.strerror})" if isinstance(error, OSError) and error.strerror else name


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
