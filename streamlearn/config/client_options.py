"""Which values kafka-python's options may have, beyond their types: each of them alone, and some together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LARGEST = 2**31 - 1  # what the protocol has room for
MAY_BE_ZERO = {"batch_size", "fetch_max_wait_ms", "linger_ms", "reconnect_backoff_ms", "retry_backoff_ms"}
WHOLE_NUMBERS = {"receive_buffer_bytes", "send_buffer_bytes"}  # which kafka-python leaves to the system by default
LEAST = {
    "session_timeout_ms": 1000,
    "max_poll_interval_ms": 1000,
    "max_block_ms": 1000,  # with less than an answer takes, nothing could ever be written
    "request_timeout_ms": 1000,
    "delivery_timeout_ms": 1000,
    "receive_message_max_bytes": 2**20,
}
CHOICES: dict[str, set[str | None]] = {
    "client_dns_lookup": {"use_all_dns_ips", "resolve_canonical_bootstrap_servers_only"},
    "compression_type": {"gzip", "snappy", "lz4", "zstd", None},
    "isolation_level": {"read_committed", "read_uncommitted"},
    "sasl_mechanism": {"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "GSSAPI", "AWS_MSK_IAM", None},
    "security_protocol": {"PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"},
}
WITH_PASSWORD = {"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"}
LISTS = {"socket_options"}
ORDERS = (
    ("heartbeat_interval_ms", 2_000, "session_timeout_ms", 10_000),
    ("fetch_max_wait_ms", 200, "request_timeout_ms", 30_000),
    ("request_timeout_ms", 30_000, "connections_max_idle_ms", 540_000),
    ("linger_ms", 0, "delivery_timeout_ms", 30_000),
)
"""An option and its default here, and the option below which it has to stay."""


def check_value(option: str, value: Any, default: Any) -> None:
    """Raise ValueError where `value` makes no sense for `option`, whose default is `default`."""
    if option in CHOICES:
        if isinstance(value, list) or value not in CHOICES[option]:
            raise ValueError(f"'{option}' is one of {', '.join(sorted(filter(None, CHOICES[option])))}")
    elif option in LISTS:
        if not (isinstance(value, list) and all(_three_numbers(entry) for entry in value)):
            raise ValueError(f"'{option}' takes a list of lists of three whole numbers")
    elif option in WHOLE_NUMBERS or (isinstance(default, int | float) and not isinstance(default, bool)):
        least = 0 if option in MAY_BE_ZERO else LEAST.get(option, 1)
        if not (_whole(value) and least <= value <= LARGEST):
            raise ValueError(f"'{option}' takes a number that is whole, from {least} to {LARGEST}")
    elif default is None and not isinstance(value, str | None):
        raise ValueError(f"'{option}' takes text")


def check_together(client: Mapping[str, Any]) -> None:
    """Raise ValueError where the options in `client` contradict each other."""
    for lower, usual, upper, limit in ORDERS:
        below, above = client.get(lower, usual), client.get(upper, limit)
        if (lower in client or upper in client) and below >= above:
            raise ValueError(f"'{lower}' ({below}) has to be less than '{upper}' ({above})")
    protocol, mechanism = client.get("security_protocol", "PLAINTEXT"), client.get("sasl_mechanism")
    if protocol.startswith("SASL") and not mechanism:
        raise ValueError(f"'security_protocol' {protocol} needs a 'sasl_mechanism'")
    if protocol.startswith("SASL") and mechanism in WITH_PASSWORD:
        for option in ("sasl_plain_username", "sasl_plain_password"):
            if not client.get(option):
                raise ValueError(f"'sasl_mechanism' {mechanism} needs a '{option}'")


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _three_numbers(entry: Any) -> bool:
    return isinstance(entry, list) and len(entry) == 3 and all(map(_whole, entry))  # noqa: PLR2004 - as sockets take them
