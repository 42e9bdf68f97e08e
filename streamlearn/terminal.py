r"""Output for a terminal: without secrets, and without anything that could move the cursor or forge a line.

A label, the text of an event, the name of a file or the error of a library may contain escape sequences, line breaks or
marks that change the direction of writing. Each is shown as Python escapes it in a string: ``\x1b``.
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
"""Unicode's categories Cc, Cf, Cs, Zl and Zp, except the two joiners, which some scripts and emoji need."""


ERASE = "\r\x1b[K"  # back to the start of the line, and clear it


class StatusLine:
    """A status line that stays at the bottom of a terminal, below the log; nothing if standard error is not a terminal.

    If the terminal goes away, the line is switched off; no method raises an error for that.

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
        """Start showing it, if there is a terminal."""
        try:
            self.on = sys.stderr.isatty()
        except ValueError:  # it is closed
            self.on = False

    def show(self, line: str) -> None:
        """Show `line`."""
        if self.on:
            with self._lock:
                self._line = escaped(masked(line))[: shutil.get_terminal_size().columns - 1]
                self._write(f"{ERASE}{self._line}")

    @contextmanager
    def away(self) -> Iterator[None]:
        """Hide it while something else is written."""
        if not self.on:
            yield
            return
        with self._lock:
            self._write(ERASE)
            yield
            self._write(self._line)

    def end(self) -> None:
        """Remove it for good."""
        with self._lock:
            if self._line:
                self._write(ERASE)
            self.on, self._line = False, ""

    def _write(self, text: str) -> None:
        """Write `text`; if the terminal has gone away, switch the line off."""
        if self.on:
            try:
                sys.stderr.write(text)
                sys.stderr.flush()
            except (OSError, ValueError):  # hung up, or closed
                self.on, self._line = False, ""


STATUS = StatusLine()


def escaped(text: Any) -> str:
    r"""Return `text` so that it fits within a line: invisible characters and line breaks are escaped.

    >>> escaped("ham\x1b[2J\nspam")
    'ham\\x1b[2J\\nspam'
    """
    return UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))


def say(line: str, *, error: bool = False) -> None:
    """Print `line`, escaped and with secrets masked; to standard error if `error` is true."""
    typer.echo(escaped(masked(line)), err=error)


def say_texts(*texts: Any) -> None:
    """Print `texts`, which are the user's own and contain none of our secrets, escaped and separated by tabs."""
    typer.echo("\t".join(map(escaped, texts)))


def say_json(value: Any) -> None:
    """Print `value` as one line of JSON, with JSON's own escapes."""
    typer.echo(as_json(value))


def as_json(value: Any) -> str:
    """Return `value` as JSON that keeps visible characters readable and escapes the rest."""
    return UNSEEN.sub(lambda found: json.dumps(found[0])[1:-1], json.dumps(value, ensure_ascii=False))


def readable(argument: str) -> str:
    """Return `argument`, as passed by a shell, with invalid UTF-8 replaced."""
    return argument.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def prepare() -> None:
    """Make standard output and error accept any character, and standard input any byte, whatever the locale."""
    for stream, errors in ((sys.stdin, "replace"), (sys.stdout, "backslashreplace"), (sys.stderr, "backslashreplace")):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=errors)
