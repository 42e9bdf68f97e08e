"""The streams on which learners are compared: two that switch, and any file of labelled texts.

``newsgroups`` is the demo's stream, longer: groups A, other groups B under the same labels, and A again with other
documents. ``sentiment`` is four rated corpora one after the other. Texts are cut to 300 characters, and each stands in
its stream once. A file of JSON lines (``text``, ``label`` and, where there are parts, ``part``) is taken as it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise
from pathlib import Path

from streamlearn.errors import ConfigurationError
from streamlearn.local.data import Part, newsgroups, sentiment

CHARACTERS = 300
NEWSGROUPS, SENTIMENT = (4_000, 4_000, 2_000), 2_500  # events of each part
SPARE = 200  # texts of each part that may stand twice
NAMES = ("newsgroups", "sentiment")


@dataclass(frozen=True)
class Stream:
    """Texts with their labels in the order of the stream, and the name and the end of each of its parts."""

    name: str
    texts: list[str]
    labels: list[str]
    parts: list[str]
    ends: list[int]

    @property
    def classes(self) -> list[str]:
        """The different labels, in the order of the alphabet."""
        return sorted(set(self.labels))

    @property
    def begins(self) -> list[int]:
        """Where each part begins."""
        return [0, *self.ends[:-1]]

    @property
    def returns(self) -> list[int]:
        """The indices of the parts whose name has been there before, and not just before."""
        return [index for index, name in enumerate(self.parts) if name in self.parts[: max(0, index - 1)]]

    def digest(self) -> str:
        """Return the SHA-256 of all of it, which names what was measured on it."""
        whole = json.dumps([self.name, self.texts, self.labels, self.parts, self.ends])
        return hashlib.sha256(whole.encode(errors="surrogatepass")).hexdigest()


def make_stream(name: str, parts: Sequence[Part], sizes: Sequence[int]) -> Stream:
    """Return the first `sizes` different texts of each of `parts`, none of which has stood in a part before.

    Raises
    ------
    ConfigurationError
        If a part has fewer than that.

    """
    seen: set[str] = set()
    kept: list[list[tuple[str, str]]] = []
    for part, size in zip(parts, sizes, strict=True):
        different = {text[:CHARACTERS]: label for text, label in part.examples}
        kept.append([(text, label) for text, label in different.items() if text not in seen][:size])
        if len(kept[-1]) < size:
            raise ConfigurationError(f"part '{part.name}' has {len(kept[-1])} different texts, fewer than {size}")
        seen.update(text for text, _ in kept[-1])
    whole = [pair for examples in kept for pair in examples]
    texts, labels = [text for text, _ in whole], [label for _, label in whole]
    return Stream(name, texts, labels, [part.name for part in parts], list(accumulate(map(len, kept))))


def built_in(name: str, seed: int, share: float = 1.0) -> Stream:
    """Return the stream `name` in the order of `seed`, with that share of the events of each part."""
    if name == "newsgroups":
        first, second, again = NEWSGROUPS
        found = newsgroups((first + SPARE, second + SPARE // 2, again + SPARE // 2), seed=seed)
        parts = [Part(called, part.examples) for called, part in zip("ABA", found, strict=True)]
        return make_stream(name, parts, [round(size * share) for size in NEWSGROUPS])
    parts = sentiment(SENTIMENT + SPARE, seed=seed)
    return make_stream(name, parts, [round(SENTIMENT * share)] * len(parts))


def from_file(path: Path, share: float = 1.0) -> Stream:
    """Return the stream in `path`, with the first `share` of the events of each part.

    Raises
    ------
    ConfigurationError
        If a line is no event, or there is none.

    """
    with path.open(encoding="utf-8") as lines:
        events = [_event(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not events:
        raise ConfigurationError(f"{path} holds no event")
    parts = [(name, list(own)) for name, own in groupby(events, key=lambda event: event[2])]
    parts = [(name, own[: max(1, round(len(own) * share))]) for name, own in parts]
    whole = [event for _, own in parts for event in own]
    return Stream(
        path.stem,
        [text for text, _, _ in whole],
        [label for _, label, _ in whole],
        [name for name, _ in parts],
        list(accumulate(len(own) for _, own in parts)),
    )


def _event(path: Path, number: int, line: str) -> tuple[str, str, str]:
    try:
        event = json.loads(line)
        text, label, part = event["text"], event["label"], event.get("part", "all")
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ConfigurationError(f"line {number} of {path} is no JSON object with text and label") from None
    if not isinstance(text, str) or not isinstance(label, (str, int)):
        raise ConfigurationError(f"line {number} of {path} needs a text that is a string, and a label")
    return text, str(label), str(part)


def micro_batches(events: int, size: int) -> Iterable[tuple[int, int]]:
    """Yield where each micro-batch of `size` events begins and ends; the last one may be smaller."""
    return pairwise([*range(0, events, size), events])
