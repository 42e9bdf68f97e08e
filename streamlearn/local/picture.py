"""The demo's picture: accuracy and loss over events, with the drifts and the publishes."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

from streamlearn.local.data import Part
from streamlearn.local.feed import Feed
from streamlearn.local.record import Record

mpl.use("Agg")
from matplotlib import pyplot as plt

WINDOW = 200
ACCURACY, LOSS, DRIFT, INK = "#1f6f8b", "#b0632c", "#b3261e", "#444444"


def draw(record: Record, feed: Feed, parts: list[Part], path: Path) -> None:
    """Draw `record` to `path`, a PNG."""
    figure, (upper, lower) = plt.subplots(2, 1, sharex=True, figsize=(10, 5.6), height_ratios=(3, 2), dpi=110)
    upper.plot(record.numbers, record.rolling(record.correct, WINDOW), color=ACCURACY, linewidth=1.6)
    lower.plot(record.numbers, record.rolling(record.losses, WINDOW), color=LOSS, linewidth=1.6)
    upper.set(ylabel=f"accuracy, last {WINDOW}", ylim=(0, 1.02))
    lower.set(ylabel=f"loss, last {WINDOW}", xlabel="event")
    lower.set_ylim(bottom=0)
    ends = [*feed.begins[1:], len(feed.records)]
    for index, (part, begin, end) in enumerate(zip(parts, feed.begins, ends, strict=True)):
        for axes in (upper, lower):
            axes.axvspan(begin, end, color=INK, alpha=0.07 if index % 2 else 0.0, linewidth=0)
        upper.text((begin + end) / 2, 1.05, part.name, ha="center", va="bottom", color=INK)
    for number, drift in enumerate(record.drifts):
        for axes in (upper, lower):
            axes.axvline(drift, color=DRIFT, linewidth=1.2, linestyle="--", label="drift" if not number else None)
    upper.plot(
        record.publishes,
        [0.03] * len(record.publishes),
        "^",
        color=INK,
        markersize=6,
        label="published",
        linestyle="none",
    )
    upper.legend(loc="center right", frameon=False)
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.25)
    figure.suptitle("Test-then-train on a stream whose concepts change and come back", y=0.99, color=INK)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
