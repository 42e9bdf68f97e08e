"""The section ``publisher``: what leaves, where to, and how often."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from streamlearn.config.bounds import Count, FilePath, Period, Positive, Section, Unit


class Checkpoints(Section):
    """The learner's own state, for recovery."""

    every_steps: Count | None = None
    """After how many steps a checkpoint is due; ``null`` goes by time alone."""
    every_seconds: Period | None = 60.0
    """After how long a checkpoint is due; ``null`` goes by steps alone. Less often costs less, and leaves more steps to
    run again after a crash."""
    keep: Annotated[int, Unit("checkpoints")] = Field(default=3, ge=2, le=10**6)
    """How many are kept. ``rebuild`` and ``compare`` reach back to the oldest; each takes disk."""


class Snapshots(Section):
    """The published weights, for serving."""

    every_steps: Count | None = None
    """After how many steps a snapshot is due; ``null`` goes by time alone."""
    every_seconds: Period | None = 300.0
    """After how long a snapshot is due; ``null`` goes by steps alone. More often serves newer weights, for the disk and
    the time of a copy."""
    keep: Annotated[int, Unit("snapshots")] = Field(default=5, ge=2, le=10**6)
    """How many versions stay on disk. A reader has as long as it takes to publish so many to load one."""
    min_validation_accuracy: Annotated[float, Unit("of the validation")] = Field(default=0.0, ge=0.0, le=1.0)
    """The accuracy on the hold-out's validation split below which nothing is published; 0 publishes always. Too high
    a floor serves old weights."""
    max_validation_bits_per_byte: Annotated[Positive, Unit("bits per byte")] | None = None
    """The bits that a byte of the hold-out's validation split may cost a language model, above which nothing is
    published; ``null`` publishes always."""


class Journal(Section):
    """The record of which offsets made up each step."""

    deleted: Literal["fail", "skip"] = "fail"
    """What to do where recorded steps are to be run again and Kafka no longer has their records: end and say so, or
    go on without these events."""


class Publisher(Section):
    """What leaves, where to, and how often."""

    directory: FilePath = Path("streamlearn-state")
    """Where checkpoints, journal and snapshots lie; of this group and topic alone, and shared by its standbys."""
    checkpoints: Checkpoints = Checkpoints()
    """When the learner's own state is written."""
    snapshots: Snapshots = Snapshots()
    """When weights are published."""
    journal: Journal = Journal()
    """What becomes of recorded steps."""
