"""The demo's plot: accuracy and loss over events, with the drifts and publications."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

from streamlearn.local.data import Part
from streamlearn.local.feed import Feed
from streamlearn.local.record import Record, TextRecord

mpl.use("Agg")
from matplotlib import pyplot as plt

WINDOW = 200
WINDOW_OF_TEXTS = 60
ACCURACY, LOSS, DRIFT, INK = "#1f6f8b", "#b0632c", "#b3261e", "#444444"
PUBLISHED: dict[str, Any] = {
    "marker": "^",
    "color": INK,
    "markersize": 6,
    "label": "published",
    "linestyle": "none",
}


def draw(record: Record, feed: Feed, parts: list[Part], path: Path) -> None:
    """Draw `record` to `path`, a PNG."""
    figure, (upper, lower) = plt.subplots(2, 1, sharex=True, figsize=(10, 5.6), height_ratios=(3, 2), dpi=110)
    upper.plot(record.numbers, record.rolling(record.correct, WINDOW), color=ACCURACY, linewidth=1.6)
    lower.plot(record.numbers, record.rolling(record.losses, WINDOW), color=LOSS, linewidth=1.6)
    upper.set(ylabel=f"accuracy, last {WINDOW}", ylim=(0, 1.02))
    lower.set(ylabel=f"loss, last {WINDOW}", xlabel="event")
    lower.set_ylim(bottom=0)
    _mark(record, feed, parts, [upper, lower])
    upper.plot(record.publishes, [0.03] * len(record.publishes), **PUBLISHED)
    upper.legend(loc="center right", frameon=False)
    figure.suptitle("Test-then-train on a stream whose concepts change and come back", y=0.99, color=INK)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def draw_bits(record: TextRecord, feed: Feed, parts: list[Part], path: Path) -> None:
    """Plot a language model's bits per byte for each text to `path`, a PNG."""
    figure, axes = plt.subplots(figsize=(10, 4.2), dpi=110)
    bits = record.rolling_bits(WINDOW_OF_TEXTS)
    axes.plot(record.numbers, bits, color=LOSS, linewidth=1.6)
    top = max(bits[WINDOW_OF_TEXTS:], default=max(bits))  # a much higher start would flatten the rest of the curve
    axes.set_ylim(0.97 * min(bits), 1.03 * top)
    axes.set(ylabel=f"bits per byte, last {WINDOW_OF_TEXTS} texts", xlabel="text")
    _mark(record, feed, parts, [axes])
    axes.plot(record.publishes, [0.98 * min(bits)] * len(record.publishes), **PUBLISHED)
    axes.legend(loc="upper right", frameon=False)
    figure.suptitle("Each text is predicted, token by token, and then learnt", y=0.99, color=INK)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def _mark(record: Record, feed: Feed, parts: list[Part], every: list[Any]) -> None:
    """Mark the parts and the drifts on `every` axes, and name the parts above the first."""
    ends = [*feed.begins[1:], len(feed.records)]
    for index, (part, begin, end) in enumerate(zip(parts, feed.begins, ends, strict=True)):
        for axes in every:
            axes.axvspan(begin, end, color=INK, alpha=0.07 if index % 2 else 0.0, linewidth=0)
        beside = every[0].get_xaxis_transform()
        every[0].text((begin + end) / 2, 1.02, part.name, ha="center", va="bottom", color=INK, transform=beside)
    for axes in every:
        for number, drift in enumerate(record.drifts):
            axes.axvline(drift, color=DRIFT, linewidth=1.2, linestyle="--", label="drift" if not number else None)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.25)
