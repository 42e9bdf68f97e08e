"""The updater: labelled events in, one step of θ out. How many experts it has is its own affair."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import torch
from torch import Tensor

from streamlearn.config import Config
from streamlearn.errors import StateError
from streamlearn.events import Event, Label, Reason
from streamlearn.reports import StepResult
from streamlearn.state import Export, State
from streamlearn.updater.examples import Examples
from streamlearn.updater.experts.registry import make_beside
from streamlearn.updater.experts.transformer.expert import TransformerExpert
from streamlearn.updater.features import Encoded, Feature
from streamlearn.updater.isolation import find_guilty
from streamlearn.updater.labels import LabelMap
from streamlearn.updater.lexical import Lexical
from streamlearn.updater.mixture import MixedGradients, Mixture
from streamlearn.updater.randomness import Mark

NORMAL_WITHIN = 1e-3  # of 1, that probabilities add up to: far more than rounding costs with a thousand labels


@dataclass(frozen=True)
class _Attempt:
    """Examples that were learnt in one go, how many labels were known before, and what was found out about them."""

    examples: Examples
    known: int
    learnt: MixedGradients


class Updater:
    """Applies θ_t = θ_{t−1} − η∇(L + λR) to micro-batches of fresh and replayed events.

    Parameters
    ----------
    config
        The sections ``events`` (labels) and ``updater`` count.

    Raises
    ------
    ConfigurationError
        If the model cannot be loaded or does not fit the configuration.

    Attributes
    ----------
    transformer
        The expert whose model is published, and whose tokenizer reads the texts for all experts.
    labels
        The labels known so far, in the order of the experts' columns.

    """

    def __init__(self, config: Config) -> None:
        self._model_name = config.updater.model
        self._discovers = config.events.labels == "discover"
        closed: list[Label] = [] if config.events.labels == "discover" else config.events.labels
        self.transformer = TransformerExpert(config.updater, [str(label) for label in closed])
        columns = self.transformer.columns
        self._mixture = Mixture([self.transformer, *make_beside(config.updater, columns)], self._lexical)
        by_name: dict[str, Label] = {str(label): label for label in closed}
        self.labels = LabelMap(by_name.get(name, name) for name in columns)

    def _lexical(self, wanted: frozenset[Feature]) -> Lexical:
        tokenizer, embeddings = self.transformer.tokenizer, self.transformer.embeddings
        return Lexical(wanted, special=tokenizer.all_special_ids, embeddings=embeddings)

    @property
    def steps(self) -> int:
        """How many steps have been applied to θ."""
        return self.transformer.optimizer.steps

    def encode(self, events: Sequence[Event]) -> list[Event]:
        """Return `events` with their token ids."""
        if not events:
            return []
        encoded = self.transformer.encode([event.text for event in events])
        return [msgspec.structs.replace(event, tokens=ids) for event, ids in zip(events, encoded, strict=True)]

    def encode_each(self, events: Sequence[Event]) -> tuple[dict[int, Event], dict[int, Reason]]:
        """Return `events` with their token ids by their index, and those on which the tokenizer raises."""
        try:
            return dict(enumerate(self.encode(events))), {}
        except Exception:  # noqa: BLE001 - whatever a tokenizer raises for a text is that text's reason
            encoded: dict[int, Event] = {}
            refused: dict[int, Reason] = {}
        for index, event in enumerate(events):
            try:
                encoded[index] = self.encode([event])[0]
            except Exception:  # noqa: BLE001
                refused[index] = Reason.MODEL_ERROR
        return encoded, refused

    def step(
        self, fresh: Sequence[Event], replayed: Sequence[Event] = (), weights: Sequence[float] | None = None
    ) -> StepResult:
        """Predict the fresh events, then learn from them and the replayed ones in one step.

        One forward pass serves both. A fresh event whose label is met for the first time counts as predicted
        wrongly. All events must have been encoded.

        Where no step can be taken on all of them, those on which none can be taken are found and left out, and it is
        the step on the others that is taken, to the last bit. Others that cannot go through the model together (one
        needs padding that another cannot bear) go through it one by one, in one step still; and where their gradient is
        not finite even so, each fresh one is a step of its own.

        Parameters
        ----------
        fresh, replayed
            The events of the micro-batch.
        weights
            The weight of each fresh event and then of each replayed one in the objective, which is their weighted
            mean; none is negative. None weighs all alike.

        Raises
        ------
        ValueError
            If there is not one weight for each event, or one is negative or not finite.
        DeviceError
            If the device has no memory for it, or has failed.

        """
        rate, events = self.transformer.optimizer.rate, [*fresh, *replayed]
        if weights is not None and (len(weights) != len(events) or not all(0.0 <= w < math.inf for w in weights)):
            raise ValueError(f"{len(events)} events need as many weights, finite and not negative")
        examples = Examples(events, self._encoded(events), weights, len(fresh))
        tried = self._try(examples)
        if isinstance(tried, _Attempt):
            return self._result([tried], rate)
        guilty = self._guilty(examples)
        refused = {index: reason for index, reason in guilty.items() if index < len(fresh)}
        unfit = [index - len(fresh) for index in guilty if index >= len(fresh)]
        innocent = [index for index in range(len(events)) if index not in guilty]
        attempts: list[_Attempt] = []
        if len(refused) < len(fresh):
            tried = self._try(examples.take(innocent)) if guilty else tried
            if isinstance(tried, Reason):
                tried = self._try(examples.take(innocent), apart=True)
            attempts = [tried] if isinstance(tried, _Attempt) else list(self._one_by_one(examples, innocent, refused))
        return self._result(attempts, rate, refused, unfit)

    def _try(self, examples: Examples, *, apart: bool = False) -> _Attempt | Reason:
        """Take a step on `examples`, growing the experts to their labels, or leave everything as it was."""
        known, marks = len(self.labels), self._mixture.marks()
        self._grow(examples.events)
        targets = self._columns(examples.events)
        learnt = self._mixture.gradients(examples.encoded, targets, examples.weights, fresh=examples.fresh, apart=apart)
        if isinstance(learnt, Reason):
            self._shrink(known, marks)
            return learnt
        self._mixture.apply(learnt)
        return _Attempt(examples, known, learnt)

    def _guilty(self, examples: Examples) -> dict[int, Reason]:
        """Return the indices of those among `examples` on which no step can be taken, and leave everything as it was.

        Their weights say nothing about that.
        """
        known, marks = len(self.labels), self._mixture.marks()
        self._grow(examples.events)
        targets = self._columns(examples.events)
        drawn = self._mixture.marks()

        def objection(indices: Sequence[int]) -> Reason | None:
            found = self._mixture.gradients(examples.encoded.take(indices), [targets[index] for index in indices])
            self._mixture.drop()
            self._mixture.reset(drawn)
            return found if isinstance(found, Reason) else None

        guilty = find_guilty(range(len(targets)), objection)
        self._shrink(known, marks)
        return guilty

    def _one_by_one(
        self, examples: Examples, innocent: Sequence[int], refused: dict[int, Reason]
    ) -> Iterator[_Attempt]:
        """Take a step on each fresh one among the `innocent`; where none can be taken, it joins the `refused`."""
        for index in innocent:
            if index >= examples.fresh:
                return
            tried = self._try(examples.take([index]))
            if isinstance(tried, Reason):
                refused[index] = tried
            else:
                yield tried

    def _grow(self, events: Iterable[Event]) -> None:
        for event in events:
            if event.label not in self.labels and self.labels.add(event.label):
                self._mixture.grow(str(event.label))

    def _shrink(self, count: int, marks: Sequence[Mark]) -> None:
        """Take back the labels after the first `count`, and what drawing their rows did to the random states."""
        if len(self.labels) > count:
            self._mixture.shrink(count)
            self.labels = LabelMap(list(self.labels)[:count])
        self._mixture.reset(marks)

    def _columns(self, events: Iterable[Event]) -> list[int]:
        return [self.labels.index(event.label) for event in events]

    def _result(
        self,
        attempts: Sequence[_Attempt],
        rate: float,
        refused: dict[int, Reason] | None = None,
        unfit: list[int] | None = None,
    ) -> StepResult:
        correct, losses = [np.empty(0, np.bool_)], [np.empty(0, np.float32)]
        for attempt in attempts:
            count, known = attempt.examples.fresh, attempt.known
            predicted = attempt.learnt.log_probabilities[:count, : max(1, known)].argmax(-1).numpy()
            columns = np.asarray(self._columns(attempt.examples.events[:count]))
            correct.append((predicted == columns) & (columns < known))
            losses.append(attempt.learnt.losses[:count].numpy())
        every = [attempt.learnt.losses for attempt in attempts]
        return StepResult(
            correct=np.concatenate(correct),
            losses=np.concatenate(losses),
            loss=float(torch.cat(every).mean()) if every else math.nan,
            gradient_norm=attempts[-1].learnt.norm if attempts else math.nan,
            learning_rate=rate,
            refused=refused or {},
            unfit=unfit or [],
        )

    def predict(self, events: Sequence[Event]) -> list[Label | None]:
        """Return the most probable label of each encoded event, None where there is none.

        There is none where the probabilities are not sound, as :func:`sound` says, or no label is known yet.
        """
        names = list(self.labels)
        if not events or not names:
            return [None] * len(events)
        log_probabilities = self.log_probabilities(events)
        columns = log_probabilities[:, : len(names)].argmax(-1).tolist()
        return [names[column] if good else None for column, good in zip(columns, sound(log_probabilities), strict=True)]

    def predictable(self, events: Sequence[Event]) -> list[bool]:
        """Return of each encoded event whether its probabilities are sound, as :func:`sound` says."""
        return sound(self.log_probabilities(events)) if events else []

    def log_probabilities(self, events: Sequence[Event]) -> Tensor:
        """Return the log-probabilities of encoded events' labels, of shape (events, labels); NaN where it raises."""
        return self._mixture.predict(self._encoded(events))

    def _encoded(self, events: Sequence[Event]) -> Encoded:
        return Encoded.of(events, self._mixture.reads)

    def export(self, state: State) -> Export:
        """Return what a snapshot of `state` publishes; its weights are those of `state`, not copied again."""
        expert, weights = self.transformer, state[self.transformer.name]["weights"]
        return Export(expert.model_config(), weights, expert.tokenizer, columns=expert.width)

    def state(self) -> State:
        """Return the labels and the state of every expert."""
        return {
            "model": self._model_name,
            "labels": list(self.labels),
            "encoding": dict(self.transformer.encoding),
            **self._mixture.state(),
        }

    def encodes_as(self, state: State) -> bool:
        """Whether texts get the token ids that they got when `state` was made, as far as it says."""
        return bool(state.get("encoding", self.transformer.encoding) == self.transformer.encoding)

    def load(self, state: State) -> None:
        """Continue from `state`.

        Raises
        ------
        StateError
            If the state was made with another model or with labels in another order.

        """
        if state["model"] != self._model_name:
            raise StateError(
                f"the checkpoint was made with the model '{state['model']}' and the configuration names "
                f"'{self._model_name}'; give the new model a publisher.directory of its own"
            )
        saved = LabelMap(state["labels"])
        if len(set(saved.names())) != len(state["labels"]):
            raise StateError(
                "the checkpoint has two columns for one label, the number and its name, of which none can be "
                f"published ({', '.join(map(repr, state['labels']))}); start over with another publisher.directory"
            )
        mine, theirs = (self.labels.names(), saved.names()) if self._discovers else (list(self.labels), list(saved))
        if mine != theirs[: len(mine)]:
            raise StateError(
                f"the checkpoint has the labels {state['labels']} and the configuration {list(self.labels)}; "
                "labels may be added at the end, not changed"
            )
        try:
            if self.transformer.name not in state:
                raise KeyError(self.transformer.name)
            self._mixture.load(state, saved.names())
        except (RuntimeError, KeyError, ValueError) as error:
            first = str(error).splitlines()[0]
            raise StateError(f"the checkpoint does not fit the configured model: {first}") from None
        self.labels = saved


def sound(log_probabilities: Tensor) -> list[bool]:
    """Return of each row of `log_probabilities`, of shape (events, labels), whether it is finite and adds up to 1."""
    finite = torch.isfinite(log_probabilities).all(-1)
    normal = log_probabilities.logsumexp(-1).abs() < NORMAL_WITHIN
    rows: list[bool] = (finite & normal).tolist()
    return rows
