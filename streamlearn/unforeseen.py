"""What nobody foresaw, in whatever thread: one sentence for a person, and in the log where it was raised.

A thread hands it to the learning thread, which ends the learner: a process that goes on with a part of it dead helps
nobody. Messages of such errors may hold anything, also the text of an event, so they are not shown.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from pathlib import Path

from streamlearn.errors import StreamlearnError, UnforeseenError

log = logging.getLogger(__name__)


def unforeseen(thread: str, error: BaseException) -> StreamlearnError:
    """Return `error` if it is a sentence already; else say which `thread` raised it, and log where."""
    if isinstance(error, StreamlearnError):
        return error
    trace = "\n".join(_trace(error))
    log.error("unforeseen in the thread %s:\n%s", thread, trace, extra={"_lines": True})
    return UnforeseenError(
        f"the thread '{thread}' ended with {_said(error)}{_place(error)}; this is a defect, "
        "please report it with the lines of the log before this one"
    )


def _trace(error: BaseException) -> Iterator[str]:
    """Yield the lines of a traceback, without what the errors say."""
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None:
        yield from _trace(before)
        yield "and then"
    for line in traceback.format_tb(error.__traceback__):
        yield line.rstrip()
    yield _said(error)


def _said(error: BaseException) -> str:
    """Return what kind of error it is; the operating system's say what is wrong with a file or a socket."""
    name = type(error).__name__
    return f"{name} ({error.strerror})" if isinstance(error, OSError) and error.strerror else name


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
