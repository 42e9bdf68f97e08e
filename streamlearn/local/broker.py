"""Starts a Kafka broker on this machine: Apache Kafka if ``KAFKA_HOME`` is set, noida-db otherwise.

``KAFKA_HOME`` is a directory whose ``libs`` holds Apache Kafka's jars, as in its distribution; Java runs them as one
KRaft node. noida-db is a small development broker that pip installs; it keeps all messages in memory, so it is good for
some ten thousand of them.
"""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from streamlearn.errors import BrokerError, ConfigurationError

START_SECONDS = 60.0
STOP_SECONDS = 30.0


def start_broker(*, environment: Mapping[str, str] | None = None) -> Broker:
    """Return a started broker of the kind available on this machine.

    Raises
    ------
    BrokerError
        If there is none, or it does not start.

    """
    home = (os.environ if environment is None else environment).get("KAFKA_HOME")
    broker: Broker = ApacheKafka(Path(home)) if home else NoidaDB()
    return broker.start()


def free_port() -> int:
    """Return an unused TCP port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Broker(ABC):
    """A broker process with its own directory, which is removed when it is closed.

    Attributes
    ----------
    port
        Its port on the loopback interface.
    directory
        Its data, and its log ``broker.log``.

    """

    name: str

    def __init__(self) -> None:
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="streamlearn-kafka-"))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap_servers(self) -> str:
        """The address for clients."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The id of the running process."""
        if self._process is None:
            raise BrokerError(f"{self.name} is not running")
        return self._process.pid

    @abstractmethod
    def command(self) -> list[str]:
        """Prepare the directory if needed, and return the command that runs the broker."""

    def start(self) -> Self:
        """Start it and wait until it accepts connections; a broker that was stopped continues with its data.

        Raises
        ------
        BrokerError
            If it ends or does not listen in time, with the end of its log.

        """
        command = self.command()
        log = self.directory / "broker.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output, cwd=self.directory)  # noqa: S603
        deadline = time.monotonic() + START_SECONDS
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > deadline:
                tail = log.read_text(errors="replace")[-600:]
                self.close()
                raise BrokerError(f"{self.name} did not start: {tail}")
            time.sleep(0.05)
        return self

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def stop(self) -> None:
        """Stop the process and keep its data."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def close(self) -> None:
        """Stop the process and remove its data."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class ApacheKafka(Broker):
    """One KRaft node of Apache Kafka.

    Parameters
    ----------
    home
        The directory with ``libs/*.jar``.
    properties
        Server properties added to, or in place of, those of a plain single node.
    format_arguments
        Further arguments of the storage tool, such as ``--add-scram``.

    """

    name = "Apache Kafka"

    def __init__(
        self, home: Path, *, properties: Mapping[str, Any] | None = None, format_arguments: tuple[str, ...] = ()
    ) -> None:
        java = shutil.which("java")
        libraries = home.expanduser().resolve() / "libs"
        if not java:
            raise BrokerError("KAFKA_HOME is set, but there is no java on the PATH to run Kafka with")
        if not any(libraries.glob("kafka_*.jar")):
            raise BrokerError(f"KAFKA_HOME is {home}, but {libraries} holds no Kafka")
        super().__init__()
        self._java = [java, "-Xmx512m", "-XX:TieredStopAtLevel=1", "-cp", f"{libraries}/*"]
        self._properties = dict(properties or {})
        self._format_arguments = format_arguments

    def command(self) -> list[str]:
        """Write ``server.properties`` and format the log directory, once; return the server's command."""
        path = self.directory / "server.properties"
        if not path.exists():
            settings = self._defaults() | self._properties
            path.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
            self._tool(
                "kafka.tools.StorageTool", "format", "-t", _cluster_id(), "-c", str(path), *self._format_arguments
            )
        return [*self._java, "kafka.Kafka", str(path)]

    def _defaults(self) -> dict[str, Any]:
        controller = free_port()
        client = f"PLAINTEXT://127.0.0.1:{self.port}"
        return {
            "process.roles": "broker,controller",
            "node.id": 1,
            "listeners": f"{client},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": client,
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": self.directory / "data",
            "auto.create.topics.enable": "false",
            "group.initial.rebalance.delay.ms": 0,
            "offsets.topic.num.partitions": 1,
            "offsets.topic.replication.factor": 1,
            "transaction.state.log.num.partitions": 1,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            "log.retention.ms": -1,  # it uses records' own timestamps, and records with odd ones are needed, too
        }

    def _tool(self, *arguments: str) -> None:
        done = subprocess.run([*self._java, *arguments], capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            raise BrokerError(f"{arguments[0]} failed: {(done.stdout + done.stderr)[-600:]}")


class NoidaDB(Broker):
    """The development broker of the package ``noida-db``."""

    name = "noida-db"

    def command(self) -> list[str]:
        """Return the command of the wheel's own binary."""
        package = find_spec("noida_db")
        if package is None or package.origin is None:
            raise ConfigurationError(
                "there is no Kafka to start: set KAFKA_HOME to Apache Kafka's directory, "
                "or pip install 'streamlearn[demo]'"
            )
        binary = Path(package.origin).parent / "noida-db"
        data = str(self.directory / "data")
        return [str(binary), "start", "--only", "kafka", "--kafka-port", str(self.port), "--data-dir", data]


def _cluster_id() -> str:
    """Return a random cluster id: 16 bytes in URL-safe base64 without padding, not starting with a dash."""
    return "c" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]
