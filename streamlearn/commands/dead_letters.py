"""Lists and shows dead letters, and sends their records to the topic of events again."""

from __future__ import annotations

import heapq
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from streamlearn.config import Config
from streamlearn.config.mistakes import nearest
from streamlearn.consumer.decode import Decoder
from streamlearn.consumer.letters import DeadLetterTopic
from streamlearn.consumer.redrive import Redriven, redrive
from streamlearn.consumer.sampled import looked_at
from streamlearn.errors import ConfigurationError
from streamlearn.events import Reason
from streamlearn.records import DeadLetter, Origin
from streamlearn.source import Sampled

SPANS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}  # seconds
PLACE = re.compile(r"(?P<topic>[\w.-]+)/(?P<partition>\d{1,9})/(?P<offset>\d{1,18})")


@dataclass(frozen=True)
class Listing:
    """The requested letters.

    Attributes
    ----------
    letters
        The newest of them, oldest first.
    counts
        How many there are in total, by reason and field.
    redriven
        The records that have been sent again since.
    others
        How many records of the topic are not letters.

    """

    letters: list[DeadLetter]
    counts: Counter[str]
    redriven: set[Origin]
    others: int


@dataclass(frozen=True)
class Shown:
    """A letter, and what would happen to its record now: None if the letter does not contain it."""

    letter: DeadLetter
    redriven: bool
    now: Sampled | None


class Newest:
    """The newest letters of those added, whatever the order in which they come; never more than `limit`."""

    def __init__(self, limit: int) -> None:
        self._limit, self._added = limit, 0
        self._heap: list[tuple[int, int, DeadLetter]] = []  # time of refusal, order of insertion, letter

    def add(self, letter: DeadLetter) -> None:
        """Keep `letter` if it is among the newest."""
        self._added += 1
        entry = letter.refused_at, self._added, letter
        if len(self._heap) < self._limit:
            heapq.heappush(self._heap, entry)
        else:
            heapq.heappushpop(self._heap, entry)

    def letters(self) -> list[DeadLetter]:
        """Return the kept letters, oldest first."""
        return [letter for *_, letter in sorted(self._heap)]


def listed(
    config: Config,
    *,
    limit: int,
    reason: str | None = None,
    since: str | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Listing:
    """Return the newest `limit` letters refused for `reason` after `since`, and the total counts.

    Raises
    ------
    ConfigurationError
        If there is no such reason, or `since` is not a time.
    BrokerError
        If the topic cannot be read.

    """
    wanted, begin = _for_reason(reason), None if since is None else moment(since)
    topic = DeadLetterTopic(config.kafka, since=begin)
    newest, counts = Newest(limit), Counter[str]()
    redriven, others = set[Origin](), 0
    for read, found in enumerate(topic.read()):
        progress(f"{read} of {topic.records} records read")
        if isinstance(found, Origin):
            redriven.add(found)
        elif found is None:
            others += 1
        elif wanted(found) and (begin is None or found.refused_at >= begin):
            counts[found.why] += 1
            newest.add(found)
    return Listing(newest.letters(), counts, redriven, others)


def shown(config: Config, place: str, *, progress: Callable[[str], None] = lambda _: None) -> Shown:
    """Return the newest letter for the record at `place`, or the letter at that position.

    Raises
    ------
    ConfigurationError
        If `place` is invalid, or there is no such letter.
    BrokerError
        If the topic cannot be read.

    """
    wanted, topic = _at([place]), DeadLetterTopic(config.kafka)
    letter, redriven = None, set[Origin]()
    for read, found in enumerate(topic.read()):
        progress(f"{read} of {topic.records} records read")
        if isinstance(found, Origin):
            redriven.add(found)
        elif found is not None and wanted(found, topic.topic):
            letter = found
    if letter is None:
        raise ConfigurationError(f"there is no dead letter about {place} in '{topic.topic}' (any more)")
    decoder = Decoder(config.events, config.kafka.schema_registry, labelled=config.labelled)
    now = None if letter.stub else looked_at(letter.record, decoder)
    return Shown(letter, letter.origin in redriven, now)


def redriven(
    config: Config,
    places: list[str],
    *,
    reason: str | None = None,
    dry_run: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> Redriven:
    """Redrive the letters at `places`, or all if none is given, that were refused for `reason`.

    Raises
    ------
    ConfigurationError
        If there is no such reason, or a place is invalid.
    BrokerError
        If Kafka cannot be asked or refuses.

    """
    of_reason, at = _for_reason(reason), _at(places)
    dead = config.kafka.dead_letter_topic
    return redrive(
        config,
        wanted=lambda letter: of_reason(letter) and (not places or at(letter, dead)),
        dry_run=dry_run,
        progress=lambda found: progress(f"{found.sent} records sent"),
    )


def _for_reason(reason: str | None) -> Callable[[DeadLetter], bool]:
    """Return a test whether a letter has `reason`, which may include the field: ``missing_field: label``."""
    if reason is None:
        return lambda _: True
    name, _, detail = (part.strip() for part in reason.partition(":"))
    known = [known.value for known in Reason]
    if name not in known:
        raise ConfigurationError(f"--reason: '{name}' is not a reason for refusal{nearest(name, known)}")
    return lambda letter: letter.reason == name and (not detail or letter.detail == detail)


def _at(places: list[str]) -> Callable[[DeadLetter, str], bool]:
    """Return a test whether a letter's record, or the letter itself in the given topic, is at one of `places`."""
    for place in places:
        if not PLACE.fullmatch(place):
            raise ConfigurationError(f"'{place}' is not TOPIC/PARTITION/OFFSET, such as tickets/0/4711")
    wanted = set(places)
    return lambda letter, topic: bool({str(letter.origin), f"{topic}/{letter.partition}/{letter.offset}"} & wanted)


def moment(since: str, *, now: Callable[[], float] = time.time) -> int:
    """Return the milliseconds since 1970 that `since` means: a time in ISO 8601, or how long ago.

    A time without a zone is local time.

    >>> moment("90m", now=lambda: 10_000.0)
    4600000
    >>> moment("2026-11-26T09:30:00+00:00")
    1795685400000

    Raises
    ------
    ConfigurationError
        If it is neither.

    """
    span = re.fullmatch(r"(\d{1,9})([smhd])", since)
    if span:
        return max(0, int((now() - int(span[1]) * SPANS[span[2]]) * 1000))
    try:
        return max(0, int(datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", since)).astimezone().timestamp() * 1000))
    except (ValueError, OverflowError, OSError):
        raise ConfigurationError(
            f"--since is '{since}', which is neither a span such as 30m, 2h or 7d nor a time such as 2026-11-26T09:30"
        ) from None
