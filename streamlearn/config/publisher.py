"""The section ``publisher``: what leaves, where to, and how often."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from streamlearn.config.bounds import Count, FilePath, Period, Positive, Section, Unit


class Keep(Section):
    """Which checkpoints stay: the newest, then one an hour, then one a day."""

    newest: Annotated[int, Unit("checkpoints")] = Field(default=3, ge=2, le=10**6)
    """How many of the newest are kept, to recover from."""
    hourly: Annotated[int, Unit("checkpoints")] = Field(default=4, ge=0, le=10**4)
    """For how many of the last hours with checkpoints the last one of each is kept."""
    daily: Annotated[int, Unit("checkpoints")] = Field(default=3, ge=0, le=10**4)
    """For how many of the last days with checkpoints the last one of each is kept: by default all of yesterday can be
    re-run."""


def _newest_alone(given: Any) -> Any:
    """Take a number for what it was before there were hours and days."""
    return {"newest": given, "hourly": 0, "daily": 0} if isinstance(given, int | str) else given


class Checkpoints(Section):
    """The learner's own state, for recovery."""

    every_steps: Count | None = None
    """After how many steps a checkpoint is due; with ``null``, time alone decides."""
    every_seconds: Period | None = 60.0
    """After how long a checkpoint is due; with ``null``, steps alone decide. Less often costs less, and leaves more
    steps to re-run after a crash."""
    keep: Annotated[Keep, BeforeValidator(_newest_alone, json_schema_input_type=int | Keep)] = Keep()
    """Which ones stay; a plain number is that of the newest, without hours and days. ``rebuild`` and ``compare`` reach
    back to the oldest; each takes disk."""


class Snapshots(Section):
    """The published weights, for serving."""

    every_steps: Count | None = None
    """After how many steps a snapshot is due; with ``null``, time alone decides."""
    every_seconds: Period | None = 300.0
    """After how long a snapshot is due; with ``null``, steps alone decide. More often serves newer weights, at the cost
    of disk and of the time for a copy."""
    keep: Annotated[int, Unit("snapshots")] = Field(default=5, ge=2, le=10**6)
    """How many versions stay on disk. A reader has the time that it takes to publish that many to load one."""
    min_validation_accuracy: Annotated[float, Unit("of the validation")] = Field(default=0.0, ge=0.0, le=1.0)
    """The accuracy on the hold-out's validation split below which nothing is published; 0 publishes always. If the
    floor is too high, old weights are served."""
    max_validation_bits_per_byte: Annotated[Positive, Unit("bits per byte")] | None = None
    """The bits per byte of a language model on the hold-out's validation split above which nothing is published;
    ``null`` publishes always."""


class Journal(Section):
    """The record of which offsets made up each step."""

    deleted: Literal["fail", "skip"] = "fail"
    """What to do if recorded steps have to be re-run and Kafka no longer has their records: end and say so, or continue
    without these events."""


class Publisher(Section):
    """What leaves, where to, and how often."""

    directory: FilePath = Path("streamlearn-state")
    """Where checkpoints, journal and snapshots are kept; for this group and topic alone, shared with its standbys."""
    checkpoints: Checkpoints = Checkpoints()
    """When the learner's own state is written."""
    snapshots: Snapshots = Snapshots()
    """When weights are published."""
    journal: Journal = Journal()
    """What becomes of recorded steps."""
