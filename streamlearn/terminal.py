r"""What a person reads on a terminal: without secrets, and without anything that could move a cursor or forge a line.

A label, the text of an event, the name of a file or the error of a library may hold escape sequences, line breaks or
marks that turn the direction of writing. Each of them is shown as Python writes it in a string: ``\x1b``.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from streamlearn.masking import masked

UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b\u200e\u200f\u2028-\u202e"
    "\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U00013438\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f]"
)
"""Unicode's categories Cc, Cf, Cs, Zl and Zp, but for the two joiners, which belong to some scripts and to emoji."""


ERASE = "\r\x1b[K"  # back to the start of the line, and nothing on it


class StatusLine:
    """A line that stays the last one on a terminal, below those of the log; nothing where standard error is none.

    A terminal that goes away takes the line with it, and nothing else: no method raises for it.

    Attributes
    ----------
    on
        Whether it is shown.

    """

    def __init__(self) -> None:
        self.on = False
        self._line = ""
        self._lock = threading.RLock()

    def begin(self) -> None:
        """Show it from now on, if there is a terminal."""
        try:
            self.on = sys.stderr.isatty()
        except ValueError:  # it is closed
            self.on = False

    def show(self, line: str) -> None:
        """Have `line` stand there."""
        if self.on:
            with self._lock:
                self._line = escaped(masked(line))[: shutil.get_terminal_size().columns - 1]
                self._write(f"{ERASE}{self._line}")

    @contextmanager
    def away(self) -> Iterator[None]:
        """Take it away while something else is written."""
        if not self.on:
            yield
            return
        with self._lock:
            self._write(ERASE)
            yield
            self._write(self._line)

    def end(self) -> None:
        """Take it away for good."""
        with self._lock:
            if self._line:
                self._write(ERASE)
            self.on, self._line = False, ""

    def _write(self, text: str) -> None:
        """Write `text` if the terminal is there; where it has gone away, be off from now on."""
        if self.on:
            try:
                sys.stderr.write(text)
                sys.stderr.flush()
            except (OSError, ValueError):  # hung up, or closed
                self.on, self._line = False, ""


STATUS = StatusLine()


def escaped(text: Any) -> str:
    r"""Return `text` as it may stand within a line: what is not seen, or would break it, is written out.

    >>> escaped("ham\x1b[2J\nspam")
    'ham\\x1b[2J\\nspam'
    """
    return UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))


def say(line: str, *, error: bool = False) -> None:
    """Print `line`, escaped and with secrets masked; to standard error where `error` says so."""
    typer.echo(escaped(masked(line)), err=error)


def say_texts(*texts: Any) -> None:
    """Print `texts`, which are somebody's own and hold no secret of ours, escaped and with tabs between them."""
    typer.echo("\t".join(map(escaped, texts)))


def say_json(value: Any) -> None:
    """Print `value` as one line of JSON, in which strings are escaped as JSON does it."""
    typer.echo(as_json(value))


def as_json(value: Any) -> str:
    """Return `value` as JSON that keeps what is seen readable and writes out the rest."""
    return UNSEEN.sub(lambda found: json.dumps(found[0])[1:-1], json.dumps(value, ensure_ascii=False))


def readable(argument: str) -> str:
    """Return `argument`, as a shell handed it over, with what is no UTF-8 replaced."""
    return argument.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def prepare() -> None:
    """Let standard output and error take any character, and standard input any byte, whatever the locale."""
    for stream, errors in ((sys.stdin, "replace"), (sys.stdout, "backslashreplace"), (sys.stderr, "backslashreplace")):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=errors)
