"""Re-runs recorded steps offline, each with the configuration with which it was taken."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from streamlearn.checkpointing.checkpoints import CheckpointStore, step_of
from streamlearn.checkpointing.journal import Journal, Stretch
from streamlearn.config import NOT_DECISIVE, WHOLE_SECTIONS, Config
from streamlearn.consumer import make_source
from streamlearn.errors import StateError
from streamlearn.learner import Learner
from streamlearn.masking import is_secret
from streamlearn.recovery import retake
from streamlearn.reports import StepReport

BEFORE_THE_MIXTURE = {"experts": ["transformer"], "pooling": "native"}
"""What versions of streamlearn that do not record ``updater.experts`` did."""


def open_journal(config: Config) -> Journal:
    """Return the journal that `config` names."""
    return Journal(config.publisher.directory / "journal", configuration=config.decisive())


def open_checkpoints(config: Config) -> CheckpointStore:
    """Return the checkpoints that `config` names."""
    publisher = config.publisher
    return CheckpointStore(publisher.directory / "checkpoints", keep=publisher.checkpoints.keep)


class Retracing:
    """A learner that re-runs recorded steps, each with the configuration with which it was taken.

    When that changes, a new learner continues from the state of the previous one, as happened in the original run.

    Parameters
    ----------
    config
        Says where the journal is, and provides the settings that it does not record.

    """

    def __init__(self, config: Config) -> None:
        self._given = self._config = config
        self._journal = open_journal(config)
        self._learner: Learner | None = None

    @property
    def learner(self) -> Learner:
        """The learner after the steps so far; a new one if nothing has been taken or loaded yet."""
        self._learner = self._learner or Learner(self._config)
        return self._learner

    def load_before(self, step: int, *, strictly: bool) -> list[Stretch]:
        """Load the newest checkpoint at or, `strictly`, before `step`, and return the steps from there to `step`.

        Raises
        ------
        StateError
            If the checkpoint cannot be used, or the journal has no complete sequence of decisions from there to `step`
            that this version knows.

        """
        checkpoints = open_checkpoints(self._given)
        usable = [name for name in checkpoints.names() if step_of(name) < step + (not strictly)]
        begin = step_of(usable[-1]) if usable else 0
        stretches = self._journal.stretches(begin, to=step)
        if sum(len(stretch.decisions) for stretch in stretches) < step - begin:
            raise StateError(
                f"the journal in {self._journal.directory} does not lead from step {begin} to step {step}; "
                "it reaches back as far as the oldest checkpoint (publisher.checkpoints.keep)"
            )
        for following in stretches[:1] or self._journal.stretches(begin, to=begin + 1, quiet=True):
            self._config = recorded(self._given, following.configuration)
        if usable:
            self.learner.load(checkpoints.read(usable[-1]))
        return stretches

    def take(self, stretches: Iterable[Stretch]) -> Iterator[StepReport]:
        """Re-run `stretches`; the errors are those of :func:`retake`."""
        for stretch in stretches:
            config = recorded(self._given, stretch.configuration)
            if config.decisive() != self._config.decisive():
                before, self._config, self._learner = self.learner, config, None
                if before.step:
                    self.learner.load(before.state())
            yield from retake(self.learner, stretch.decisions, make_source(config))


def recorded(config: Config, decisive: Mapping[str, Any]) -> Config:
    """Return `config` with the `decisive` settings from the journal; all others stay.

    Raises
    ------
    StateError
        If this version cannot use them.

    """
    try:
        return Config.model_validate(_overlaid(config.model_dump(), _spelled_out(decisive)))
    except ValidationError as error:
        key = ".".join(map(str, error.errors()[0]["loc"]))
        raise StateError(f"the journal records a value of {key} that this version cannot use") from None


def _spelled_out(decisive: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return `decisive` with the implicit settings of versions in which only the transformer learnt.

    Then the head had the rate of the body unless it was given its own.
    """
    updater = decisive.get("updater")
    if not isinstance(updater, Mapping) or "experts" in updater:
        return decisive
    head = updater.get("head_learning_rate") or updater.get("learning_rate")
    return {**decisive, "updater": {**BEFORE_THE_MIXTURE, **updater, "head_learning_rate": head}}


def _overlaid(tree: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return `tree` with the values of `above`, which has some sections whole except for secrets, others in part."""
    merged = dict(tree)
    for key, value in above.items():
        if key in WHOLE_SECTIONS:
            kept = {name: tree[key][name] for name in (NOT_DECISIVE,) if name in tree[key]}
            merged[key] = kept | value | _secrets(tree[key], value)
        elif isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = _overlaid(merged[key], value)
        else:
            merged[key] = value
    return merged


def _secrets(tree: Mapping[str, Any], below: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `tree` has beyond `below`, section by section: the secrets, which are not recorded."""
    found: dict[str, Any] = {key: value for key, value in tree.items() if is_secret(key)}
    for key, value in tree.items():
        if isinstance(value, Mapping) and isinstance(below.get(key), Mapping):
            found[key] = {**below[key], **_secrets(value, below[key])}
    return found
