"""A language model on texts without labels whose topics change and come back: what it learns, and what it forgets.

    python -m benchmarks.language              # three seeds; an hour of an idle core each, minutes on a GPU

Stream and settings are those of ``make demo-lm``, but for what is replayed; the model is another cut of the same, its
first six layers. Since its topics are all of one kind, a second stream has program code in place of the other
newsgroups, shorter parts, and the whole model with the default settings (``code``). Bits per byte are prequential, over
the first and the last fifth of each part. Forgetting is how much more a byte of the reference costs after the return,
or after the second part, than at the end of the first; below 0, more has been learnt of it. Runs are kept, and each
says the device that it was made on.
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any

import torch

from benchmarks.language_runs import EVENTS, LanguageTask, forgotten
from benchmarks.results import DIRECTORY, keep
from streamlearn.local.smollm2 import LAYERS, WHOLE

CODE_EVENTS = 160  # of each part of the stream with code
REPLAY = {"with_replay": 0.5, "with_default_replay": 0.05, "without_replay": 0.0}


def summary(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return the means over the seeds, those that the issue names at the top."""
    told: dict[str, Any] = {
        "bits_per_byte_end_over_start": {
            name: round(statistics.fmean(one["end"][name] / one["start"][name] for one in runs["with_replay"]), 4)
            for name in runs["with_replay"][0]["start"]
        }
    }
    for replay, each in runs.items():
        switched, returned = zip(*map(forgotten, each), strict=True)
        for when, lost in (("", returned), ("_after_the_switch", switched)):
            told[f"forgetting_{replay}{when}"] = round(statistics.fmean(lost), 4)
            told[f"forgetting_{replay}{when}_by_seed"] = [round(value, 4) for value in lost]
    return told


def table(told: dict[str, Any]) -> str:
    lines = [
        "| second part | replayed a fresh text | bits a byte more after it | by seed | after the return | by seed |",
        "|---|---|---|---|---|---|",
    ]
    for second, found in (("newsgroups", told), ("code", told["code"])):
        for name, ratio in REPLAY.items():
            cells = [second, f"{ratio:g}"]
            for when in ("_after_the_switch", ""):
                by_seed = ", ".join(f"{value:+.4f}" for value in found[f"forgetting_{name}{when}_by_seed"])
                cells += [f"{found[f'forgetting_{name}{when}']:+.4f}", by_seed]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def task(seed: int, ratio: float, *, code: bool) -> LanguageTask:
    """Return the run of one order with so many replayed texts for each fresh one."""
    replay = (f"updater.replay_ratio={ratio}",)
    return LanguageTask("whole", seed, replay, CODE_EVENTS, code=True) if code else LanguageTask("cut", seed, replay)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    seeds = parser.parse_args().seeds
    torch.set_num_threads(1)
    found: dict[bool, dict[str, Any]] = {}
    for code, events in ((False, EVENTS), (True, CODE_EVENTS)):
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in REPLAY}
        for seed in seeds:
            for name, ratio in REPLAY.items():
                run = task(seed, ratio, code=code).fetch()
                print(seed, name, run, flush=True)
                runs[name].append(run)
        found[code] = summary(runs) | {"events": events, "seeds": seeds, "runs": runs}
    told = found[False] | {"layers": LAYERS, "code": found[True] | {"layers": WHOLE}}
    keep("language", told)
    (DIRECTORY / "language.md").write_text(table(told))


if __name__ == "__main__":
    main()
