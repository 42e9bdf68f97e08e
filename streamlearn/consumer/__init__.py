"""Kafka in: poll, decode, refuse (dead letters), positions, group membership; and the sources that events come from."""

from __future__ import annotations

from streamlearn.config import Config
from streamlearn.consumer.topic import TopicSource
from streamlearn.source import Source

__all__ = ["make_source"]


def make_source(config: Config) -> Source:
    """Return the source of events that `config` names; each kind is a file of this room and a line here."""
    return TopicSource(config)
