"""Offsets of the group that were not committed by a learner, as after ``kafka-consumer-groups.sh --reset-offsets``."""

from __future__ import annotations

import logging
from typing import Any

from kafka.errors import KafkaError

from streamlearn.config import Kafka
from streamlearn.consumer.client import describe
from streamlearn.consumer.commits import MARK, REQUEST_MILLISECONDS
from streamlearn.records import Positions

log = logging.getLogger(__name__)

MOST_NAMED = 5  # partitions in the log line


def tell_of_resets(config: Kafka, client: Any, held: set[Any], positions: Positions, *, begins: bool) -> bool:
    """Log once if another program has committed offsets, which are not followed; return whether Kafka could tell.

    Parameters
    ----------
    config
        The section ``kafka``.
    client
        A member of the group.
    held
        The partitions assigned to it.
    positions
        The positions from which they are read.
    begins
        Whether these follow from ``kafka.start``, because there was no state.

    """
    try:
        committed = client.offsets_committed(sorted(held), REQUEST_MILLISECONDS)
    except KafkaError as error:
        log.debug("whether the offsets of the group were reset is not known: %s", describe(error))
        return False
    foreign = {
        (partition.topic, partition.partition): found.offset
        for partition, found in sorted(committed.items())
        if found.offset >= 0 and found.metadata != MARK
    }
    elsewhere = {key: offset for key, offset in foreign.items() if offset != positions.get(key)}
    if elsewhere:
        behind = any(offset < positions.get(key, 0) for key, offset in elsewhere.items())
        log.warning(
            "the offsets of group %s were committed by another program (such as kafka-consumer-groups.sh "
            "--reset-offsets)%s and are not followed: %s. %s",
            config.group,
            " or by an earlier streamlearn" if behind else "",
            _listed(elsewhere, positions),
            "A learner without state begins where kafka.start says"
            if begins
            else f"Positions come from the checkpoint and the journal; {_advice(elsewhere, behind=behind)}",
        )
    return True


def _advice(offsets: Positions, *, behind: bool) -> str:
    """Say how to move to `offsets`; as a ready-made command only if no event would be learnt twice.

    Earlier versions of streamlearn committed without the mark; if killed, their offsets are behind what they learnt.
    """
    if behind:
        return (
            "docs/how-to/control.md says how to move them; "
            "back at the offsets of the group, events would be learnt a second time"
        )
    return f"to move them, stop the learner and give 'streamlearn seek --to {_spelled(offsets)}'"


def _listed(offsets: Positions, positions: Positions) -> str:
    named = [
        f"{topic}/{number} is read from {positions.get((topic, number))} and not from {offset}"
        for (topic, number), offset in list(offsets.items())[:MOST_NAMED]
    ]
    return ", ".join(named) + _more(offsets)


def _spelled(offsets: Positions) -> str:
    if len(offsets) > MOST_NAMED:
        return "offsets:…"
    return "offsets:" + ",".join(f"{number}={offset}" for (_, number), offset in offsets.items())


def _more(offsets: Positions) -> str:
    return f" and {len(offsets) - MOST_NAMED} more" if len(offsets) > MOST_NAMED else ""
