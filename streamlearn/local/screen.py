"""The demo's display while it runs: a live table on a terminal, or else an occasional line."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from streamlearn.local.feed import Feed
from streamlearn.local.record import Record

LINE_SECONDS = 5.0


class Screen:
    """Shows events a second, how well they are predicted, lag, drifts and publishes.

    Parameters
    ----------
    console
        The output; a terminal gets the live table.
    record, feed
        What is shown.

    """

    def __init__(self, console: Console, record: Record, feed: Feed) -> None:
        self._console, self._record, self._feed = console, record, feed
        self._live = Live(console=console, refresh_per_second=4) if console.is_terminal else None
        self._shown_at = 0.0
        self._last = (time.monotonic(), 0)
        self._rate = 0.0
        self._drifts = self._publishes = 0

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def show(self) -> None:
        """Show the current state."""
        now = time.monotonic()
        self._announce()
        if now - self._shown_at < (1.0 if self._live else LINE_SECONDS):
            return
        self._shown_at = now
        then, before = self._last
        self._rate = (self._record.dealt_with - before) / max(now - then, 1e-9)
        self._last = (now, self._record.dealt_with)
        if self._live:
            table = Table(show_header=False, box=None)
            for name, value in self._values().items():
                table.add_row(name, value)
            self._live.update(table)
        else:
            self._console.print("  ".join(f"{name} {value}" for name, value in self._values().items()), soft_wrap=True)

    def _announce(self) -> None:
        """Print what happened once, above the table."""
        record = self._record
        for number in record.drifts[self._drifts :]:
            self._console.print(f"drift detected at event {number}")
        for number in record.publishes[self._publishes :]:
            self._console.print(f"snapshot published, learnt up to event {number}")
        self._drifts, self._publishes = len(record.drifts), len(record.publishes)

    def _values(self) -> dict[str, str]:
        record = self._record
        return {
            "records": f"{record.dealt_with}/{len(self._feed.records)}",
            "events/s": f"{self._rate:.0f}",
            **record.headline(),
            "lag": str(len(self._feed.records) - record.dealt_with),
            "dead letters": str(record.outcomes["dead_letter"]),
            "drifts": str(len(record.drifts)),
            "published": str(len(record.publishes)),
        }
