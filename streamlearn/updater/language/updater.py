"""The updater of language models: texts in, one step of θ out, without labels."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from functools import cached_property

import msgspec
import numpy as np
import torch
from torch import Tensor

from streamlearn.config import Config
from streamlearn.errors import StateError
from streamlearn.events import Event, Reason
from streamlearn.reports import StepResult, TextFigures
from streamlearn.state import Export, State
from streamlearn.updater.experts.transformer.device import choose_device, choose_precision, raise_if_it_is_the_machine
from streamlearn.updater.experts.transformer.fingerprint import fingerprint
from streamlearn.updater.experts.transformer.inputs import probe_texts
from streamlearn.updater.experts.transformer.lora import as_peft_has_it
from streamlearn.updater.experts.transformer.optimizer import Optimizer
from streamlearn.updater.experts.transformer.tokenizer import panics_as_errors
from streamlearn.updater.experts.transformer.weights import Weights
from streamlearn.updater.isolation import find_guilty
from streamlearn.updater.language.descent import Descent, Learnt
from streamlearn.updater.language.documents import Tokens
from streamlearn.updater.language.forward import Forward
from streamlearn.updater.language.model import load_language_model
from streamlearn.updater.language.probe import find_out_whether_it_packs, try_a_step
from streamlearn.updater.language.trained import give_adapters, select_what_trains
from streamlearn.updater.randomness import OwnRandom

PROOF_TOKENS = 32  # of a text, enough to show whether θ predicts: whole texts would take seconds with a large model


class LanguageUpdater:
    """Applies θ_t = θ_{t−1} − η∇(L + λR) to texts, L being the mean of −log p(token | those before it in its text).

    The cost of every text is measured in the same forward pass, before the step. Parameters that do not train are not
    copied into a state, which has only their digests.

    Parameters
    ----------
    config
        The section ``updater`` is read.

    Raises
    ------
    ConfigurationError
        If the model cannot be loaded, or cannot take a step as the configuration says.

    Attributes
    ----------
    config
        The section ``updater``.
    model, tokenizer
        As loaded; θ are the parameters of the model.
    descent
        Takes the steps.
    steps
        How many steps have been applied to θ.
    warm_from
        None.

    """

    def __init__(self, config: Config) -> None:
        self.config = settings = config.updater
        if settings.threads:
            torch.set_num_threads(settings.threads)
        self._device = choose_device(settings.device)
        self._random = OwnRandom(settings.seed, self._device)
        self.model, self.tokenizer, ends = load_language_model(settings)
        self.model.to(self._device)  # type: ignore[arg-type]  # its annotation is a decorator's
        self._forward = Forward(
            self.model,
            ends,
            most=settings.max_tokens,
            device=self._device,
            autocast=choose_precision(settings.precision, self._device),
        )
        self.model.eval()
        probes = self._encoded(probe_texts(self.tokenizer, settings.max_tokens))
        find_out_whether_it_packs(self._forward, probes, settings)
        with self._random:
            give_adapters(self.model, settings)
        self.model.train(settings.dropout > 0.0)
        optimizer = Optimizer(select_what_trains(self.model, settings), settings)
        self._weights = Weights(self.model, settings.model)
        weights, mark = self._weights.copy(), self._random.mark()
        with self._random:
            try_a_step(self._forward, probes, optimizer, settings)
        self._random.reset(mark)
        self._weights.put(weights)
        self.model.zero_grad(set_to_none=True)
        optimizer = Optimizer(select_what_trains(self.model, settings), settings)
        self.descent = Descent(self._forward, optimizer, self._random, settings)
        self.steps = 0
        self.warm_from: int | None = None  # a published model starts like any other

    def encode(self, events: Sequence[Event]) -> list[Event]:
        """Return `events` with the token ids of their whole texts, without special tokens."""
        encoded = self._encoded([event.text for event in events])
        return [msgspec.structs.replace(event, tokens=ids) for event, ids in zip(events, encoded, strict=True)]

    def _encoded(self, texts: Sequence[str]) -> list[Tokens]:
        if not texts:
            return []
        with panics_as_errors():
            encoded = self.tokenizer(
                list(texts), add_special_tokens=False, truncation=False, return_attention_mask=False
            )
        return [np.asarray(ids, dtype=np.int32) for ids in encoded["input_ids"]]

    def encode_each(self, events: Sequence[Event]) -> tuple[dict[int, Event], dict[int, Reason]]:
        """Return `events` with their token ids, keyed by index, and the events on which the tokenizer raises."""
        encoded: dict[int, Event] = {}
        refused: dict[int, Reason] = {}
        for index, event in enumerate(events):
            try:
                (encoded[index],) = self.encode([event])
            except Exception:  # noqa: BLE001 - whatever a tokenizer raises for a text is that text's reason
                refused[index] = Reason.MODEL_ERROR
        return encoded, refused

    def step(
        self,
        fresh: Sequence[Event],
        replayed: Sequence[Event] = (),
        *,
        proofs: Sequence[Event] = (),  # noqa: ARG002 - no part of θ begins again by itself
    ) -> StepResult:
        """Measure the cost of the fresh events, then learn from them and the replayed ones in one step.

        If no step can be taken on all of them, the offending events are found and left out, and the step is taken on
        the others. If that fails for the others together, each fresh event is a step of its own.

        Raises
        ------
        DeviceError
            If the device runs out of memory or fails.

        """
        rate, events = self.descent.optimizer.rate, [*fresh, *replayed]
        texts, count = _tokens(events), len(fresh)
        learnt = self._learn(texts)
        guilty: dict[int, Reason] = {}
        nats = dict[int, float]()
        norm = math.nan
        if isinstance(learnt, Reason):
            guilty = find_guilty(range(len(texts)), lambda rows: self.descent.objection([texts[row] for row in rows]))
        innocent = [row for row in range(len(texts)) if row not in guilty]
        refused = {row: reason for row, reason in guilty.items() if row < count}
        if isinstance(learnt, Reason) and guilty and len(refused) < count:
            learnt = self._learn([texts[row] for row in innocent])
        if isinstance(learnt, Learnt):
            nats, norm = dict(zip(innocent, learnt.nats.tolist(), strict=True)), learnt.norm
        elif len(refused) < count:
            for row in (row for row in innocent if row < count):
                alone = self._learn([texts[row]])
                if isinstance(alone, Reason):
                    refused[row] = alone
                else:
                    nats[row], norm = float(alone.nats[0]), alone.norm
        figures = self._figures({row: events[row] for row in range(count) if row in nats}, nats)
        return StepResult(
            correct=np.empty(0, np.bool_),
            losses=figures.losses,
            loss=float(figures.nats.sum() / figures.tokens.sum()) if len(figures.nats) else math.nan,
            gradient_norm=norm,
            learning_rate=rate,
            refused=refused,
            unfit=[row - count for row in guilty if row >= count],
            texts=figures,
        )

    def _learn(self, texts: Sequence[Tokens]) -> Learnt | Reason:
        learnt = self.descent.take(texts)
        self.steps += isinstance(learnt, Learnt)
        return learnt

    def _figures(self, events: dict[int, Event], nats: dict[int, float]) -> TextFigures:
        return TextFigures(
            nats=np.asarray([nats[row] for row in events], np.float64),
            tokens=np.asarray(self._forward.counts(_tokens(list(events.values()))), np.int64),
            bytes=np.asarray([size(event) for event in events.values()], np.int64),
        )

    def measure(self, events: Sequence[Event]) -> TextFigures:
        """Return the cost of each encoded event with the current θ; NaN if the model raises or it is not finite."""
        return self._figures(dict(enumerate(events)), dict(enumerate(self._nats(_tokens(events)))))

    def predictable(self, events: Sequence[Event]) -> list[bool]:
        """Return for each encoded event whether its first tokens have valid probabilities."""
        return [math.isfinite(nats) for nats in self._nats([text[:PROOF_TOKENS] for text in _tokens(events)])]

    def _nats(self, texts: Sequence[Tokens]) -> list[float]:
        """Return the cost of each of `texts`, NaN if unknown; a text without a cost does not affect the others."""
        training = self.model.training
        self.model.eval()
        try:
            found: list[float] = self._forward.nats(texts).tolist()
        except Exception as error:  # noqa: BLE001 - whatever a model raises for a text is that text's affair
            raise_if_it_is_the_machine(error, self._device, texts)
            found = [math.nan] * len(texts)
        finally:
            self.model.train(training)
        if len(texts) > 1 and not all(map(math.isfinite, found)):
            return [nats for text in texts for nats in self._nats([text])]
        return [nats if math.isfinite(nats) else math.nan for nats in found]

    def keep_within(self, most: int) -> None:
        """Do nothing: nothing but tokens is cached."""

    @cached_property
    def _encoding(self) -> State:
        return {"tokenizer": fingerprint(self.tokenizer)}

    def encodes_as(self, state: State) -> bool:
        """Whether texts still get the same token ids as when `state` was made."""
        return bool(state["encoding"] == self._encoding)

    def state(self) -> State:
        """Return what of θ trains, the digests of the rest, the states of optimiser, regulariser and generator."""
        return {
            "objective": "language_model",
            "model": self.config.model,
            "steps": self.steps,
            "encoding": dict(self._encoding),
            **self._weights.state(),
            **self.descent.state(),
            **dict(zip(("random", "random_cuda"), self._random.mark(), strict=False)),
        }

    def load(self, state: State) -> None:
        """Continue from `state`.

        Raises
        ------
        StateError
            If it was made with another model, or other weights of it.

        """
        elsewhere = "give the learner another publisher.directory to begin anew"
        if state["model"] != self.config.model:
            raise StateError(
                f"the checkpoint was made with the model '{state['model']}' and the configuration names "
                f"'{self.config.model}'; {elsewhere}"
            )
        try:
            self._weights.load(state)
        except (KeyError, RuntimeError, ValueError) as error:
            raise StateError(
                f"the checkpoint does not fit '{self.config.model}' ({error}); updater.trains and the settings of "
                f"adapters must be what they were, or {elsewhere}"
            ) from None
        self.descent.load(state)
        self._random.reset(tuple(state[name] for name in ("random", "random_cuda") if name in state))
        self.steps = state["steps"]

    def weights(self) -> dict[str, Tensor]:
        """Return a copy of the weights that :meth:`state` has, which is all that :meth:`export` needs of it."""
        return self._weights.copy()

    def go_back(self, state: State) -> None:
        """Load an earlier `state` of this updater's, whatever a step since then has left behind."""
        self.descent.forget()
        self.descent.optimizer.fixed = None
        self.load(state)

    def export(self, state: State) -> Export:
        """Return the model of `state`, which :meth:`state` returned just now, in the form that transformers loads."""
        config = copy.deepcopy(self.model.config)
        config.architectures = [type(self.model).__name__]
        whole = self._weights.complete(state["weights"])
        again = {name for name, _ in self.model.named_parameters(remove_duplicate=False)}
        again -= {name for name, _ in self.model.named_parameters()}  # a shared table is listed once
        weights = {name: value for name, value in whole.items() if name not in again}
        adapter = as_peft_has_it(self.model, self.config, "CAUSAL_LM") if self.config.trains == "lora" else None
        return Export(config, weights, self.tokenizer, columns=0, adapter=adapter, language_model=True)

    def describe(self) -> str:
        """Say how much of the model trains."""
        parameters = list(self.model.parameters())
        trained = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
        whole = sum(parameter.numel() for parameter in parameters)
        packed = "packed" if self._forward.packs else "one at a time"
        return f"a language model, of whose {whole:,} weights {trained:,} train, on texts without labels, {packed}"


def size(event: Event) -> int:
    """Return how many bytes the text of `event` has in UTF-8."""
    return len(event.text.encode(errors="surrogatepass"))


def _tokens(events: Iterable[Event]) -> list[Tokens]:
    """Return the token ids of encoded events."""
    found = []
    for event in events:
        if event.tokens is None:
            raise ValueError("the event has not been encoded")
        found.append(event.tokens)
    return found
