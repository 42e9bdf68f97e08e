"""The section ``monitor``: what is seen of a learner, and by whom."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr, model_validator

from streamlearn.config.bounds import FilePath, Host, Section, Unit, UserName, Wait, as_text


class Drift(Section):
    """ADWIN's settings (Bifet and Gavaldà, 2007)."""

    delta: float = Field(default=0.002, gt=0.0, lt=1.0)
    """The probability of a false alarm at each test. A lower one reports fewer changes, and later."""
    clock: Annotated[int, Unit("events")] = Field(default=32, ge=1, le=10**6)
    """After how many events it tests again. Fewer notice a change sooner and cost more."""
    grace_period: Annotated[int, Unit("events")] = Field(default=10, ge=1, le=10**6)
    """How many events it needs before it tests at all."""
    min_window_length: Annotated[int, Unit("events")] = Field(default=5, ge=1, le=10**6)
    """How long each of the two parts that it compares must be. Longer ones tolerate single outliers."""


class Tls(Section):
    """The certificate, with the chain to its authority, and its private key, as PEM files."""

    certificate: FilePath
    """The certificate and its chain, a PEM file; read at the start."""
    key: FilePath
    """The private key, a PEM file without a passphrase; read at the start."""


class BasicAuth(Section):
    """Who may see the page and the metrics; the probes are for everybody."""

    username: UserName
    """The name that is asked for."""
    password: Annotated[SecretStr, BeforeValidator(as_text), Field(min_length=1)]
    """The password that is asked for; from the environment, or a file that ``…_PASSWORD_FILE`` names."""


class Monitor(Section):
    """What is seen of it."""

    host: Host = "127.0.0.1"
    """The address on which the page, the metrics and the probes are served; ``0.0.0.0`` for all of the machine's."""
    port: Annotated[int, Unit("port")] = Field(default=9108, ge=0, le=65535)
    """Their port; 0 is any free one, which the log names."""
    accuracy_window: Annotated[int, Unit("events")] = Field(default=500, ge=1, le=10**6)
    """Over how many of the newest events the prequential accuracy is taken. Fewer show a fall sooner, and more
    noise."""
    heartbeat_timeout_seconds: Wait = 60.0
    """How long the loop may go without a heartbeat: after that ``/healthz`` answers 503. It must be longer than the
    longest step."""
    drift: Drift = Drift()
    """When a rise of loss or error is called a drift. A learner with state keeps the detectors that it started with."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """What is written into the log: lines of this level and above."""
    log_format: Literal["human", "json"] = "human"
    """Lines for people, or JSON objects for machines."""
    tls: Tls | None = None
    """Speak HTTPS, and nothing else, with this certificate; ``null`` speaks HTTP."""
    control: Literal["loopback", "token", "off"] = "loopback"
    """Who may pause, resume, checkpoint and publish with the commands of these names: whoever can read the key in
    ``publisher.directory``, which is the learner's user, on this machine; whoever has the token, from anywhere; or
    nobody."""
    control_token: Annotated[SecretStr, BeforeValidator(as_text), Field(min_length=1)] | None = None
    """The token for ``control: token``; from the environment, or a file that ``…_TOKEN_FILE`` names."""
    basic_auth: BasicAuth | None = None
    """Ask for a name and a password before page and metrics are shown; ``null`` shows them to everybody."""

    @model_validator(mode="after")
    def _token_is_of_use(self) -> Monitor:
        if self.control == "token" and self.control_token is None:
            raise ValueError("control is 'token', and there is no control_token to compare with")
        if self.control != "token" and self.control_token is not None:
            raise ValueError(f"control_token is for control: token, and control is '{self.control}'")
        return self
