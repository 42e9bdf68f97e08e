"""What counts as a secret, and how it is kept out of everything that is printed, logged or written to disk.

Three things are secrets: the value of a setting whose name says so, the user part of a URL, and anything passed through
to a library under a name that is not known to be harmless. A secret that was read once is masked wherever it appears,
so that no library's error message can leak it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

MASK = "***"
SHORTEST_HIDDEN = 4  # characters: masking shorter ones would make every line unreadable

SECRET = re.compile(
    r"passw|passphrase|secret|credential|private_?key|api_?key|access_?key|jaas|bearer"
    r"|(?:^|[^a-z])(?:pwd|pass|pin|cookie|signature|(?<!basic_)auth|authorization|token(?!_(?:id|type)))(?:[^a-z]|$)"
)
WORDS = re.compile(r"-|(?<=[a-z])(?=[A-Z])")
USER = re.compile(r"(?<=//)[^\s,'\"]*(?=@)|(?<![^\s,'\"=(])[^\s,'\"/@=(]+:(?!//)[^\s,'\"]*(?=@)")
"""The user name and password before a host in a line of text, with or without a scheme."""
ADDRESS = re.compile(r"(?:[\w+.-]+://(?P<user>.+)|(?P<named>[^/]+:.+))@", re.DOTALL)
"""The same if the whole value is an address."""
PARAMETER = re.compile(r"(?<=[?&;])([\w.-]+)=[^\s&;,'\"]+")
NAME = re.compile(r"[a-z][a-z_]{0,31}")

OPTIONS, OVERRIDES = "kafka.client", "updater.model_overrides"
"""What is passed through to a library."""
HARMLESS = {
    "acks",
    "client_dns_lookup",
    "client_id",
    "client_rack",
    "compression_type",
    "group_instance_id",
    "isolation_level",
    "metric_group_prefix",
    "proxy_url",  # without its user
    "sasl_kerberos_domain_name",
    "sasl_kerberos_name",
    "sasl_kerberos_service_name",
    "sasl_mechanism",
    "sasl_plain_username",
    "security_protocol",
    "socks5_proxy",
    "ssl_cafile",
    "ssl_certfile",
    "ssl_ciphers",
    "ssl_crlfile",
    "ssl_keyfile",
    "transactional_id",
}
"""Options of kafka-python whose text may be shown."""

_hidden: dict[str, None] = {}


def is_secret(key: str) -> bool:
    """Whether the setting called `key` holds a secret."""
    name = WORDS.sub("_", key.rpartition(".")[2]).lower()
    return bool(SECRET.search(name))


def secrets_in(tree: Any) -> Iterator[str]:
    """Yield the key of every secret in `tree` that a name or a URL gives away."""
    for key, value in _leaves(tree):
        if _named_secret(key, value) or (isinstance(value, str) and _user_in(value)):
            yield key


def hide(tree: Any) -> None:
    """From now on mask every secret in `tree` wherever it is printed."""
    for key, value in _leaves(tree):
        found = []
        if _named_secret(key, value) or (_unknown_text(key, value) and not NAME.fullmatch(value)):
            found = [str(value)]
        elif isinstance(value, str):
            user = _user_in(value)
            found = [user, user.partition(":")[2]]
        _hidden.update(dict.fromkeys(secret for secret in found if len(secret) >= SHORTEST_HIDDEN))


def masked(text: str) -> str:
    """Return `text` with every known secret, and the user part and parameters of every URL, replaced by ``***``."""
    for secret in sorted(_hidden, key=len, reverse=True):
        for spelling in (secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]):
            text = text.replace(spelling, MASK)
    return PARAMETER.sub(rf"\1={MASK}", USER.sub(MASK, text))


def masked_tree(tree: Any, key: str = "") -> Any:
    """Return `tree` with every secret in it replaced by ``***``, for people to read."""
    if isinstance(tree, dict):
        return {shown_key(name): masked_tree(value, _inside(key, name)) for name, value in tree.items()}
    if isinstance(tree, list):
        return [masked_tree(value, key) for value in tree]
    if _named_secret(key, tree) or _unknown_text(key, tree):
        return MASK
    return masked(_without_user(tree)) if isinstance(tree, str) else tree


def without_secrets(tree: Any) -> Any:
    """Return `tree` without the secrets that a name or a URL gives away, for what is written to disk."""
    if isinstance(tree, dict):
        return {name: without_secrets(value) for name, value in tree.items() if not is_secret(name)}
    if isinstance(tree, list):
        return [without_secrets(value) for value in tree]
    return _without_user(tree) if isinstance(tree, str) else tree


def shown_key(key: str, known: Iterable[str] = HARMLESS) -> str:
    """Return `key` with parts that are not spelled like settings as ``…``: one may be a secret in the wrong place."""
    return key if key in known else ".".join(part if NAME.fullmatch(part) else "…" for part in key.split("."))


def _leaves(tree: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict):
        for name, value in tree.items():
            yield from _leaves(value, _inside(key, name))
    elif isinstance(tree, list):
        for value in tree:
            yield from _leaves(value, key)
    else:
        yield key, tree


def _inside(key: str, name: str) -> str:
    """Return the key of `name` inside `key`; everything inside a secret is secret."""
    return key if is_secret(key) else f"{key}.{name}" if key else name


def _named_secret(key: str, value: Any) -> bool:
    return is_secret(key) and value not in (None, "") and not isinstance(value, bool)


def _unknown_text(key: str, value: Any) -> bool:
    """Whether `value` is a string passed through under a name that is not known to be harmless."""
    if not isinstance(value, str) or not value:
        return False
    if key.startswith(f"{OPTIONS}."):
        return key.rpartition(".")[2] not in HARMLESS
    return key.startswith(f"{OVERRIDES}.")


def _user_in(value: str) -> str:
    """Return the user part of `value` if it is an address that has one, else nothing."""
    found = ADDRESS.match(value)
    return (found["user"] or found["named"]) if found else ""


def _without_user(value: str) -> str:
    user = _user_in(value)
    return value.replace(user, MASK) if user else value
