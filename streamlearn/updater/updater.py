"""The updater: labelled events in, one step of θ out, with any number of experts."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace

import msgspec
from torch import Tensor

from streamlearn.config import Config
from streamlearn.errors import StateError
from streamlearn.events import Event, Label, Reason
from streamlearn.reports import StepResult
from streamlearn.state import State
from streamlearn.updater.attempts import Attempt, result_of
from streamlearn.updater.examples import Examples
from streamlearn.updater.experts.registry import TRANSFORMER, chosen, make_experts
from streamlearn.updater.experts.transformer.expert import TransformerExpert
from streamlearn.updater.experts.transformer.published import Published, read_published
from streamlearn.updater.features import Encoded
from streamlearn.updater.isolation import find_guilty
from streamlearn.updater.labels import LabelMap, saved_labels
from streamlearn.updater.misfit import misfit, refuse_other_features
from streamlearn.updater.mixture import Mixture, reads
from streamlearn.updater.randomness import Mark
from streamlearn.updater.soundness import sound
from streamlearn.updater.warm_start import begin_with, make_backbone, with_labels


class Updater:
    """Applies θ_t = θ_{t−1} − η∇(L + λR) to micro-batches of fresh and replayed events.

    Parameters
    ----------
    config
        The sections ``events`` (labels), ``updater`` and ``buffer`` (memory left beside its events) are read.
    published
        A mixture to start from, published in the model's directory; None looks there for one.

    Raises
    ------
    ConfigurationError
        If the model cannot be loaded or does not fit the configuration.

    Attributes
    ----------
    config
        The section ``updater``.
    backbone
        The model that everything starts from, whose tokenizer encodes the texts for all experts.
    transformer
        The expert that trains it, or None.
    mixture
        The mixture of the experts.
    labels
        The labels known so far, in the order of the experts' columns.
    discovers
        Whether new labels may still be added.
    steps
        How many steps have been applied to θ.
    warm_from
        The step of the published mixture that it started from; None if it started from a plain model.

    """

    def __init__(self, config: Config, *, published: Published | None = None) -> None:
        self.config = config.updater
        self.discovers = config.events.labels == "discover"
        closed: list[Label] = [] if self.discovers else list(config.events.labels)
        kinds = chosen(config.updater.experts)
        begun = with_labels(published or read_published(self.config.model), closed, self.config.model)
        self.backbone = make_backbone(config.updater, closed, begun, tuned=any(k.name == TRANSFORMER for k in kinds))
        experts = make_experts(config.updater, kinds, self.backbone)
        self.transformer = next((expert for expert in experts if isinstance(expert, TransformerExpert)), None)
        self.mixture = Mixture(experts, self.backbone.extractor(reads(experts)))
        self.labels = LabelMap.of(self.backbone.columns, closed)
        self.steps = 0
        self.warm_from = begun.step if begun else None
        begin_with(self, begun, closed)
        self.keep_within(config.buffer.bytes)

    @property
    def experts(self) -> list[str]:
        """The names of the experts, in their order."""
        return [expert.name for expert in self.mixture.experts]

    def keep_within(self, most: int) -> None:
        """Limit the cache of the frozen layers' outputs to `most` bytes."""
        if self.backbone.is_frozen:
            self.backbone.frozen.keep_within(max(0, most))

    def encode(self, events: Sequence[Event]) -> list[Event]:
        """Return `events` with their token ids."""
        if not events:
            return []
        encoded = self.backbone.encode([event.text for event in events])
        return [msgspec.structs.replace(event, tokens=ids) for event, ids in zip(events, encoded, strict=True)]

    def encode_each(self, events: Sequence[Event]) -> tuple[dict[int, Event], dict[int, Reason]]:
        """Return `events` with their token ids, keyed by index, and the events on which the tokenizer raises."""
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
        self,
        fresh: Sequence[Event],
        replayed: Sequence[Event] = (),
        weights: Sequence[float] | None = None,
        *,
        proofs: Sequence[Event] = (),
    ) -> StepResult:
        """Predict the fresh events, then learn from them and the replayed ones in one step.

        One forward pass serves both. A fresh event whose label is new counts as predicted wrongly. All events must have
        been encoded.

        If no step can be taken on all of them, the offending events are found and left out, and the step is exactly the
        one on the others. If these cannot be batched (one needs padding that breaks another), they go through the model
        one by one, still in one step; and if their gradient is not finite even then, each fresh event is a step of its
        own.

        Parameters
        ----------
        fresh, replayed
            The events of the micro-batch.
        weights
            The weight of each fresh event and then of each replayed one in the objective, which is their weighted mean;
            none is negative. None weights all equally.
        proofs
            Events that have been learnt. If the step fails, experts that fail on these, too, are restarted before any
            of the texts is blamed.

        Raises
        ------
        ValueError
            If there is not one weight for each event, or one is negative or not finite.
        DeviceError
            If the device runs out of memory or fails.

        """
        rate, events = self._rate, [*fresh, *replayed]
        if weights is not None and (len(weights) != len(events) or not all(0.0 <= w < math.inf for w in weights)):
            raise ValueError(f"{len(events)} events need as many weights, finite and not negative")
        examples = Examples(events, self._encoded(events), weights, len(fresh))
        tried = self._try(examples)
        if isinstance(tried, Reason) and self.restart_unsound(proofs):
            tried = self._try(examples)
        if isinstance(tried, Attempt):
            return self._result([tried], rate)
        guilty = self._guilty(examples)
        refused = {index: reason for index, reason in guilty.items() if index < len(fresh)}
        unfit = [index - len(fresh) for index in guilty if index >= len(fresh)]
        innocent = [index for index in range(len(events)) if index not in guilty]
        attempts: list[Attempt] = []
        if len(refused) < len(fresh):
            tried = self._try(examples.take(innocent)) if guilty else tried
            if isinstance(tried, Reason):
                tried = self._try(examples.take(innocent), apart=True)
            attempts = [tried] if isinstance(tried, Attempt) else list(self._one_by_one(examples, innocent, refused))
        return self._result(attempts, rate, refused, unfit)

    @property
    def _rate(self) -> float:
        return self.transformer.optimizer.rate if self.transformer else math.nan

    def _try(self, examples: Examples, *, apart: bool = False) -> Attempt | Reason:
        """Take a step on `examples`, adding columns for their labels, or leave everything unchanged."""
        known, marks = len(self.labels), self.mixture.marks()
        self._grow(event.label for event in examples.events)
        targets = self._columns(examples.events)
        learnt = self.mixture.gradients(examples.encoded, targets, examples.weights, fresh=examples.fresh, apart=apart)
        if isinstance(learnt, Reason):
            self._shrink(known, marks)
            return learnt
        self.mixture.apply(learnt)
        self.steps += 1
        return Attempt(examples, known, learnt)

    def _guilty(self, examples: Examples) -> dict[int, Reason]:
        """Return the indices of those among `examples` on which no step can be taken, and leave everything unchanged.

        Their weights play no role in that.
        """
        known, marks = len(self.labels), self.mixture.marks()
        self._grow(event.label for event in examples.events)
        targets = self._columns(examples.events)
        drawn = self.mixture.marks()

        def objection(indices: Sequence[int]) -> Reason | None:
            found = self.mixture.gradients(examples.encoded.take(indices), [targets[index] for index in indices])
            self.mixture.drop()
            self.mixture.reset(drawn)
            return found if isinstance(found, Reason) else None

        guilty = find_guilty(range(len(targets)), objection)
        self._shrink(known, marks)
        return guilty

    def _one_by_one(self, examples: Examples, innocent: Sequence[int], refused: dict[int, Reason]) -> Iterator[Attempt]:
        """Take a step on each fresh one among the `innocent`; one on which that fails joins the `refused`."""
        for index in innocent:
            if index >= examples.fresh:
                return
            tried = self._try(examples.take([index]))
            if isinstance(tried, Reason):
                refused[index] = tried
            else:
                yield tried

    def _grow(self, labels: Iterable[Label]) -> None:
        for label in labels:
            if label not in self.labels and self.labels.add(label):
                self.mixture.grow(str(label))

    def _shrink(self, count: int, marks: Sequence[Mark]) -> None:
        """Remove the labels after the first `count`, and reset the random states to before their rows were drawn."""
        if len(self.labels) > count:
            self.mixture.shrink(count)
            self.labels = LabelMap(list(self.labels)[:count])
        self.mixture.reset(marks)

    def _columns(self, events: Iterable[Event]) -> list[int]:
        return [self.labels.index(event.label) for event in events]

    def _result(
        self,
        attempts: Sequence[Attempt],
        rate: float,
        refused: dict[int, Reason] | None = None,
        unfit: list[int] | None = None,
    ) -> StepResult:
        found = result_of(attempts, self.labels)
        return replace(
            found,
            learning_rate=rate,
            refused=refused or {},
            unfit=unfit or [],
            experts=self.mixture.reports if attempts else {},
            dropped=self.mixture.dropped if attempts else {},
        )

    def predict(self, events: Sequence[Event]) -> list[Label | None]:
        """Return the most probable label of each encoded event, or None.

        It is None if the probabilities are not valid, as :func:`sound` checks, or if no label is known yet.
        """
        return self._likeliest(self.log_probabilities(events)) if events and self.labels else [None] * len(events)

    def predict_with_transformer(self, events: Sequence[Event]) -> list[Label | None]:
        """Return what :meth:`predict` returns, by the transformer alone; ValueError if there is none."""
        if self.transformer is None:
            raise ValueError("there is no transformer among the experts")
        encoded = Encoded.of(events, frozenset())
        return self._likeliest(self.transformer.predict(encoded)) if events and self.labels else [None] * len(events)

    def _likeliest(self, log_probabilities: Tensor) -> list[Label | None]:
        names = list(self.labels)
        columns = log_probabilities[:, : len(names)].argmax(-1).tolist()
        return [names[column] if good else None for column, good in zip(columns, sound(log_probabilities), strict=True)]

    def restart_unsound(self, events: Sequence[Event]) -> list[str]:
        """Restart the experts that fail on most of `events`, all of which they have learnt.

        Returns their names. If all experts fail, none is restarted, and the list is empty.
        """
        if not events or len(self.experts) == 1:
            return []
        names = self.mixture.unsound(self._encoded(events), self._columns(events))
        if len(names) == len(self.experts):
            return []
        self.mixture.restart(names)
        return names

    def predictable(self, events: Sequence[Event]) -> list[bool]:
        """Return for each encoded event whether its probabilities are valid, as :func:`sound` checks."""
        return sound(self.log_probabilities(events)) if events else []

    def log_probabilities(self, events: Sequence[Event]) -> Tensor:
        """Return the log-probabilities of encoded events, of shape (events, labels); NaN if the model raises."""
        return self.mixture.predict(self._encoded(events))

    def _encoded(self, events: Sequence[Event]) -> Encoded:
        return Encoded.of(events, self.mixture.reads)

    def state(self) -> State:
        """Return the labels and the state of every expert."""
        return {
            "model": self.config.model,
            "labels": list(self.labels),
            "steps": self.steps,
            "encoding": dict(self.backbone.encoding),
            **({"frozen": self.backbone.frozen.digest} if self.backbone.is_frozen else {}),
            **self.mixture.state(),
        }

    def encodes_as(self, state: State) -> bool:
        """Whether texts still get the same token ids as when `state` was made, as far as it records that."""
        return bool(state.get("encoding", self.backbone.encoding) == self.backbone.encoding)

    def load(self, state: State) -> None:
        """Continue from `state`.

        Labels that the configuration has beyond those of the state get new columns.

        Raises
        ------
        StateError
            If the state was made with another model, with more of it training or with labels in another order.

        """
        if state["model"] != self.config.model:
            raise StateError(
                f"the checkpoint was made with the model '{state['model']}' and the configuration names "
                f"'{self.config.model}'; give the new model a publisher.directory of its own"
            )
        saved = saved_labels(state["labels"], self.labels, discovers=self.discovers)
        refuse_other_features(state, self.config.model, self.backbone, self.mixture.reads)
        added = list(self.labels)[len(saved) :]
        self._shrink(len(saved), self.mixture.marks())
        try:
            self.load_experts(state, saved)
        except (RuntimeError, KeyError, ValueError) as error:
            raise StateError(misfit(state, error)) from None
        if self.backbone.is_frozen:
            self.backbone.frozen.forget()
        self.steps = state["steps"] if "steps" in state else state[TRANSFORMER]["optimizer"]["steps"]
        self._grow(added)

    def load_experts(self, state: State, labels: LabelMap, *, as_they_are: Collection[str] = ()) -> None:
        """Load the experts' parts of `state`, with these `labels`, except experts named `as_they_are`, which are right.

        Raises
        ------
        RuntimeError, KeyError, ValueError
            If they do not fit.

        """
        self.mixture.load(state, labels.names(), as_they_are=as_they_are)
        self.labels = labels
