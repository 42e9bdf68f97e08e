"""The one configuration tree: YAML file < environment < command line, checked before anything starts.

>>> load(overrides=["kafka.topic=tickets", "updater.learning_rate=1e-4"]).updater.learning_rate
0.0001
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args

from kafka import KafkaConsumer, KafkaProducer
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from streamlearn.errors import ConfigurationError
from streamlearn.events import Label
from streamlearn.sources import USER_INFO, is_secret, merge

MASK = "***"


OWN_OPTIONS = {
    "allow_auto_create_topics",
    "auto_offset_reset",
    "bootstrap_servers",
    "consumer_timeout_ms",
    "enable_auto_commit",
    "group_id",
    "key_deserializer",
    "key_serializer",
    "max_poll_records",
    "partition_assignment_strategy",
    "value_deserializer",
    "value_serializer",
}


def _nearest(key: str, known: Iterable[str]) -> str:
    match = difflib.get_close_matches(key, list(known), n=1, cutoff=0.5)
    return f"; did you mean '{match[0]}'?" if match else ""


class Section(BaseModel):
    """A frozen part of the tree in which an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)


class Fields(Section):
    """Names of the JSON fields of an event."""

    text: str = "text"
    label: str = "label"
    id: str = "id"
    timestamp: str = "timestamp"


class Kafka(Section):
    """Where events come from."""

    bootstrap_servers: str = "localhost:9092"
    topic: str = "events"
    group: str = "streamlearn"
    dead_letter_topic: str = ""
    start: Literal["earliest", "latest"] = "earliest"
    out_of_range: Literal["fail", "earliest", "latest"] = "fail"
    queue_records: PositiveInt = 4096
    queue_bytes: PositiveInt = 64 * 2**20
    poll_records: PositiveInt = 2000
    connect_timeout_seconds: PositiveFloat = 30.0
    client: dict[str, Any] = Field(default_factory=dict)

    @field_validator("client")
    @classmethod
    def _options_are_kafka_pythons(cls, client: dict[str, Any]) -> dict[str, Any]:
        known = {*KafkaConsumer.DEFAULT_CONFIG, *KafkaProducer.DEFAULT_CONFIG} - OWN_OPTIONS
        for option in client:
            if option in OWN_OPTIONS:
                raise ValueError(f"'{option}' is decided by streamlearn, because its guarantees rest on it")
            if option not in known:
                raise ValueError(f"kafka-python has no option '{option}'{_nearest(option, known)}")
        return client

    @model_validator(mode="after")
    def _name_the_dead_letter_topic(self) -> Kafka:
        if not self.dead_letter_topic:
            object.__setattr__(self, "dead_letter_topic", f"{self.topic}.dead-letters")
        if self.dead_letter_topic == self.topic:
            raise ValueError(f"dead_letter_topic and topic are both '{self.topic}': refusals would be read again")
        return self


class Events(Section):
    """What counts as an acceptable event."""

    fields: Fields = Fields()
    labels: Literal["discover"] | list[Label] = "discover"
    max_labels: PositiveInt = 1000
    max_text_characters: PositiveInt = 20_000
    duplicate_window: NonNegativeInt = 10_000
    holdout_ratio: float = Field(default=0.1, ge=0.0, lt=1.0)
    holdout_records: NonNegativeInt = 256

    @field_validator("labels", mode="before")
    @classmethod
    def _labels_are_of_one_type(cls, labels: Any) -> Any:
        if not isinstance(labels, list):
            return labels
        if not labels:
            raise ValueError("a closed list needs at least one label; write 'discover' to learn labels from the stream")
        types = sorted({type(label).__name__ for label in labels})
        if types not in (["int"], ["str"]):
            raise ValueError(f"labels are either all strings or all integers, but the list mixes {' and '.join(types)}")
        if len(set(labels)) != len(labels):
            raise ValueError("a label is listed twice")
        return labels


class Buffer(Section):
    """What is remembered for replay."""

    policy: Literal["reservoir", "class_balanced", "recent"] = "reservoir"
    records: PositiveInt = 10_000
    bytes: PositiveInt = 256 * 2**20


class Updater(Section):
    """How θ moves."""

    model: str = "sentence-transformers/all-MiniLM-L6-v2"
    model_overrides: dict[str, Any] = Field(default_factory=dict)
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    threads: PositiveInt | None = None
    seed: NonNegativeInt = 0
    trains: str = Field(default="all", pattern=r"^(all|head|last-[1-9][0-9]*)$")
    embeddings: Literal["dense", "frozen", "sparse"] = "dense"
    max_tokens: PositiveInt = 128
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    micro_batch: PositiveInt = 16
    replay_ratio: NonNegativeFloat = 1.0
    max_wait_seconds: PositiveFloat = 2.0
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: PositiveFloat = 1e-4
    head_learning_rate: PositiveFloat | None = None
    warmup_steps: NonNegativeInt = 20
    decay: Literal["constant", "inverse_sqrt"] = "constant"
    weight_decay: NonNegativeFloat = 0.01
    clip_norm: NonNegativeFloat = 1.0


class Checkpoints(Section):
    """The learner's own state, for recovery."""

    every_steps: PositiveInt | None = None
    every_seconds: PositiveFloat | None = 60.0
    keep: int = Field(default=3, ge=2)


class Snapshots(Section):
    """The published weights, for serving."""

    every_steps: PositiveInt | None = None
    every_seconds: PositiveFloat | None = 300.0
    keep: int = Field(default=5, ge=2)
    min_validation_accuracy: float = Field(default=0.0, ge=0.0, le=1.0)


class Journal(Section):
    """The record of which offsets made up each step."""

    deleted: Literal["fail", "skip"] = "fail"


class Publisher(Section):
    """What leaves, where to, and how often."""

    directory: Path = Path("streamlearn-state")
    checkpoints: Checkpoints = Checkpoints()
    snapshots: Snapshots = Snapshots()
    journal: Journal = Journal()


class Drift(Section):
    """ADWIN's settings (Bifet and Gavaldà, 2007)."""

    delta: float = Field(default=0.002, gt=0.0, lt=1.0)
    clock: PositiveInt = 32
    grace_period: PositiveInt = 10
    min_window_length: PositiveInt = 5


class Tls(Section):
    """The certificate, with the chain to its authority, and its private key, as PEM files."""

    certificate: Path
    key: Path


class BasicAuth(Section):
    """Who may see the page and the metrics; the probes are for everybody."""

    username: str = Field(min_length=1, pattern=r"^[^:]*$")
    password: SecretStr = Field(min_length=1)


class Monitor(Section):
    """What is seen of it."""

    host: str = "127.0.0.1"
    port: int = Field(default=9108, ge=0, le=65535)
    accuracy_window: PositiveInt = 500
    heartbeat_timeout_seconds: PositiveFloat = 60.0
    drift: Drift = Drift()
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["human", "json"] = "human"
    tls: Tls | None = None
    basic_auth: BasicAuth | None = None


class Config(Section):
    """The whole tree."""

    kafka: Kafka = Kafka()
    events: Events = Events()
    buffer: Buffer = Buffer()
    updater: Updater = Updater()
    publisher: Publisher = Publisher()
    monitor: Monitor = Monitor()

    def decisive(self) -> dict[str, Any]:
        """Return the settings that decide θ as plain values; where and how it is watched does not count."""
        return self.model_dump(mode="json", include={"events", "buffer", "updater"})

    def digest(self) -> str:
        """Return the SHA-256 of the settings that decide θ."""
        return hashlib.sha256(json.dumps(self.decisive(), sort_keys=True).encode()).hexdigest()

    def masked(self) -> dict[str, Any]:
        """Return the tree as plain values in which every secret reads ``***``."""
        masked: dict[str, Any] = _mask(self.model_dump(mode="json"))
        return masked


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
    tree = merge(path, environment or {}, overrides)
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigurationError("; ".join(_sentence(e) for e in error.errors())) from None


def _sentence(error: Any) -> str:
    """Turn one of pydantic's errors into a sentence that names the key and, where it is unknown, the nearest one."""
    location = [str(part) for part in error["loc"]]
    key = ".".join(location)
    if error["type"] == "extra_forbidden":
        section: Any = Config
        for part in location[:-1]:
            annotation = section.model_fields[part].annotation
            section = next((kind for kind in get_args(annotation) if kind is not NoneType), annotation)
        return f"unknown key '{key}'{_nearest(location[-1], section.model_fields)}"
    message = error["msg"].removeprefix("Value error, ")
    return f"{key}: {message[0].lower()}{message[1:]}{_shown(error, key)}"


def _shown(error: Any, key: str) -> str:
    """Return what was given instead, unless it may hold a secret or says nothing."""
    given = error["input"]
    private = is_secret(key) or key.startswith(("kafka.client", "monitor.basic_auth"))
    if private or error["type"] == "value_error" or isinstance(given, dict | list):
        return ""
    return f" (it is {given!r})"


def _mask(tree: Any) -> Any:
    if isinstance(tree, str):
        return USER_INFO.sub(MASK, tree)
    if isinstance(tree, list):
        return [_mask(value) for value in tree]
    if not isinstance(tree, dict):
        return tree
    return {key: MASK if is_secret(key) and value not in (None, "") else _mask(value) for key, value in tree.items()}
