"""How often learners are right, event by event, on streams that switch: streamlearn beside those of other kinds.

    python -m benchmarks.learning --seeds 0 1 2 --keep-experts
    python -m benchmarks.learning --data FILE.jsonl
    python -m benchmarks.learning --learners tokens vowpal_wabbit
    python -m benchmarks.learning --mix-again
    python -m benchmarks.learning --ablate
    python -m benchmarks.learning --cost 15
    python -m benchmarks.learning --report

Every learner predicts each text before it learns it, in the same order, on one thread and in a process of its own.
What a learner is set to is the same on all streams. Runs are kept in ``benchmarks/kept``, and what is there is not run
again: the second line of the same arguments goes on where the first one was stopped. Where the pool alone has changed,
``--mix-again`` pools once more what the experts said in the runs that are kept with them; experts do not know of one
another. At the end, and with ``--report`` alone, a table, a picture and ``learning.json`` are made of all there is.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

from benchmarks import cost
from benchmarks.ablation import DEFAULTS, kept_over_subsets, mix_again
from benchmarks.figures import figures, means
from benchmarks.peers import PEERS
from benchmarks.report import Runs, differences, draw, quoted, table
from benchmarks.results import DIRECTORY, keep
from benchmarks.runs import KEPT, OURS, TIERS, Task
from benchmarks.streams import NAMES, Stream
from streamlearn.errors import ConfigurationError

LEARNERS = (*OURS, *PEERS)
SHARE = 0.2  # of each part, on which defaults are tried

Ablated = dict[str, dict[str, dict[str, float]]]  # accuracies by stream and by what was changed


def tasks(options: argparse.Namespace) -> Iterator[Task]:
    """Yield what is to be run, or has been."""
    streams = [str(options.data)] if options.data else NAMES
    for seed in [0] if options.data else options.seeds:
        for stream in streams:
            for learner in options.learners:
                keeps = options.keep_experts and learner == "tuned"
                yield Task(learner, stream, seed, options.share, keep_experts=keeps)


def ablations(options: argparse.Namespace, share: float) -> Iterator[tuple[str, Task]]:
    """Yield a run with seed 0 for each default, with what it is called."""
    for stream in [str(options.data)] if options.data else NAMES:
        for name, overrides in DEFAULTS.items():
            yield name, Task("tuned", stream, 0, share, overrides)


def gather(todo: Sequence[Task], *, again: bool, run: bool) -> dict[str, dict[str, Runs]]:
    """Return the runs by stream and learner, running first what is missing where `run` says so."""
    found: dict[str, dict[str, Runs]] = {}
    streams: dict[tuple[str, int], Stream] = {}
    for task in todo:
        if (task.stream, task.seed) not in streams:
            streams[task.stream, task.seed] = task.make_stream()
        stream = streams[task.stream, task.seed]
        had = task.fetch(stream, again=again, run=run)
        if had is None:
            continue
        own = found.setdefault(stream.name, {}).setdefault(task.learner, Runs([], []))
        own.streams.append(stream)
        own.runs.append(had)
        if run:
            print(f"{stream.name} seed {task.seed} {task.learner}: {figures(stream, had)}", flush=True)
    return found


def pool_again(task: Task) -> None:
    """Pool once more what the experts of a tier said in the run of all of them over the same stream, if it is kept."""
    stream = task.make_stream()
    experts = replace(task, learner="tuned").experts_path(stream)
    if task.learner in TIERS and experts.exists() and (path := task.path(stream)).exists():
        mix_again(path, experts, task.learner)


def ablate_experts(todo: Sequence[Task]) -> Ablated:
    """Return the accuracies of subsets of the experts, by stream: means of the runs of which they have been kept."""
    found: dict[str, list[dict[str, dict[str, float]]]] = {}
    for task in todo:
        if task.learner == "tuned":
            stream = task.make_stream()
            path = task.experts_path(stream)
            if path.exists():
                found.setdefault(stream.name, []).append(kept_over_subsets(path, stream))
    return {name: {subset: means([run[subset] for run in own]) for subset in own[0]} for name, own in found.items()}


def ablate_defaults(options: argparse.Namespace, share: float, *, run: bool) -> Ablated:
    """Return the accuracies with another value in the place of each default, by stream."""
    found: Ablated = {}
    for name, task in ablations(options, share):
        stream = task.make_stream()
        had = task.fetch(stream, again=options.again and run, run=run)
        if had is None:
            continue
        said = figures(stream, had)
        looked_at = ("overall", "log_loss", "events_per_second")
        found.setdefault(stream.name, {})[name] = {figure: said[figure] for figure in looked_at}
        if run:
            print(f"{stream.name} {name}: {found[stream.name][name]}", flush=True)
    return {stream: rows for stream, rows in found.items() if "as it is" in rows}


def report(options: argparse.Namespace, todo: Sequence[Task]) -> None:
    """Write the table and the picture, and of the whole streams that are built in ``learning.json`` too."""
    found = gather(todo, again=False, run=False)
    if not found:
        raise SystemExit("nothing has been kept of these runs yet; leave out --report to run them")
    experts, defaults = ablate_experts(todo), ablate_defaults(options, options.ablate or SHARE, run=False)
    whole_streams = not options.data and options.share == 1
    directory, name = DIRECTORY if whole_streams else KEPT, Path(options.data or "learning").stem
    text = "\n".join(
        [
            "# How often each learner is right\n",
            "Each event is predicted before it is learnt, on one thread: `python -m benchmarks.learning`.\n",
            *(table(stream, own) for stream, own in found.items()),
            *([differences("What each expert gives", experts, "all")] if experts else []),
            *([differences("What each default gives", defaults, "as it is")] if defaults else []),
        ]
    )
    (directory / f"{name}.md").write_text(text)
    draw(found, directory / f"{name}.png")
    print(text)
    if not whole_streams:
        return
    spent: dict[str, Any] = json.loads(cost.PATH.read_text()) if cost.PATH.exists() else {}
    whole: dict[str, Any] = {**quoted(found), **spent}
    whole["learners"] = {
        learner: {
            f"{s}_{figure}": v
            for s, own in found.items()
            if learner in own
            for figure, v in own[learner].means().items()
        }
        for learner in LEARNERS
        if any(learner in own for own in found.values())
    }
    keep("learning", whole | {"experts": experts, "defaults": defaults, "seeds": options.seeds})


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--learners", nargs="+", choices=LEARNERS, default=list(LEARNERS))
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments.add_argument("--data", type=Path, metavar="FILE.jsonl", help="text, label and perhaps part in each line")
    arguments.add_argument("--share", type=float, default=1.0, help="of the events of each part")
    arguments.add_argument("--keep-experts", action="store_true", help="keep what each expert said, to ablate them")
    arguments.add_argument(
        "--ablate",
        type=float,
        nargs="?",
        const=SHARE,
        metavar="SHARE",
        help=f"try each default on so much of each part ({SHARE})",
    )
    arguments.add_argument("--cost", type=int, metavar="ROUNDS", help="time the mixture beside its transformer")
    arguments.add_argument("--again", action="store_true", help="run what has been run, too")
    arguments.add_argument("--mix-again", action="store_true", help="pool once more what experts said that is kept")
    arguments.add_argument("--report", action="store_true", help="run nothing")
    options = arguments.parse_args()
    try:
        act(options)
    except (ConfigurationError, OSError) as error:
        raise SystemExit(f"benchmarks.learning: {error}") from None
    except CalledProcessError as error:
        raise SystemExit(f"benchmarks.learning: {error.cmd[-1]} failed, as it says above") from None


def act(options: argparse.Namespace) -> None:
    """Run what is asked for, and report all that there is."""
    todo = list(tasks(options))
    if options.cost:
        cost.measure(options.cost)
    elif options.ablate:
        ablate_defaults(options, options.ablate, run=True)
    elif options.mix_again:
        for task in todo:
            pool_again(task)
    elif not options.report:
        gather(todo, again=options.again, run=True)
    report(options, todo)


if __name__ == "__main__":
    main()
