"""What trains, and what λR is, tried on both streams: accuracy, events a second, memory, and bytes of a checkpoint.

    python -m benchmarks.variants adapters
    python -m benchmarks.variants regularizers --share 0.2

The transformer learns alone, so that nothing hides what is tried; everything else is as by default. Each run is a
process of its own on one thread, and is kept; ``adapters.json`` and ``regularizers.json`` are written of all.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import ours
from benchmarks.figures import figures
from benchmarks.results import keep
from benchmarks.runs import Task
from benchmarks.streams import NAMES, Stream
from streamlearn.storage.states import write_state

Variants = Mapping[str, tuple[str, ...]]

ADAPTERS: Variants = {
    trains: (f"updater.trains={trains}",) for trains in ("last-3", "last-1", "all", "lora", "bias", "head")
}
NO_REPLAY = "updater.replay_ratio=0"
STRENGTHS = {"l2": (1e-4, 1e-3), "l2_sp": (1e-2, 1e-1), "ewc": (1e1, 1e3), "lwf": (0.3, 1.0), "der": (0.1, 0.5)}
REGULARIZERS: Variants = {
    f"{said}, {replay}": (*named, *ratio)
    for replay, ratio in (("replay", ()), ("no replay", (NO_REPLAY,)))
    for said, named in {
        "none": (),
        **{
            f"{name} {strength:g}": (f"updater.regularizer={name}", f"updater.regularization={strength!r}")
            for name, strengths in STRENGTHS.items()
            for strength in strengths
        },
    }.items()
    if not (ratio and said.startswith("der"))  # which is about what is replayed
}
LOOKED_AT = ("overall", "first_300", "first_500", "return", "log_loss", "events_per_second", "mebibytes")
SETTLED = 8  # events after which a checkpoint has all that it ever holds of the transformer


def checkpoint_mebibytes(stream: Stream, overrides: tuple[str, ...]) -> float:
    """Return the size of a checkpoint of the transformer alone, with a buffer and a hold-out that are all but empty."""
    stepper = ours.Stepper(ours.configuration(ours.ALONE, 0, overrides), stream)
    stepper.run(0, SETTLED)
    with tempfile.TemporaryDirectory() as directory:
        write_state(Path(directory), stepper.learner.state())
        return round(sum(file.stat().st_size for file in Path(directory).iterdir()) / 2**20, 2)


def measure(variants: Variants, share: float) -> dict[str, Any]:
    """Return what comes of each of `variants` on each stream, with seed 0 and a `share` of each part's events."""
    found: dict[str, Any] = {}
    for name in NAMES:
        for said, overrides in variants.items():
            task = Task(ours.ALONE, name, 0, share, overrides)
            stream = task.make_stream()
            run = task.fetch(stream)
            if run is None:  # which fetch says of what it has not run
                continue
            row = {figure: value for figure, value in figures(stream, run).items() if figure in LOOKED_AT}
            row["checkpoint_mebibytes"] = checkpoint_mebibytes(stream, overrides)
            found.setdefault(name, {})[said] = row
            print(name, said, row, flush=True)
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("what", choices=("adapters", "regularizers"))
    arguments.add_argument("--share", type=float, default=1.0, help="of the events of each part")
    options = arguments.parse_args()
    found = measure(ADAPTERS if options.what == "adapters" else REGULARIZERS, options.share)
    keep(options.what, {"share": options.share, "streams": found})


if __name__ == "__main__":
    main()
