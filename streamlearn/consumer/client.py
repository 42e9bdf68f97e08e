"""kafka-python's clients as streamlearn configures them, and its errors as sentences."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import MemberToRemove, NewTopic
from kafka.errors import (
    KafkaConfigurationError,
    KafkaError,
    KafkaTimeoutError,
    RetriableError,
    TopicAlreadyExistsError,
    UnsupportedCodecError,
)

from streamlearn.config import Kafka
from streamlearn.consumer.assignor import SingleActiveAssignor
from streamlearn.consumer.bounded import BoundedConsumer
from streamlearn.errors import BrokerError, ConfigurationError, StreamlearnError, UnavailableError
from streamlearn.records import Topics

log = logging.getLogger(__name__)

SWITCH_SECONDS = 0.0005
CODECS = ("lz4", "snappy", "zstd")  # gzip is Python's own
LARGEST_REQUEST = 64 * 2**20  # bytes; the broker's own limit is the one that counts
NO_ID = UUID(int=0)
FILES = {"ssl_cafile", "ssl_certfile", "ssl_crlfile", "ssl_keyfile"}
POLL_BYTES = 4 * 2**20  # of keys, values and headers that one poll returns

logging.getLogger("kafka").setLevel(logging.CRITICAL)  # it logs every attempt; streamlearn logs changes


def make_consumer(config: Kafka, *, assignor: SingleActiveAssignor | None = None) -> Any:
    """Return a ``KafkaConsumer`` that never commits or resets by itself.

    With an `assignor` it joins the group; without one it does not.
    """
    defaults = {
        "isolation_level": "read_committed",
        "fetch_max_wait_ms": 200,
        "metrics_enabled": False,
        "reconnect_backoff_max_ms": 2000,
        "session_timeout_ms": 10_000,  # after a crash the group waits this long for the dead member
        "heartbeat_interval_ms": 2_000,
        "metadata_max_age_ms": 60_000,  # a new partition is read after at most this long
    }
    options = {**_shared(config), **defaults, **_options(config, KafkaConsumer)}
    if assignor:
        options |= {"group_id": config.group, "partition_assignment_strategy": [assignor]}
    else:
        options |= {"group_id": None, "group_instance_id": None}
    return _made(
        BoundedConsumer,
        poll_bytes=min(POLL_BYTES, config.queue_bytes),
        **options,
        enable_auto_commit=False,
        auto_offset_reset="none",
        allow_auto_create_topics=False,
        max_poll_records=config.poll_records,
    )


def make_producer(config: Kafka, **needed: Any) -> Any:
    """Return an idempotent ``KafkaProducer`` that waits for all in-sync replicas, with the options `needed`."""
    defaults = {
        "max_request_size": LARGEST_REQUEST,
        "delivery_timeout_ms": 30_000,
        "request_timeout_ms": 10_000,
        "max_block_ms": 10_000,
        "metrics_enabled": False,
        "reconnect_backoff_max_ms": 2000,
    }
    decided = {"acks": "all", "allow_auto_create_topics": False}
    return _made(
        KafkaProducer, **{**_shared(config), **defaults, **_options(config, KafkaProducer), **needed, **decided}
    )


def make_admin(config: Kafka) -> Any:
    """Return a ``KafkaAdminClient``."""
    return _made(KafkaAdminClient, **{**_shared(config), **_options(config, KafkaAdminClient)})


def _made(client: Any, **options: Any) -> Any:
    """Return `client` created with `options`; ConfigurationError if kafka-python does not accept them."""
    for option in FILES & options.keys():
        path = options[option]
        try:
            if path is not None:
                Path(path).open("rb").close()
        except OSError as error:
            raise ConfigurationError(f"kafka.client.{option}: cannot read {path}: {error.strerror}") from None
    try:
        return client(**options)
    except (KafkaConfigurationError, AssertionError, ImportError, LookupError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"kafka.client: kafka-python does not accept these settings: {describe(error)}"
        ) from None


def _shared(config: Kafka) -> dict[str, Any]:
    return {
        "bootstrap_servers": config.bootstrap_servers.split(","),
        "bootstrap_timeout_ms": int(config.connect_timeout_seconds * 1000),
        "client_id": "streamlearn",
    }


def _options(config: Kafka, client: Any) -> dict[str, Any]:
    """Return the user's pass-through options that `client` knows."""
    return {name: value for name, value in config.client.items() if name in client.DEFAULT_CONFIG}


@contextmanager
def as_sentence(config: Kafka) -> Iterator[None]:
    """Turn kafka-python's errors into a :class:`BrokerError` that names the broker."""
    try:
        yield
    except KafkaTimeoutError:
        raise UnavailableError(
            f"no Kafka broker answers at {config.bootstrap_servers} within {config.connect_timeout_seconds:g} s"
        ) from None
    except RetriableError as error:
        raise UnavailableError(f"Kafka at {config.bootstrap_servers} does not answer: {describe(error)}") from None
    except KafkaError as error:
        raise refusal(config, error) from None
    except OSError as error:
        raise UnavailableError(f"cannot talk to Kafka at {config.bootstrap_servers}: {error}") from None


def refusal(config: Kafka, error: KafkaError) -> StreamlearnError:
    """Return kafka-python's `error`, which is permanent, as a sentence that says what to do."""
    if isinstance(error, UnsupportedCodecError):
        codec = next((name for name in CODECS if name in str(error)), "a codec")
        extra = codec if codec in CODECS else "lz4,snappy,zstd"
        return ConfigurationError(
            f"there are records in {config.topic} that are compressed with {codec}, which cannot be read here; "
            f"pip install 'kafka-python[{extra}]' brings it"
        )
    if isinstance(error, KafkaConfigurationError):
        return ConfigurationError(f"kafka.client: kafka-python does not accept these settings: {describe(error)}")
    return BrokerError(f"Kafka at {config.bootstrap_servers} refused: {describe(error)}")


def describe(error: BaseException) -> str:
    """Return `error` in one line."""
    text = " ".join(str(error).split())
    name = type(error).__name__
    return text if text.startswith((name, "[")) or not text else f"{name}: {text}"


def partition_count(config: Kafka, topic: str) -> int | None:
    """Return how many partitions `topic` has, or None if there is no such topic.

    Raises
    ------
    BrokerError
        If Kafka cannot be asked.

    """
    with as_sentence(config), closing(make_admin(config)) as admin:
        topics = {entry["name"]: entry for entry in admin.describe_topics()}
    return len(topics[topic]["partitions"]) if topic in topics else None


def topic_ids(config: Kafka) -> Topics:
    """Return the id of the topic of events; a re-created topic gets a new one.

    Empty if there is no such topic, or the broker is too old to have topic ids.

    Raises
    ------
    BrokerError
        If Kafka cannot be asked.

    """
    with as_sentence(config), closing(make_admin(config)) as admin:
        found = {entry["name"]: UUID(str(entry.get("topic_id") or NO_ID)) for entry in admin.describe_topics()}
    identity = found.get(config.topic, NO_ID)
    return {config.topic: str(identity)} if identity != NO_ID else {}


def create_topic(config: Kafka, topic: str, *, partitions: int = 1, settings: dict[str, str] | None = None) -> None:
    """Create `topic` with the broker's default replication and `settings`, unless it exists by now."""
    new = NewTopic(name=topic, num_partitions=partitions, replication_factor=-1, topic_configs=settings)
    with as_sentence(config), closing(make_admin(config)) as admin, suppress(TopicAlreadyExistsError):
        admin.create_topics([new])


def leave(client: Any, *, within: int) -> None:
    """Close a consumer, which leaves its group if that answers `within` so many milliseconds."""
    try:
        client.close(autocommit=False, timeout_ms=within)
    except Exception as error:  # noqa: BLE001 - it is over: the group then waits for the end of the session
        log.debug("could not leave the group: %s", describe(error))


def expel(config: Kafka, member: str) -> None:
    """Remove the dead `member` from the group; if Kafka refuses, the group waits for its session timeout."""
    try:
        with closing(make_admin(config)) as admin:
            admin.remove_group_members(config.group, [MemberToRemove(member)])
    except (KafkaError, OSError) as error:
        log.warning("could not remove the dead member; takeover waits for its session timeout: %s", describe(error))


def require_topics(config: Kafka) -> int:
    """Return the number of partitions of the topic.

    Raises
    ------
    BrokerError
        If Kafka cannot be reached, or the topic of events does not exist.

    """
    partitions = partition_count(config, config.topic)
    if not partitions:
        raise BrokerError(f"Kafka at {config.bootstrap_servers} has no topic '{config.topic}'; create it first")
    return partitions


def hand_over_sooner() -> None:
    """Reduce the interpreter's thread switch interval from five milliseconds to half a millisecond.

    kafka-python's network thread reads 4 KiB at a time and releases the interpreter each time. While another thread is
    busy, it then waits a whole switch interval for the next 4 KiB: ingestion fell to a third.
    """
    sys.setswitchinterval(min(sys.getswitchinterval(), SWITCH_SECONDS))
