"""Where the schemas of a topic are kept: a registry that speaks the API of Confluent's."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SecretStr, model_validator

from streamlearn.config.bounds import FilePath, Section, Text, UserName, as_text, spelled

WITH_SCHEMAS = ("avro", "protobuf")
"""Values of ``events.format`` that cannot be read without a schema."""

Url = Annotated[
    Text,
    spelled(r"https?://[^\s@/]+(?:/[^\s@]*)?", "this is an address, such as https://registry:8081, without a user"),
]


class SchemaRegistry(Section):
    """The registry's address, and the user who asks it."""

    url: Url
    """Its address, such as ``https://registry:8081``, without a user."""
    username: UserName | None = None
    """The user name for basic authentication; ``null`` asks without one."""
    password: Annotated[SecretStr, BeforeValidator(as_text), Field(min_length=1)] | None = None
    """The password of that user; from the environment, or a file that ``…_PASSWORD_FILE`` names."""
    ssl_cafile: FilePath | None = None
    """The authority of its certificate, a PEM file; ``null`` trusts those of the system."""

    @model_validator(mode="after")
    def _user_has_a_password(self) -> SchemaRegistry:
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password go together")
        return self


def check_registry(config: Any) -> None:
    """Raise ValueError where the format of events needs a schema registry, and `config` names none."""
    if config.events.format in WITH_SCHEMAS and config.kafka.schema_registry is None:
        raise ValueError(
            f"events.format: {config.events.format} needs kafka.schema_registry.url, where the schemas of the topic are"
        )
