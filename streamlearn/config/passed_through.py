"""What may be passed through to kafka-python and to Hugging Face, and what is decided here instead."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from streamlearn.config.bounds import finite
from streamlearn.config.client_options import check_together, check_value
from streamlearn.config.mistakes import nearest
from streamlearn.masking import shown_key

OWN_OPTIONS = {
    "acks",  # a dead letter counts as kept once all replicas in sync have it
    "allow_auto_create_topics",
    "api_version",  # reading what was committed, and telling topics apart, need the newest that both sides speak
    "auto_commit_interval_ms",
    "auto_offset_reset",
    "bootstrap_servers",
    "check_crcs",
    "consumer_timeout_ms",
    "enable_auto_commit",
    "enable_idempotence",
    "group_id",
    "group_instance_id",  # two learners with one would both stay active, and take the fence from each other for ever
    "key_deserializer",
    "key_serializer",
    "max_in_flight_requests_per_connection",
    "max_poll_records",
    "partition_assignment_strategy",
    "retries",  # a dead letter is tried until Kafka has it
    "transaction_timeout_ms",
    "transactional_id",  # dead letters of one transaction would not be there until it ends
    "value_deserializer",
    "value_serializer",
}

OBJECTS = {
    "default_offset_commit_callback",
    "kafka_client",
    "metric_reporters",
    "partitioner",
    "sasl_oauth_token_provider",
    "selector",
    "ssl_context",
}
"""Options of kafka-python that no text can hold."""

COUNTED = re.compile(r"layer|label|block|attention_types")
MOST_COUNTED = 10**6  # far more layers or labels than any model has, and a list of them is made within a second

LABELLING = {"id2label", "label2id", "num_labels", "problem_type"}
LOADING = {
    "cache_dir",
    "code_revision",
    "config",
    "force_download",
    "from_auto",
    "local_files_only",
    "name_or_path",
    "pretrained_model_name_or_path",
    "return_unused_kwargs",
    "revision",
    "subfolder",
    "trust_remote_code",
}
"""Arguments of Hugging Face's loader that are no properties of a model."""


def check_client(client: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Raise ValueError where `client` holds what kafka-python, whose options have `defaults`, does not take from us."""
    known = defaults.keys() - OWN_OPTIONS
    for option, value in client.items():
        if option in OWN_OPTIONS:
            raise ValueError(f"'{option}' is decided by streamlearn, because its guarantees rest on it")
        if option not in known:
            raise ValueError(f"kafka-python has no option '{shown_key(option)}'{nearest(option, known)}")
        _fits(option, value, defaults[option])
        check_value(option, value, defaults[option])
    check_together(client)


def _fits(option: str, value: Any, default: Any) -> None:
    """Raise ValueError where `value` is not of the type of `default`, which is kafka-python's."""
    if option in OBJECTS:
        raise ValueError(f"'{option}' takes a Python object, which no configuration can hold")
    if value is None and default is not None:
        raise ValueError(f"'{option}' has no value; leave it out for kafka-python's default")
    if isinstance(default, bool):
        fits, kind = isinstance(value, bool), "true or false"
    elif isinstance(default, int | float) and option != "acks":
        fits, kind = _is_number(value) and finite(value), "a number"
    elif isinstance(default, str):
        fits, kind = isinstance(value, str), "text"
    else:
        fits, kind = finite(value) and not isinstance(value, dict), "text or a number"
    if not fits:
        raise ValueError(f"'{option}' takes {kind}")


def check_overrides(overrides: Mapping[str, Any]) -> None:
    """Raise ValueError where `overrides` holds what is no property of a model, or is decided by its labels."""
    for name in overrides:
        if name in LABELLING:
            raise ValueError(f"'{name}' follows from events.labels, and is decided by streamlearn")
        if name in LOADING:
            raise ValueError(f"'{name}' says how a model is loaded, and is not a property of the model")
    if not finite(overrides):
        raise ValueError("a number in it is not finite")
    check_counts(overrides)


def check_counts(settings: Any) -> None:
    """Raise ValueError where `settings` of a model, or of one in it, count more layers or labels than can be listed.

    Configurations of transformers list one entry a label or layer when they are read, before any weight is looked at.
    """
    for key, number in _numbers(settings):
        if number > MOST_COUNTED and COUNTED.search(key):
            raise ValueError(f"'{key}' is {number:,}, and may be {MOST_COUNTED:,} at most")


def _numbers(tree: Any) -> Iterator[tuple[str, int | float]]:
    """Yield every number in `tree`, with the name that it stands under."""
    pending = [("", tree)]
    while pending:
        key, value = pending.pop()
        if isinstance(value, dict):
            pending += value.items()
        elif isinstance(value, list):
            pending += [(key, child) for child in value]
        elif _is_number(value):
            yield key, value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)  # which Python counts as an integer
