"""Plots of accuracy over events: of an evaluation, part by part, and of compared configurations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamlearn.commands.tally import Tally
from streamlearn.errors import ConfigurationError, StreamlearnError
from streamlearn.terminal import escaped

WINDOW = 200  # events
ACCURACY, LOSS, INK = "#1f6f8b", "#b0632c", "#444444"


def require_drawable(path: Path) -> None:
    """Raise ConfigurationError if no plot can be written to `path`, before there is anything to draw."""
    if find_spec("matplotlib") is None:
        raise ConfigurationError("--plot needs matplotlib; pip install 'streamlearn[demo]' brings it")
    from matplotlib.figure import Figure  # noqa: PLC0415 - it may not be there

    formats = Figure().canvas.get_supported_filetypes()
    if path.suffix.removeprefix(".").lower() not in formats:
        raise ConfigurationError(f"--plot {path}: the name must end in the name of a format, such as .png or .svg")
    if path.is_dir() or not path.parent.is_dir():
        raise ConfigurationError(f"--plot {path}: there is no directory {path.parent} to write it to, or it is one")


def draw(tally: Tally, path: Path) -> None:
    """Draw `tally` to `path`, in the format of its extension; StreamlearnError if it cannot be written."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - it may not be there

    figure = Figure(figsize=(10, 5.6), dpi=110)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    upper.plot(rolling(tally.correct), color=ACCURACY, linewidth=1.6)
    lower.plot(rolling(tally.losses), color=LOSS, linewidth=1.6)
    upper.set(ylabel=f"accuracy, last {WINDOW}", ylim=(0, 1.02))
    lower.set(ylabel=f"loss, last {WINDOW}", xlabel="event")
    lower.set_ylim(bottom=0)
    ends = [*(begin for begin, _ in tally.begins[1:]), len(tally.correct)]
    for index, ((begin, part), end) in enumerate(zip(tally.begins, ends, strict=True)):
        for axes in (upper, lower):
            axes.axvspan(begin, end, color=INK, alpha=0.07 if index % 2 else 0.0, linewidth=0)
        upper.text((begin + end) / 2, 1.05, escaped(part), ha="center", va="bottom", color=INK, parse_math=False)
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.25)
    _save(figure, path)


def draw_courses(each: Mapping[str, Sequence[float]], path: Path, *, name: str) -> None:
    """Plot the values called `name` of `each` configuration, event by event, to `path`; errors as in `draw`."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - it may not be there

    figure = Figure(figsize=(10, 4.4), dpi=110)
    axes = figure.subplots()
    for configuration, values in each.items():
        axes.plot(rolling(values), linewidth=1.6, label=escaped(configuration).replace("$", r"\$"))  # not a formula
    axes.set(ylabel=f"{name}, last {WINDOW}", xlabel="event")
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    axes.legend(frameon=False)
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    figure.tight_layout()
    try:
        figure.savefig(path)
    except OSError as error:
        raise StreamlearnError(f"the picture cannot be written to {path}: {error.strerror}") from None


def rolling(values: Sequence[float] | bytearray) -> NDArray[np.float64]:
    """Return the mean of each of `values` and those before it, at most WINDOW of them."""
    sums = np.concatenate([[0.0], np.cumsum(np.asarray(values, dtype=np.float64))])
    ends = np.arange(1, len(sums))
    begins = np.maximum(ends - WINDOW, 0)
    means: NDArray[np.float64] = (sums[ends] - sums[begins]) / (ends - begins)
    return means
