"""Which checkpoints to keep: the newest ones, then one an hour and one a day, so that a few of them reach days back.

It is the policy of backup tools (``restic forget --keep-last --keep-hourly --keep-daily``): the last one made in each
of the hours and days that count.
"""

from __future__ import annotations

from collections.abc import Mapping

from streamlearn.config import Keep

HOUR, DAY = 3600, 86_400  # seconds


def staying(made: Mapping[str, float], keep: Keep) -> set[str]:
    """Return the names of the checkpoints to keep, given in order with the time at which each was `made`.

    Examples
    --------
    >>> made = {"one": 0.0, "two": 1800.0, "three": 4000.0, "four": 8000.0, "five": 8001.0}
    >>> sorted(staying(made, Keep(newest=2, hourly=3, daily=0)))
    ['five', 'four', 'three', 'two']

    """
    names = list(made)
    found = set(names[-keep.newest :])
    for seconds, count in ((HOUR, keep.hourly), (DAY, keep.daily)):
        last = {made[name] // seconds: name for name in names}  # of each hour or day, the last one
        latest = dict.fromkeys(made[name] // seconds for name in reversed(names))  # by when its newest one was made
        found |= {last[span] for span in list(latest)[:count]}
    return found
