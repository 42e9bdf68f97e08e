"""The library: the learner with methods like those of river and scikit-learn, without Kafka, in memory until saved."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from itertools import chain
from numbers import Integral
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError

from streamlearn.checkpointing.checkpoints import CheckpointStore, step_of
from streamlearn.config import Config
from streamlearn.config.mistakes import sentence
from streamlearn.errors import ConfigurationError, StateError
from streamlearn.events import LABELS_FROM, LABELS_TO, NAME_LIMIT, Event, Label, flaw
from streamlearn.learner import Learner
from streamlearn.learner.classification import Classification
from streamlearn.learner.direct import NOWHERE, take_step
from streamlearn.reports import StepReport

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
SAVED = "saved"
TOGETHER = 32  # texts predicted at once: more take more memory and are hardly faster
NORMAL_WITHIN = 1e-3  # tolerance for probabilities that should sum to 1


class OnlineClassifier:
    """A text classifier that learns from labelled texts, one or several at a time.

    Behind it is the :class:`~streamlearn.learner.Learner` of ``streamlearn run``: the same steps, with events replayed
    from a buffer. The differences: nothing is held out, and no text counts as a duplicate. One thread at a time may use
    it; :func:`streamlearn.load` gives a predictor that threads may share.

    Parameters
    ----------
    model
        A model's name on the Hugging Face hub, or its directory.
    labels
        All labels, strings or integers; None discovers them while learning.
    buffer_records
        How many texts are remembered for replay.
    **settings
        Settings of the configuration's section ``updater``, such as ``experts``, ``micro_batch``, ``learning_rate`` or
        ``seed``.

    Raises
    ------
    ConfigurationError
        If the model cannot be loaded, or a setting is unknown or invalid.
    ValueError
        If `labels` is not a list, or one of them is not a valid label.

    Attributes
    ----------
    config, learner
        The whole configuration, and the learner.

    Examples
    --------
    >>> from streamlearn import OnlineClassifier
    >>> classifier = OnlineClassifier(model, experts="tokens")
    >>> classifier.predict_one("slow moon")  # no label is known yet
    >>> for _ in range(20):
    ...     classifier.learn_one("launch to orbit and moon", "space")
    ...     classifier.learn_one("engine and clutch broken", "car")
    >>> classifier.predict_one("clutch broken")
    'car'
    >>> sorted(classifier.predict_proba_one("clutch broken"))
    ['car', 'space']
    >>> classifier.learn_many(["goal puck team", "team vote goal"], ["hockey", "hockey"])
    >>> classifier.labels
    ['space', 'car', 'hockey']

    """

    def __init__(
        self,
        model: str | Path = MODEL,
        *,
        labels: Sequence[Label] | None = None,
        buffer_records: int = 10_000,
        **settings: Any,
    ) -> None:
        closed = None if labels is None else [_label(label, "a label") for label in _listed(labels, "labels")]
        tree = {
            "events": {
                "labels": "discover" if closed is None else closed,
                "duplicate_window": 0,
                "holdout_ratio": 0.0,
                "holdout_records": 0,
            },
            "buffer": {"records": buffer_records},
            "updater": {"model": str(model)} | settings,
        }
        try:
            self.config = Config.model_validate(tree)
        except ValidationError as error:
            raise ConfigurationError(sentence(error, Config, {})) from None
        if not self.config.labelled:
            raise ConfigurationError("updater.objective: an OnlineClassifier learns labels, and no language model")
        self.learner = Learner(self.config)

    @property
    def labels(self) -> list[Label]:
        """The labels known so far, in the order of the model's outputs."""
        return list(self._classification.updater.labels)

    @property
    def accuracy(self) -> float:
        """The share of the last 500 texts learnt that were predicted correctly just before; NaN before the first."""
        return self.learner.standing().accuracy

    def learn_one(self, x: str, y: Label) -> None:
        """Take one step on the text `x` with its label `y`, and on texts replayed with it.

        Raises
        ------
        ValueError
            If no step can be taken on it; what was learnt before is unchanged.
        StreamlearnError
            If the device fails, or θ has diverged so that the model predicts nothing any more.

        """
        self._learn([x], [y], named="the text")

    def learn_many(self, texts: Iterable[str], labels: Iterable[Label]) -> None:
        """Take a step on every ``micro_batch`` of `texts`, in their order.

        Raises
        ------
        ValueError
            If a text or label is invalid; then nothing has been learnt. If the model refuses texts, the error names
            them, and all others have been learnt.
        StreamlearnError
            As for :meth:`learn_one`.

        """
        self._learn(texts, labels)

    def predict_then_learn(self, texts: Iterable[str], labels: Iterable[Label]) -> list[Label | None]:
        """Learn as :meth:`learn_many` does, and return the label predicted for each text just before it was learnt.

        The prediction is part of the step and costs nothing extra; it is None if no label was known yet. It raises what
        :meth:`learn_many` raises.
        """
        reports = self._learn(texts, labels)
        return list(chain.from_iterable(report.result.predicted for report in reports if report.result))

    def predict_one(self, x: str) -> Label | None:
        """Return the most probable label of the text `x`, or None if no label is known yet.

        Raises
        ------
        ValueError
            If the model cannot read it, or its probabilities are not finite.

        """
        return _most_probable(self.predict_proba_one(x))

    def predict_proba_one(self, x: str) -> dict[Label, float]:
        """Return the probability of each known label; it raises what :meth:`predict_one` raises."""
        return self._probabilities([x], named="the text")[0]

    def predict_many(self, texts: Iterable[str]) -> list[Label | None]:
        """Return what :meth:`predict_one` does for each of `texts`; the error names the texts."""
        return [_most_probable(found) for found in self.predict_proba_many(texts)]

    def predict_proba_many(self, texts: Iterable[str]) -> list[dict[Label, float]]:
        """Return what :meth:`predict_proba_one` does for each of `texts`; the error names the texts."""
        return self._probabilities(texts)

    def save(self, path: str | Path) -> None:
        """Save the whole state in the directory `path`, replacing what was saved there before.

        The previous save is removed only when the new one is complete.

        Raises
        ------
        StateError
            If `path` holds something else, or a value is not finite.
        OSError
            If the disk refuses.

        """
        store = CheckpointStore(_directory(path) / SAVED, keep=1)
        number = max(map(step_of, store.names()), default=0) + 1
        store.write(number, 0, {"settings": self.config.decisive(), "learner": self.learner.state()})

    @classmethod
    def load(cls, path: str | Path, *, trust_remote_code: bool = False) -> Self:
        """Return the classifier saved in the directory `path`; it continues exactly as the saved one would have.

        Parameters
        ----------
        path
            The directory passed to :meth:`save`.
        trust_remote_code
            Whether code that comes with the model may run; it is not saved.

        Raises
        ------
        StateError
            If nothing is saved there, or it is damaged.
        ConfigurationError
            If the transformer that it started from is no longer available.

        """
        store = CheckpointStore(_directory(path) / SAVED, keep=1)
        names = store.names()
        if not names:
            raise StateError(f"no classifier is saved in {path}")
        state = store.read(names[-1])
        settings = state["settings"]
        settings["updater"]["trust_remote_code"] = trust_remote_code
        classifier = cls.__new__(cls)
        try:
            classifier.config = Config.model_validate(settings)
        except ValidationError as error:
            told = sentence(error, Config, {})
            raise StateError(f"what is saved in {path} has settings that this version cannot use: {told}") from None
        classifier.learner = Learner(classifier.config)
        classifier.learner.load(state["learner"])
        return classifier

    def _learn(self, texts: Iterable[str], labels: Iterable[Label], named: str | None = None) -> list[StepReport]:
        """Learn `texts` and return what each step did; an error calls a single text `named`."""
        events = self._events(texts, labels, named)
        size = self.config.updater.micro_batch
        reports = [take_step(self.learner, events[first : first + size]) for first in range(0, len(events), size)]
        first = events[0].offset if events else 0
        refused = {record.offset - first: reason for report in reports for record, reason in report.refused}
        if refused:
            told = ", ".join(f"{named or f'texts[{index}]'} ({reason.value})" for index, reason in refused.items())
            others = f"; the other {len(events) - len(refused)} are learnt" if len(refused) < len(events) else ""
            raise ValueError(f"nothing can be learnt of {told}{others}")
        return reports

    def _events(self, texts: Iterable[str], labels: Iterable[Label], named: str | None) -> list[Event]:
        """Return `texts` and `labels` as the next events; ValueError if one of them is invalid."""
        texts, labels = _listed(texts, "texts"), _listed(labels, "labels")
        if len(texts) != len(labels):
            raise ValueError(f"there are {len(texts)} texts and {len(labels)} labels")
        topic, partition = NOWHERE
        begin = self.learner.positions.get(NOWHERE, 0)
        events = []
        kind = next(map(type, self.learner.admission.labels), None)
        for index, (text, label) in enumerate(zip(texts, labels, strict=True)):
            known = self._known(_label(label, f"labels[{index}]" if named is None else "the label"))
            kind = kind or type(known)
            if type(known) is not kind:
                raise ValueError(f"labels are either all strings or all integers, and {known!r} is another kind")
            checked = _text(text, named or f"texts[{index}]")
            events.append(Event(checked, known, "", 0.0, topic, partition, begin + index, None, identified=False))
        return events

    @property
    def _classification(self) -> Classification:
        objective = self.learner.objective
        assert isinstance(objective, Classification)  # noqa: S101 - no other is made here
        return objective

    def _known(self, label: Label) -> Label:
        """Return `label`; ValueError if the list of labels is closed and does not contain it."""
        closed = self.config.events.labels
        if closed != "discover" and label not in closed:
            raise ValueError(f"the label {label!r} is not one of {', '.join(map(repr, closed))}")
        return label

    def _probabilities(self, texts: Iterable[str], named: str | None = None) -> list[dict[Label, float]]:
        updater, texts = self._classification.updater, _listed(texts, "texts")
        names = [named or f"texts[{index}]" for index in range(len(texts))]
        events = [Event(_text(text, name), "", "", 0.0, "", 0, 0) for text, name in zip(texts, names, strict=True)]
        found: list[dict[Label, float]] = []
        for first in range(0, len(events), TOGETHER):
            encoded, refused = updater.encode_each(events[first : first + TOGETHER])
            for index, reason in refused.items():
                raise ValueError(f"{names[first + index]} cannot be read by the model ({reason.value})")
            if not updater.labels:
                found += [{} for _ in encoded]
                continue
            rows = updater.log_probabilities(list(encoded.values()))[:, : len(updater.labels)].exp().tolist()
            for row in rows:
                if not abs(sum(row) - 1.0) < NORMAL_WITHIN:
                    raise ValueError(f"{names[len(found)]} cannot be predicted: its probabilities are not finite")
                found.append(dict(zip(updater.labels, row, strict=True)))
        return found


def _directory(path: str | Path) -> Path:
    """Return `path`; StateError if it is a file."""
    if Path(path).is_file():
        raise StateError(f"{path} is a file, and what is saved takes a directory")
    return Path(path)


def _most_probable(probabilities: dict[Label, float]) -> Label | None:
    return max(probabilities, key=probabilities.__getitem__, default=None)


def _listed(values: Iterable[Any], name: str) -> list[Any]:
    """Return `values` as a list; ValueError for a single string, which would be split into characters."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise ValueError(f"{name} must be a list, and is of type {type(values).__name__}")  # noqa: TRY004
    return list(values)


def _text(text: Any, name: str) -> str:
    """Return `text`; if it is invalid, ValueError says why and calls it `name`."""
    if not isinstance(text, str):
        raise ValueError(f"{name} must be a string, and is of type {type(text).__name__}")  # noqa: TRY004
    if wrong := flaw(text):
        raise ValueError(f"{name} {wrong}")
    return str(text)


def _label(label: Any, name: str) -> Label:
    """Return `label` as a plain string or integer; if it is neither, ValueError calls it `name`."""
    if isinstance(label, bool) or not isinstance(label, str | Integral):
        kind = type(label).__name__
        raise ValueError(f"{name} must be a string or an integer, and is of type {kind}")  # noqa: TRY004
    if isinstance(label, str):
        plain = _text(label, name)
        if len(plain) > NAME_LIMIT:
            raise ValueError(f"{name} has {len(plain)} characters, and may have {NAME_LIMIT}")
        return plain
    number = operator.index(label)
    if not LABELS_FROM <= number <= LABELS_TO:
        raise ValueError(f"{name} does not fit into 64 bits")
    return number
