"""The dead-letter topic: created so that it accepts whatever the topic of events accepted, and checked at the start."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from functools import partial
from typing import Any

from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaConfigurationError, KafkaError

from streamlearn.config import Kafka
from streamlearn.consumer.client import as_sentence, create_topic, describe, make_admin, make_producer, partition_count
from streamlearn.consumer.dead_letters import DeadLetters
from streamlearn.errors import BrokerError, ConfigurationError
from streamlearn.events import Reason
from streamlearn.patience import Patience
from streamlearn.records import Record

log = logging.getLogger(__name__)

LIMIT = "max.message.bytes"
OVERHEAD = 2**16  # bytes that a dead letter may have beyond its record: our headers, with the topic's name
UNLIMITED = 2**31 - 1
ONE_BY_ONE = {"enable_idempotence": False, "batch_size": 1}
"""Options of a producer that reports which letter is refused: an idempotent one fails all that it holds."""


def make_dead_letter_producer(config: Kafka, *, one_by_one: bool = False, redrives: int = 0) -> Any:
    """Return a producer that leaves it to Kafka to decide what is too large.

    A record may have come compressed, so its letter is compressed, too; kafka-python's own limit, which is for the
    uncompressed size, is disabled. With `redrives` it uses transactions of at most so many milliseconds, with an id
    shared by all that redrive letters of this topic.
    """
    codec = config.client.get("compression_type") or "gzip"  # needs no extra package
    options: dict[str, Any] = dict(ONE_BY_ONE) if one_by_one else {}
    options["transactional_id"] = f"streamlearn-redrive-{config.dead_letter_topic}" if redrives else None
    if redrives:
        options["transaction_timeout_ms"] = redrives
    return make_producer(config, compression_type=codec, max_request_size=UNLIMITED, **options)


def make_dead_letters(
    config: Kafka,
    *,
    refused: Callable[[Reason], None],
    detail: Callable[[Record, Reason], str],
    told: Callable[[Record, Reason, str], None] = lambda *_: None,
    patience: Patience,
) -> DeadLetters:
    """Return the sender of refused records; the arguments are those of :class:`DeadLetters`."""
    make_producer = partial(make_dead_letter_producer, config)
    return DeadLetters(
        make_producer, config.dead_letter_topic, refused=refused, detail=detail, told=told, patience=patience
    )


def require_dead_letter_topic(config: Kafka) -> str:
    """Create the topic if it is missing, and return a description of it.

    Raises
    ------
    BrokerError
        If Kafka cannot be reached or refuses, or the topic would lose dead letters.
    ConfigurationError
        If an option in ``kafka.client`` makes writing impossible.

    """
    with as_sentence(config):
        for one_by_one in (False, True):
            try:
                make_dead_letter_producer(config, one_by_one=one_by_one).close()
            except (AssertionError, RuntimeError, TypeError, ValueError, KafkaConfigurationError) as error:
                raise ConfigurationError(f"kafka.client: no dead letter can be written: {describe(error)}") from None
    found = look_at_dead_letter_topic(config)
    if not partition_count(config, config.dead_letter_topic):
        create_dead_letter_topic(config)
    return found


def look_at_dead_letter_topic(config: Kafka) -> str:
    """Return a description of the topic, without creating it; errors as in :func:`require_dead_letter_topic`."""
    topic = config.dead_letter_topic
    if not partition_count(config, topic):
        return f"'{topic}' will be created"
    found, source = (topic_settings(config, name, (LIMIT, "cleanup.policy")) for name in (topic, config.topic))
    if "compact" in found.get("cleanup.policy", ""):
        raise BrokerError(
            f"the dead-letter topic '{topic}' is compacted: of the dead letters with the same key it keeps one; "
            "set its cleanup.policy to delete, or name another as kafka.dead_letter_topic"
        )
    least, has = int(source.get(LIMIT, 0)) + OVERHEAD, int(found.get(LIMIT, UNLIMITED))
    if has < least:
        return (
            f"'{topic}' is there; of records that are too large for its {LIMIT} of {has} a stub is kept: "
            f"set it to {_largest(source)}"
        )
    return f"'{topic}' is there"


def compaction(config: Kafka) -> str | None:
    """Return a warning if the topic of events is compacted; None if it is not, or Kafka does not say."""
    if "compact" not in topic_settings(config, config.topic, ["cleanup.policy"]).get("cleanup.policy", ""):
        return None
    return (
        f"topic '{config.topic}' is compacted: of records with the same key Kafka keeps the last, so after a crash the "
        "re-running recorded steps may not give the same bits; set its cleanup.policy to delete, "
        "or publisher.journal.deleted to 'skip' to continue without what is gone"
    )


def topic_settings(config: Kafka, topic: str, names: Iterable[str]) -> dict[str, str]:
    """Return the settings `names` of `topic`, except those that Kafka does not return."""
    resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs=dict.fromkeys(names))
    try:
        with closing(make_admin(config)) as admin:
            found = admin.describe_configs([resource], config_filter="all")["topic"][topic]
    except (KafkaError, KeyError) as error:  # not permitted, or the broker does not return settings
        log.debug("the settings of %s are not known: %s", topic, describe(error))
        return {}
    return {name: str(setting["value"]) for name, setting in found.items() if setting["value"] is not None}


def create_dead_letter_topic(config: Kafka) -> None:
    """Create the topic so that it accepts whatever the topic of events accepted.

    A dead letter has our headers in addition to its record, and may compress less well, so the limit is twice the
    topic's own. If the broker's policies forbid that, or its settings cannot be read, the broker's defaults are used.
    """
    source = topic_settings(config, config.topic, [LIMIT])
    if LIMIT in source:
        settings = {LIMIT: str(_largest(source)), "compression.type": "producer"}
        with suppress(BrokerError):
            create_topic(config, config.dead_letter_topic, settings=settings)
            return
    create_topic(config, config.dead_letter_topic)


def _largest(source: dict[str, str]) -> int:
    return min(2 * int(source[LIMIT]) + OVERHEAD, UNLIMITED)
