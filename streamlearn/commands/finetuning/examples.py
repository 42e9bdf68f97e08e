"""The examples of a fine-tuning: those to learn, those that choose the epoch, and those that are only reported."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from streamlearn.commands.finetuning.files import is_table, shown_name, values
from streamlearn.commands.finetuning.past import Past
from streamlearn.config import Config
from streamlearn.config import Events as EventsConfig
from streamlearn.consumer.decode import Decoder
from streamlearn.errors import ConfigurationError
from streamlearn.events import Event, Label, Outcome, Reason
from streamlearn.learner.admission import Admission
from streamlearn.learner.direct import NOWHERE
from streamlearn.learner.draft import Draft
from streamlearn.learner.evaluation.holdout import SPLITS, split_of
from streamlearn.records import Record

log = logging.getLogger(__name__)

VALIDATION, TEST = SPLITS


@dataclass
class Examples:
    """The texts of a data set, decoded.

    Attributes
    ----------
    train
        The examples to learn; the offset of each is its index.
    validation, test
        Those that choose the epoch, and those that are only reported; neither is learnt.
    refused
        How many examples of all files are invalid, by reason.
    duplicates
        How many of the examples to learn repeat an id.

    """

    train: list[Event] = field(default_factory=list)
    validation: list[Event] = field(default_factory=list)
    test: list[Event] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0

    def digest(self) -> str:
        """Return the SHA-256 of all texts and labels, in order and by split."""
        digest = hashlib.sha256()
        for events in (self.train, self.validation, self.test):
            digest.update(f"{len(events)}\n".encode())
            for event in events:
                digest.update(f"{len(event.text)} {event.text} {event.label!r}\n".encode())
        return digest.hexdigest()


def read(config: Config, data: Path | Past, validation: Path | None, test: Path | None) -> Examples:
    """Return the examples in these files; `data` may be a topic's past.

    Without a file for `validation`, a share ``events.holdout_ratio`` of the texts of `data` is held out, by the same
    hash as in a stream, so that a text stays on its side if it comes again in the stream. Without a file for the test
    either, half of these are for the test.

    Raises
    ------
    ConfigurationError
        If a file cannot be read, or there are no examples to learn, to choose an epoch by, or in the file of the test.
    BrokerError
        If a topic cannot be read.

    """
    examples = Examples()
    events = config.events if validation is None else config.events.model_copy(update={"holdout_ratio": 0.0})
    outcomes = data.outcomes() if isinstance(data, Past) else decoded(data, events, None, labelled=config.labelled)
    _sort_in(examples, outcomes, events, splits=test is None)
    if not examples.train:
        name = data.name if isinstance(data, Past) else data
        raise ConfigurationError(f"{name} holds no example that can be learnt{_reasons(examples.refused)}")
    kind = type(examples.train[0].label)
    known = {event.label for event in examples.train}
    texts = {event.text for event in examples.train}
    for path, into in ((validation, examples.validation), (test, examples.test)):
        if path is None:
            continue
        refused = Counter[str]()
        for found in decoded(path, config.events, kind, labelled=config.labelled):
            outcome = Reason.LABEL_TYPE if isinstance(found, Event) and type(found.label) is not kind else found
            if isinstance(outcome, Event):
                into.append(outcome)
            else:
                refused[outcome.value] += 1
        if not into:
            raise ConfigurationError(f"{path} holds no example that can be predicted and judged{_reasons(refused)}")
        if refused:
            log.warning("not all of %s is predicted and judged%s", shown_name(path), _reasons(refused))
        examples.refused += refused
        _say_what_is_odd(path, into, known, texts)
    if not examples.validation:
        raise ConfigurationError(
            "no text is held out to choose the epoch by: name a file with --validation, or set events.holdout_ratio "
            "higher"
        )
    return examples


def decoded(path: Path, config: EventsConfig, kind: type[Label] | None, *, labelled: bool) -> Iterable[Event | Reason]:
    """Yield each example at `path` as an event, or the reason why it is invalid.

    Labels are of the type `kind`, as for :func:`values`, unless ``events.labels`` lists them: then of theirs.
    """
    if config.labels != "discover":
        kind = type(config.labels[0])
    if is_table(path):  # a row is an object, whatever the format of the topic
        config = config.model_copy(update={"format": "json", "decoder": None})
    decoder = Decoder(config, labelled=labelled)
    for number, value in enumerate(values(path, config.fields, kind=kind, labelled=labelled)):
        yield decoder.decode(Record(*NOWHERE, number, None, None, value, []))


def _sort_in(examples: Examples, found: Iterable[Event | Reason], config: EventsConfig, *, splits: bool) -> None:
    """Split `found` like a stream's events; `splits` says whether half of the held-out ones are for the test."""
    draft = Draft(Admission(config))
    for event in found:
        outcome = draft.admit(event) if isinstance(event, Event) else event
        if isinstance(outcome, Reason):
            examples.refused[outcome.value] += 1
        elif outcome is Outcome.DUPLICATE:
            examples.duplicates += 1
        elif isinstance(event, Event) and outcome is Outcome.HELD_OUT:
            (examples.test if splits and split_of(event) == TEST else examples.validation).append(event)
        elif isinstance(event, Event):
            examples.train.append(_at(event, len(examples.train)))


def _reasons(refused: Counter[str]) -> str:
    """Return why so many examples are refused, to be appended to a sentence; empty if none are."""
    counts = ", ".join(f"{count} {reason}" for reason, count in refused.most_common())
    where = " (events.fields names where text and label are)" if refused[Reason.MISSING_FIELD.value] else ""
    kinds = (
        " (all labels are of one type: that of events.labels, or of the first example to learn)"
        if refused[Reason.LABEL_TYPE.value]
        else ""
    )
    return f": {counts}{where}{kinds}" if counts else ""


def _at(event: Event, index: int) -> Event:
    return Event(event.text, event.label, event.id, event.timestamp, *NOWHERE, index, None, identified=False)


def _say_what_is_odd(path: Path, events: Iterable[Event], known: set[Label], learnt: set[str]) -> None:
    strange = sorted({str(event.label) for event in events if event.label not in known})
    if strange:
        shown = ", ".join(strange[:5]) + (", …" if len(strange) > 5 else "")  # noqa: PLR2004 - enough to see which
        log.warning("%s has labels that no training example has, which count as wrong: %s", shown_name(path), shown)
    again = sum(event.text in learnt for event in events)
    if again:
        log.warning(
            "%d texts of %s are also in the training data, so they say nothing about new texts", again, shown_name(path)
        )
