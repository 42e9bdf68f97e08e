"""Kafka input: polling, decoding, dead letters, positions, group membership; and the sources of events."""

from __future__ import annotations

from streamlearn.config import Config
from streamlearn.consumer.topic import TopicSource
from streamlearn.source import Source

__all__ = ["make_source"]


def make_source(config: Config) -> Source:
    """Return the source of events that `config` names; each kind is a file in this package and a line here."""
    return TopicSource(config)
