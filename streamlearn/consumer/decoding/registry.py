"""Schemas by the ids in values: each is requested once, and never changes.

A registry that does not answer is waited for: no record is to blame. A record whose schema it does not have is refused.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from streamlearn.config.schema_registry import SchemaRegistry
from streamlearn.consumer.decoding.fields import RefusedError
from streamlearn.errors import BrokerError, ConfigurationError, UnavailableError
from streamlearn.events import Reason

ANSWER_SECONDS = 10.0
MOST_UNKNOWN = 10_000  # ids that are remembered as unknown,
UNKNOWN_SECONDS = 60.0  # and for how long: a schema may be registered late
NOT_FOUND = 404
PASSING = {408, 429}  # and all server errors

Parse = Callable[[Any, Mapping[str, Any]], Any]
"""Creates the reader of values from a schema as the registry has it, and the schemas that it refers to, by name."""


class Schemas:
    """The schemas of a registry.

    Parameters
    ----------
    config
        The registry's address and credentials.
    kind
        What the registry calls schemas of the wanted type: ``AVRO`` or ``PROTOBUF``.
    parse
        Parses a schema into what is cached.
    form
        The format in which schemas are requested; None if there is only one.
    clock
        Monotonic seconds.

    Raises
    ------
    ConfigurationError
        If the client is not installed, or does not accept these settings.

    """

    def __init__(
        self,
        config: SchemaRegistry,
        *,
        kind: str,
        parse: Parse,
        form: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        try:
            from confluent_kafka.schema_registry import (  # noqa: PLC0415 - an extra brings it
                SchemaRegistryClient,
                SchemaRegistryError,
            )
        except ImportError:
            raise missing(kind.lower()) from None
        options: dict[str, Any] = {"url": config.url, "timeout": ANSWER_SECONDS, "max.retries": 0}
        if config.username is not None and config.password is not None:
            options["basic.auth.user.info"] = f"{config.username}:{config.password.get_secret_value()}"
        if config.ssl_cafile is not None:
            options["ssl.ca.location"] = str(config.ssl_cafile)
        try:
            self._client = SchemaRegistryClient(options)
        except (OSError, TypeError, ValueError) as error:
            raise ConfigurationError(f"kafka.schema_registry: {error}") from None
        self._refusal, self._url, self._kind, self._parse = SchemaRegistryError, config.url, kind, parse
        self._form, self._clock = form, clock
        self._known: dict[int, Any] = {}
        self._unknown: dict[int, tuple[float, str]] = {}  # since when, and why

    def get(self, identity: int) -> Any:
        """Return the parsed schema `identity`.

        Raises
        ------
        RefusedError
            If the registry has no such schema, or one of another type.
        UnavailableError
            If it does not answer.
        BrokerError
            If it refuses.

        """
        if identity in self._known:
            return self._known[identity]
        since, why = self._unknown.get(identity, (-math.inf, ""))
        if self._clock() - since < UNKNOWN_SECONDS:
            raise RefusedError(Reason.UNKNOWN_SCHEMA, why)
        try:
            schema = self._ask(lambda: self._client.get_schema(identity, fmt=self._form), f"schema {identity}")
            self._known[identity] = self._made(schema, f"schema {identity}")
        except RefusedError as error:
            if len(self._unknown) >= MOST_UNKNOWN:
                self._unknown.clear()
            self._unknown[identity] = self._clock(), error.detail
            raise
        return self._known[identity]

    def _made(self, schema: Any, name: str) -> Any:
        if schema.schema_type != self._kind:
            raise RefusedError(Reason.UNKNOWN_SCHEMA, f"{name} is of type {schema.schema_type}")
        referred: dict[str, Any] = {}
        self._collect(schema, referred, set())
        try:
            return self._parse(schema, referred)
        except Exception:  # noqa: BLE001 - the errors of a library that parses schemas are its own
            raise RefusedError(Reason.UNKNOWN_SCHEMA, f"{name} cannot be read") from None

    def _collect(self, schema: Any, found: dict[str, Any], seen: set[tuple[str, int]]) -> None:
        """Add the schemas that `schema` refers to, each after those that it refers to itself."""
        for reference in schema.references or ():
            place = (reference.subject, reference.version)
            if place in seen:
                continue
            seen.add(place)
            name = f"version {reference.version} of {reference.subject}"
            other = self._ask(lambda place=place: self._client.get_version(*place, fmt=self._form), name).schema  # type: ignore[misc]
            self._collect(other, found, seen)
            found[reference.name] = other

    def _ask(self, question: Callable[[], Any], name: str) -> Any:
        try:
            return question()
        except self._refusal as error:
            status = error.http_status_code
            if status == NOT_FOUND:
                raise RefusedError(Reason.UNKNOWN_SCHEMA, f"{name} is not in the registry") from None
            if status in PASSING or status >= 500:  # noqa: PLR2004 - HTTP's
                raise UnavailableError(
                    f"the schema registry at {self._url} answers {status}, asked for {name}"
                ) from None
            raise BrokerError(
                f"the schema registry at {self._url} refuses {name} with {status}; kafka.schema_registry says who asks"
            ) from None
        except Exception as error:  # noqa: BLE001 - those of the client's own client of HTTP; none concerns the record
            said = " ".join(str(error).split())
            raise UnavailableError(
                f"the schema registry at {self._url} does not answer, asked for {name}: {type(error).__name__} {said}"
            ) from None


def missing(extra: str) -> ConfigurationError:
    """Return the error that says that an extra is not installed."""
    return ConfigurationError(f"events.format: {extra} needs packages that pip install 'streamlearn[{extra}]' brings")
