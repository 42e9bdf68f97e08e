"""The first offset to read of a partition in which the learner has no position yet."""

from __future__ import annotations

from typing import Any

from streamlearn.config import Kafka
from streamlearn.config.start import Start, parse
from streamlearn.consumer.commits import REQUEST_MILLISECONDS
from streamlearn.errors import BrokerError

EARLIEST = Start("earliest")


def first_offsets(config: Kafka, client: Any, added: list[Any], *, begun: Start | None) -> dict[Any, int]:
    """Return the first offset to read of each partition `added`, from `begun` or else by ``kafka.start``.

    Raises
    ------
    KafkaError
        If Kafka cannot tell now.
    BrokerError
        If ``kafka.start`` names a partition that the topic does not have.

    """
    if not added:
        return {}
    start = begun or parse(config.start)
    if start.kind == "latest":
        return _of(client.end_offsets, added)
    if start.kind == "timestamp":
        found = client.offsets_for_times(dict.fromkeys(added, start.timestamp), timeout_ms=REQUEST_MILLISECONDS)
        ends = _of(client.end_offsets, added)  # used if no record is as new as that
        return {partition: found[partition].offset if found.get(partition) else ends[partition] for partition in added}
    offsets = _of(client.beginning_offsets, added)
    there = {partition.partition for partition in added}
    if missing := sorted(start.offsets.keys() - there):
        raise BrokerError(
            f"kafka.start names partition {missing[0]}, and topic {config.topic} has {len(there)} of them"
        )
    return {partition: start.offsets.get(partition.partition, offset) for partition, offset in offsets.items()}


def _of(ask: Any, partitions: list[Any]) -> dict[Any, int]:
    offsets: dict[Any, int] = ask(partitions, timeout_ms=REQUEST_MILLISECONDS)
    return offsets
