"""How much disk a checkpoint and a snapshot take, for each tier of experts.

    python -m benchmarks.disk

A learner of MiniLM learns newsgroup posts; its state is written after each of two stretches as production writes it. It
grows with what is kept for replay and with what the experts remember, until either is full.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import ours
from benchmarks.results import keep
from benchmarks.streams import built_in
from streamlearn.capture import capture_snapshot
from streamlearn.checkpointing.checkpoints import CheckpointStore
from streamlearn.publisher.snapshots import SnapshotStore

MEBIBYTE = 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1500, help="in each of the two stretches")
    events = parser.parse_args().events
    keep("disk", {"mebibytes": {tier: measured(tier, events) for tier in ours.TIERS}})


def measured(tier: str, events: int) -> dict[str, Any]:
    """Return the mebibytes that the state of a learner with the experts of `tier` takes, by the events learnt."""
    config, stream = ours.configuration(tier, seed=0), built_in("newsgroups", 0)
    stepper, found = ours.Stepper(config, stream), dict[str, Any]()
    with tempfile.TemporaryDirectory() as directory:
        for version in (1, 2):
            stepper.run((version - 1) * events, version * events)
            taken = capture_snapshot(stepper.learner, config, version=version)
            export = stepper.learner.export(taken.state)
            store, snapshots = (
                kind(Path(directory) / kind.__name__, keep=2) for kind in (CheckpointStore, SnapshotStore)
            )
            found[str(version * events)] = {
                "checkpoint": size(store.write(taken.step, version, taken.state)),
                "snapshot": size(snapshots.write(version, taken.step, export, taken.provenance)),
            }
    return found


def size(directory: Path) -> float:
    """Return the mebibytes of the files in `directory`."""
    return round(sum(path.stat().st_size for path in directory.rglob("*") if path.is_file()) / MEBIBYTE, 1)


if __name__ == "__main__":
    main()
