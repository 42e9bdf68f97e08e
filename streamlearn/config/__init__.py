"""The one configuration tree: YAML file < environment < command line, checked before anything starts.

>>> load(overrides=["kafka.topic=tickets", "updater.learning_rate=1e-4"]).updater.learning_rate
0.0001
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator, model_validator

from streamlearn.config.bounds import (
    Bytes,
    Count,
    Experts,
    FilePath,
    Function,
    Host,
    Labels,
    NotNegative,
    Period,
    Place,
    Positive,
    Section,
    Seed,
    Servers,
    Text,
    Topic,
    Trained,
    UserName,
    Wait,
    as_text,
)
from streamlearn.config.layers import Origins, merge
from streamlearn.config.mistakes import sentence
from streamlearn.config.passed_through import check_client, check_overrides
from streamlearn.config.places import parse
from streamlearn.config.schema_registry import SchemaRegistry, check_registry
from streamlearn.config.shape import check_shape
from streamlearn.errors import ConfigurationError
from streamlearn.masking import hide, masked_tree, without_secrets

WHOLE_SECTIONS = ("events", "buffer", "updater")  # of which every setting decides θ, but for
NOT_DECISIVE = "trust_remote_code"  # of updater, which says whether code may run, not what it does

LONGEST_TOPIC = 249
MOST_PARTS = 16  # of a text
READ_COMMITTED = "read_committed"


class Fields(Section):
    """Where the fields of an event stand: a path into the value, ``key`` or ``header:NAME``; of a text, or several."""

    text: Place | Annotated[list[Place], Field(min_length=1, max_length=MOST_PARTS)] = "text"
    label: Place = "label"
    id: Place = "id"
    timestamp: Place = "timestamp"

    @model_validator(mode="after")
    def _places_differ(self) -> Fields:
        first: dict[object, str] = {}
        for field, spelled in self:
            for spelling in [spelled] if isinstance(spelled, str) else spelled:
                place = parse(spelling)
                if place in first:
                    both = f"{first[place]} and {field} have" if first[place] != field else f"two parts of {field} have"
                    raise ValueError(f"{both} one place, and would both be read from it")
                first[place] = field
        return self


class Kafka(Section):
    """Where events come from."""

    bootstrap_servers: Servers = "localhost:9092"
    topic: Topic = "events"
    group: Text = "streamlearn"
    dead_letter_topic: Topic | Literal[""] = ""
    start: Literal["earliest", "latest"] = "earliest"
    out_of_range: Literal["fail", "earliest", "latest"] = "fail"
    queue_records: int = Field(default=4096, ge=1, le=10**7)
    queue_bytes: Bytes = 64 * 2**20
    poll_records: int = Field(default=2000, ge=1, le=10**6)
    connect_timeout_seconds: Wait = 30.0
    schema_registry: SchemaRegistry | None = None
    client: dict[str, Any] = Field(default_factory=dict)

    @property
    def isolation_level(self) -> str:
        """Which records of transactions are read; it decides which events there are."""
        return str(self.client.get("isolation_level", READ_COMMITTED))

    @field_validator("client")
    @classmethod
    def _options_are_kafka_pythons(cls, client: dict[str, Any]) -> dict[str, Any]:
        if client:
            from kafka import KafkaConsumer, KafkaProducer  # noqa: PLC0415 - what decides θ is loaded without it

            check_client(client, {**KafkaProducer.DEFAULT_CONFIG, **KafkaConsumer.DEFAULT_CONFIG})
        return client

    @model_validator(mode="after")
    def _name_the_dead_letter_topic(self) -> Kafka:
        if not self.dead_letter_topic:
            name = f"{self.topic}.dead-letters"
            if len(name) > LONGEST_TOPIC:
                raise ValueError("topic leaves no room for '.dead-letters' behind it; name the dead_letter_topic")
            object.__setattr__(self, "dead_letter_topic", name)
        if self.dead_letter_topic == self.topic:
            raise ValueError(f"dead_letter_topic and topic are both '{self.topic}': refusals would be read again")
        return self


class Csv(Section):
    """What the columns of a value of CSV are called, in their order, and what stands between them."""

    columns: Annotated[list[Text], Field(max_length=1000)] = Field(default_factory=list)
    delimiter: str = ","


class Events(Section):
    """What an event looks like, and what counts as an acceptable one."""

    format: Literal["json", "json_schema", "avro", "csv", "text"] = "json"
    csv: Csv = Csv()
    decoder: Function | None = None
    fields: Fields = Fields()
    labels: Labels = "discover"
    max_labels: int = Field(default=1000, ge=1, le=10**6)
    max_text_characters: int = Field(default=20_000, ge=1, le=10**8)
    duplicate_window: int = Field(default=10_000, ge=0, le=10**7)
    holdout_ratio: float = Field(default=0.1, ge=0.0, lt=1.0)
    holdout_records: int = Field(default=256, ge=0, le=10**6)

    @model_validator(mode="after")
    def _shape_is_one(self) -> Events:
        check_shape(self)
        return self


class Buffer(Section):
    """What is remembered for replay."""

    policy: Literal["reservoir", "class_balanced", "recent"] = "reservoir"
    records: int = Field(default=10_000, ge=1, le=10**8)
    bytes: Bytes = 256 * 2**20


class Updater(Section):
    """How θ moves."""

    model: Text = "sentence-transformers/all-MiniLM-L6-v2"
    model_overrides: dict[str, Any] = Field(default_factory=dict)
    trust_remote_code: bool = False
    device: Text = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None  # more than any machine has cores for
    seed: Seed = 0
    experts: Experts = "tuned"
    pooling: Literal["mean", "native"] = "mean"
    trains: Trained = "last-3"
    lora_rank: int = Field(default=8, ge=1, le=2**12)
    lora_targets: list[Text] = Field(default_factory=list)
    embeddings: Literal["dense", "frozen", "sparse"] = "dense"
    max_tokens: int = Field(default=128, ge=1, le=2**20)
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    micro_batch: int = Field(default=4, ge=1, le=2**16)
    replay_ratio: float = Field(default=1.0, ge=0.0, le=1000.0)
    max_wait_seconds: Wait = 2.0
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: Positive = 1e-4
    head_learning_rate: Positive | None = None
    warmup_steps: int = Field(default=20, ge=0, le=10**9)
    decay: Literal["constant", "inverse_sqrt"] = "constant"
    weight_decay: NotNegative = 0.01
    clip_norm: NotNegative = 1.0
    regularizer: Literal["none", "l2", "l2_sp", "ewc", "lwf", "der"] = "none"
    regularization: Annotated[float, Field(gt=0.0, le=10**9)] | None = None

    @field_validator("model_overrides")
    @classmethod
    def _overrides_are_a_models_own(cls, overrides: dict[str, Any]) -> dict[str, Any]:
        check_overrides(overrides)
        return overrides

    @model_validator(mode="after")
    def _strength_is_of_something(self) -> Updater:
        if self.regularizer == "none" and self.regularization is not None:
            raise ValueError("regularization is how strong a regularizer is, and none is named")
        return self


class Checkpoints(Section):
    """The learner's own state, for recovery."""

    every_steps: Count | None = None
    every_seconds: Period | None = 60.0
    keep: int = Field(default=3, ge=2, le=10**6)


class Snapshots(Section):
    """The published weights, for serving."""

    every_steps: Count | None = None
    every_seconds: Period | None = 300.0
    keep: int = Field(default=5, ge=2, le=10**6)
    min_validation_accuracy: float = Field(default=0.0, ge=0.0, le=1.0)


class Journal(Section):
    """The record of which offsets made up each step."""

    deleted: Literal["fail", "skip"] = "fail"


class Publisher(Section):
    """What leaves, where to, and how often."""

    directory: FilePath = Path("streamlearn-state")
    checkpoints: Checkpoints = Checkpoints()
    snapshots: Snapshots = Snapshots()
    journal: Journal = Journal()


class Drift(Section):
    """ADWIN's settings (Bifet and Gavaldà, 2007)."""

    delta: float = Field(default=0.002, gt=0.0, lt=1.0)
    clock: int = Field(default=32, ge=1, le=10**6)
    grace_period: int = Field(default=10, ge=1, le=10**6)
    min_window_length: int = Field(default=5, ge=1, le=10**6)


class Tls(Section):
    """The certificate, with the chain to its authority, and its private key, as PEM files."""

    certificate: FilePath
    key: FilePath


class BasicAuth(Section):
    """Who may see the page and the metrics; the probes are for everybody."""

    username: UserName
    password: Annotated[SecretStr, BeforeValidator(as_text), Field(min_length=1)]


class Monitor(Section):
    """What is seen of it."""

    host: Host = "127.0.0.1"
    port: int = Field(default=9108, ge=0, le=65535)
    accuracy_window: int = Field(default=500, ge=1, le=10**6)
    heartbeat_timeout_seconds: Wait = 60.0
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

    @model_validator(mode="after")
    def _registry_is_named(self) -> Config:
        check_registry(self)
        return self

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
