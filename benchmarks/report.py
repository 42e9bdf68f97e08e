"""Makes of what has been kept of the runs a table in Markdown, a picture and the figures that others quote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

from benchmarks.figures import AFTER_SWITCH, FIRST, SMOOTHED, WORST, Run, figures, means
from benchmarks.peers import PEERS
from benchmarks.streams import Stream

mpl.use("Agg")
from matplotlib import pyplot as plt

CALLED = {
    "tokens": "streamlearn, tokens alone",
    "frozen": "streamlearn, one frozen pass",
    "tuned": "streamlearn",
    "transformer": "streamlearn, transformer alone",
    "river_naive_bayes": "river TF-IDF → naive Bayes",
    "river_softmax": "river TF-IDF → softmax",
    "vowpal_wabbit": "Vowpal Wabbit",
    "scikit_learn": "scikit-learn hashing → SGD",
    "frozen_softmax": "frozen MiniLM → linear head",
    "tutorial_loop": "tutorial loop (MiniLM, AdamW)",
}
COLORS = {
    "tuned": "#1f6f8b",
    "frozen": "#5b9fb5",
    "tokens": "#9cc7d4",
    "river_naive_bayes": "#b0632c",
    "river_softmax": "#d39a5f",
    "vowpal_wabbit": "#7a5195",
    "scikit_learn": "#b99ac9",
    "frozen_softmax": "#5f8a3a",
    "tutorial_loop": "#b3261e",
}
QUOTED = ("overall", f"first_{AFTER_SWITCH}", "recovery_events", "return", f"first_{FIRST}")
"""The figures of the newsgroups that stand at the top of ``learning.json``, beside the sentiment's overall accuracy."""
LESS_IS_BETTER = "recovery_events"


@dataclass(frozen=True)
class Runs:
    """The runs of one learner on one stream, a seed each, and the stream of each seed."""

    streams: list[Stream]
    runs: list[Run]

    def means(self) -> dict[str, float]:
        """Return the mean over seeds of each figure."""
        return means([figures(stream, run) for stream, run in zip(self.streams, self.runs, strict=True)])


Found = Mapping[str, Mapping[str, Runs]]  # by stream, then by learner; only what there is


def quoted(found: Found) -> dict[str, float | str]:
    """Return the figures at the top of ``learning.json``, as far as they have been measured."""
    top: dict[str, float | str] = {}
    names = [("newsgroups", name) for name in QUOTED] + [("sentiment", "overall")]
    for stream, name in names:
        own = {learner: runs.means()[name] for learner, runs in found.get(stream, {}).items()}
        for learner, before in (("tuned", ""), ("tokens", "tier1_"), ("frozen", "tier2_")):
            if learner in own:
                top[f"{before}{stream}_{name}"] = own[learner]
        peers = {learner: value for learner, value in own.items() if learner in PEERS}
        if peers:
            best = (min if name == LESS_IS_BETTER else max)(peers, key=lambda learner: peers[learner])
            top[f"best_peer_{stream}_{name}"] = peers[best]
            top[f"best_peer_{stream}_{name}_is"] = best
    return top


def table(name: str, own: Mapping[str, Runs]) -> str:
    """Return the table of one stream, a learner a line."""
    stream = next(iter(own.values())).streams[0]
    parts = stream.parts
    heads = ["", "overall", f"first {FIRST}", *(f"part {n} ({part})" for n, part in enumerate(parts, 1))]
    if len(parts) > 1:
        heads += [f"first {AFTER_SWITCH} after each switch", "events to recover"]
    all_means = {learner: runs.means() for learner, runs in own.items()}
    returns = any("return" in figure for figure in all_means.values())
    heads += [*([f"first {FIRST} of the return"] if returns else []), "log loss", "events/s", "MiB"]
    lines = [heads, ["---"] * len(heads)]
    for learner, said in all_means.items():
        switches = ["" if number == 2 else f"_{number}" for number in range(2, len(parts) + 1)]
        cells = [CALLED[learner], f"{said['overall']:.3f}", f"{said[f'first_{FIRST}']:.3f}"]
        cells += [f"{said[f'part_{number}']:.3f}" for number in range(1, len(parts) + 1)]
        if switches:
            cells.append(" / ".join(f"{said[f'first_{AFTER_SWITCH}{behind}']:.3f}" for behind in switches))
            lengths = [end - begin for begin, end in zip(stream.begins[1:], stream.ends[1:], strict=True)]
            after = zip((said[f"recovery_events{behind}"] for behind in switches), lengths, strict=True)
            cells.append(" / ".join(f"{events:.0f}" if events < length else "never" for events, length in after))
        cells += [f"{said['return']:.3f}"] if returns else []
        cells += [f"{said['log_loss']:.3f}", f"{said['events_per_second']:,.0f}", f"{said['mebibytes']:,.0f}"]
        lines.append(cells)
    fewest, most = (which(len(runs.runs) for runs in own.values()) for which in (min, max))
    of = "one order" if most == 1 else f"means of {fewest if fewest == most else f'{fewest} to {most}'} orders"
    said_of = f"## {name}\n\n{len(stream.texts):,} events, {len(stream.classes)} labels; {of}. "
    said_of += f"Log loss counts at most {WORST} nats an event; events/s are those of one processor.\n\n"
    return said_of + "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


RATE, LOSS = "events_per_second", "log_loss"


def differences(title: str, measured: Mapping[str, Mapping[str, Mapping[str, float]]], base: str) -> str:
    """Return a table of `measured`, by stream, then by what was changed, beside `base`.

    Accuracies differ in points, losses in nats, and rates by a factor.
    """
    columns = [(stream, name) for stream, rows in measured.items() for name in rows[base]]
    heads = ["", *(f"{stream} {name.replace('_', ' ')}" for stream, name in columns)]
    first = [f"{measured[s][base][name]:.{0 if name == RATE else 3}f}" for s, name in columns]
    lines = [heads, ["---"] * len(heads), [base, *first]]
    rows = list(dict.fromkeys(row for own in measured.values() for row in own if row != base))
    for row in rows:
        own = [(measured[stream].get(row), measured[stream][base][name], name) for stream, name in columns]
        lines.append(
            [row, *("" if said is None else _difference(name, said[name], before) for said, before, name in own)]
        )
    return f"## {title}\n\n" + "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def _difference(name: str, value: float, before: float) -> str:
    if name == RATE:
        return f"×{value / before:.2f}"
    return f"{value - before:+.3f}" if name == LOSS else f"{100 * (value - before):+.1f}"


def smoothed(correct: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the accuracy over the last 200 events, or over as many as there have been."""
    sums = np.concatenate([[0], np.cumsum(correct)])
    ends = np.arange(1, len(correct) + 1)
    begins = np.maximum(0, ends - SMOOTHED)
    share: NDArray[np.float64] = (sums[ends] - sums[begins]) / (ends - begins)
    return share


def draw(found: Found, path: Path, learners: Sequence[str] = tuple(COLORS)) -> None:
    """Draw how accuracy goes over each stream, means of the seeds, to `path`, a PNG."""
    figure, panels = plt.subplots(len(found), 1, figsize=(11, 4.4 * len(found)), dpi=110, squeeze=False)
    for axes, (name, own) in zip(panels[:, 0], found.items(), strict=True):
        for learner in [learner for learner in learners if learner in own]:
            lines = [smoothed(run.correct) for run in own[learner].runs]
            shortest = min(map(len, lines))
            line, ours = np.mean([one[:shortest] for one in lines], 0), learner == "tuned"
            axes.plot(
                np.arange(20, shortest),
                line[20:],
                color=COLORS[learner],
                linewidth=2.2 if ours else 1.1,
                zorder=3 if ours else 2,
                label=CALLED[learner],
            )
        stream = next(iter(own.values())).streams[0]
        for index, (begin, end) in enumerate(zip(stream.begins, stream.ends, strict=True)):
            axes.axvspan(begin, end, color="#444444", alpha=0.07 if index % 2 else 0.0, linewidth=0)
            axes.text((begin + end) / 2, 1.01, stream.parts[index], transform=axes.get_xaxis_transform(), ha="center")
        axes.set(ylabel=f"{name}: accuracy, last {SMOOTHED}", xlim=(0, len(stream.texts)))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.25)
    panels[-1, 0].set_xlabel("event")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=3, frameon=False)
    figure.suptitle("Test-then-train: every event is predicted before it is learnt", color="#444444")
    figure.tight_layout(rect=(0, 0.09 if len(found) > 1 else 0.16, 1, 1))
    figure.savefig(path)
    plt.close(figure)
