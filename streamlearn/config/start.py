"""Where a learner without any state begins to read: ``kafka.start``."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime

LARGEST = 2**62
YEAR_2100 = 4_102_444_800
FORMS = "earliest, latest, timestamp:2026-11-26T09:30:00Z (or Unix seconds) or offsets:0=1200,1=980"


@dataclass(frozen=True)
class Start:
    """A beginning.

    Attributes
    ----------
    kind
        ``earliest``, ``latest``, ``timestamp`` or ``offsets``.
    timestamp
        Milliseconds since 1970, from which on records are read.
    offsets
        The first offset to read of each partition that is named.

    """

    kind: str
    timestamp: int = 0
    offsets: dict[int, int] = field(default_factory=dict)


def parse(spelled: str) -> Start:
    """Return the beginning that `spelled` means.

    >>> parse("timestamp:2026-11-26T09:30:00Z").timestamp
    1795685400000
    >>> parse("offsets:0=1200,1=980").offsets
    {0: 1200, 1: 980}

    Raises
    ------
    ValueError
        If it is not a valid beginning.

    """
    kind, _, rest = spelled.partition(":")
    if spelled in ("earliest", "latest"):
        return Start(kind)
    if kind == "timestamp":
        return Start(kind, timestamp=_milliseconds(rest.strip()))
    if kind == "offsets":
        return Start(kind, offsets=_offsets(rest))
    raise ValueError(f"must be {FORMS}")


def _milliseconds(time: str) -> int:
    if re.fullmatch(r"[0-9]{1,12}", time):
        seconds = float(time)
    else:
        try:
            moment = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", time))
        except ValueError:
            raise ValueError(f"has no time behind 'timestamp:'; it must be {FORMS}") from None
        if moment.tzinfo is None:
            raise ValueError("the time behind 'timestamp:' names no zone; put a Z behind it for UTC, or +02:00")
        seconds = moment.timestamp()
    if not 0 <= seconds < YEAR_2100:
        raise ValueError("the time behind 'timestamp:' is not between 1970 and 2100 (seconds, not milliseconds)")
    return int(seconds * 1000)


def _offsets(listed: str) -> dict[int, int]:
    offsets: dict[int, int] = {}
    for entry in listed.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,9})\s*=\s*([0-9]{1,19})\s*", entry)
        if not match or int(match[2]) > LARGEST:
            raise ValueError(f"has no PARTITION=OFFSET behind 'offsets:'; it must be {FORMS}")
        if int(match[1]) in offsets:
            raise ValueError(f"names partition {match[1]} twice")
        offsets[int(match[1])] = int(match[2])
    return offsets
