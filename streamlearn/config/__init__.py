"""The one configuration tree: YAML file < environment < command line, checked before anything starts.

Each section has a file of its own, in which the text under a setting says what it does and what it trades: the
reference in the documentation, the schema for editors and what ``streamlearn init`` writes are made of it.

>>> load(overrides=["kafka.topic=tickets", "updater.learning_rate=1e-4"]).updater.learning_rate
0.0001
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError, model_validator

from streamlearn.config.bounds import Section
from streamlearn.config.buffer import Buffer
from streamlearn.config.events import Csv, Events, Fields
from streamlearn.config.kafka import READ_COMMITTED, Kafka
from streamlearn.config.layers import Origins, merge
from streamlearn.config.mistakes import sentence
from streamlearn.config.monitor import BasicAuth, Drift, Monitor, Tls
from streamlearn.config.objectives import refuse_what_is_of_the_other
from streamlearn.config.publisher import Checkpoints, Journal, Keep, Publisher, Snapshots
from streamlearn.config.schema_registry import SchemaRegistry, check_registry
from streamlearn.config.shape import check_places
from streamlearn.config.updater import Updater
from streamlearn.errors import ConfigurationError
from streamlearn.masking import hide, masked_tree, without_secrets

__all__ = [
    "NOT_DECISIVE",
    "READ_COMMITTED",
    "WHOLE_SECTIONS",
    "BasicAuth",
    "Buffer",
    "Checkpoints",
    "Config",
    "Csv",
    "Drift",
    "Events",
    "Fields",
    "Journal",
    "Kafka",
    "Keep",
    "Monitor",
    "Publisher",
    "SchemaRegistry",
    "Snapshots",
    "Tls",
    "Updater",
    "digest",
    "load",
]

WHOLE_SECTIONS = ("events", "buffer", "updater")  # of which every setting decides θ, but for
NOT_DECISIVE = "trust_remote_code"  # of updater, which says whether code may run, not what it does


class Config(Section):
    """The whole tree."""

    kafka: Kafka = Kafka()
    """Where events come from."""
    events: Events = Events()
    """What an event looks like, and what counts as an acceptable one."""
    buffer: Buffer = Buffer()
    """What is remembered for replay."""
    updater: Updater = Updater()
    """How θ moves."""
    publisher: Publisher = Publisher()
    """What leaves, where to, and how often."""
    monitor: Monitor = Monitor()
    """What is seen of it, and by whom."""

    @model_validator(mode="after")
    def _sections_fit_one_another(self) -> Config:
        check_registry(self)
        check_places(self)
        refuse_what_is_of_the_other(self)
        return self

    @property
    def labelled(self) -> bool:
        """Whether an event has a label."""
        return self.updater.objective == "classification"

    def decisive(self) -> dict[str, Any]:
        """Return the settings that decide θ and the learner's state as plain values, which the journal records.

        Where and how it is watched does not count, but what of it is state: the detectors and the window.
        They are written to disk, so no secret is among them: none decides θ.
        """
        parts = dict.fromkeys(WHOLE_SECTIONS, True) | {"monitor": {"drift": True, "accuracy_window": True}}
        settings: dict[str, Any] = without_secrets(self.model_dump(mode="json", include=parts))
        if self.kafka.isolation_level != READ_COMMITTED:
            settings["kafka"] = {"client": {"isolation_level": self.kafka.isolation_level}}
        del settings["updater"][NOT_DECISIVE]
        return settings

    def digest(self) -> str:
        """Return the SHA-256 of the settings that decide θ."""
        return digest(self.decisive())

    def masked(self) -> dict[str, Any]:
        """Return the tree as plain values in which every secret reads ``***``."""
        masked: dict[str, Any] = masked_tree(self.model_dump(mode="json"))
        return masked


def digest(decisive: Mapping[str, Any]) -> str:
    """Return the SHA-256 of settings as :meth:`Config.decisive` returns them."""
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def load(
    path: Path | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    overrides: Sequence[str] = (),
) -> Config:
    """Merge the three sources, the later ones winning, and check the result.

    Parameters
    ----------
    path
        A YAML file, or None for the defaults.
    environment
        Variables such as ``STREAMLEARN_KAFKA__TOPIC``; two underscores step into a section. A secret may stand in
        a file, which the variable with ``_FILE`` at its end names.
    overrides
        ``section.key=value`` from the command line, the value in YAML.

    Raises
    ------
    ConfigurationError
        With every mistake found, each naming its key.

    """
    origins: Origins = {}
    tree = merge(path, environment or {}, overrides, origins=origins)
    hide(tree)
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigurationError(sentence(error, Config, origins)) from None
