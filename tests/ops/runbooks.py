"""The commands of the runbooks, run as the person on call runs them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from streamlearn.config.layers import merge
from tests.integration.learner import LearnerProcess
from tests.ops.stack import DEPLOY, Stack, faster

RUNBOOKS = DEPLOY / "runbooks"
FENCE = re.compile(r"^ *```(?P<kind>\w*)$")
PLACE = re.compile(r"(?P<step>\d+)\. |\*\*(?P<fix>[A-Z])\. |## (?P<section>.+)")
TOOLS = {
    "kafka-topics.sh": "org.apache.kafka.tools.TopicCommand",
    "kafka-consumer-groups.sh": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "kafka-get-offsets.sh": "org.apache.kafka.tools.GetOffsetShell",
    "kafka-console-consumer.sh": "org.apache.kafka.tools.consumer.ConsoleConsumer",
}


@dataclass(frozen=True)
class Block:
    """A fenced block of a runbook, and where it stands: ``Diagnosis 2``, ``Mitigation`` or ``Mitigation A``."""

    runbook: str
    place: str
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.runbook.removeprefix('Streamlearn')}-{self.place.replace(' ', '-')}"

    @property
    def asks_kafka(self) -> bool:
        """Whether it runs a tool of Apache Kafka's."""
        return any(tool in self.text for tool in TOOLS)


def blocks(path: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a runbook in their order."""
    section = place = ""
    inside: list[str] | None = None
    kind = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if fence := FENCE.match(line):
            if inside is None:
                inside, kind = [], fence["kind"]
            else:
                yield Block(path.stem, place, kind, "\n".join(inside))
                inside = None
        elif inside is not None:
            inside.append(line)
        elif where := PLACE.match(line):
            section = where["section"] or section
            place = f"{section} {where['step'] or where['fix'] or ''}".strip()


def commands(alert: str, place: str) -> str:
    """Return all that is to be run at `place` of an alert's runbook."""
    found = [block.text for block in blocks(RUNBOOKS / f"{alert}.md") if block.kind == "bash" and block.place == place]
    if not found:
        raise LookupError(f"{alert} has no commands at {place}")
    return "\n".join(found)


class Desk:
    """A shell with what ``deploy/runbooks/README.md`` tells the person on call to set.

    It stands in the world of `stack`: of five minutes there it asks for as much as the rules there take for them.
    What it was asked and what it answered is kept in ``transcript.txt`` of `directory`.
    """

    def __init__(self, directory: Path, overrides: list[str], learner: LearnerProcess, stack: Stack) -> None:
        self._transcript = directory / "transcript.txt"
        self._factor = stack.factor
        tree = merge(None, {}, [*overrides, f"monitor.port={learner.port}"])
        config = directory / "streamlearn.yaml"
        config.write_text(yaml.safe_dump(tree), encoding="utf-8")
        tools = directory / "tools"
        tools.mkdir()
        for name, main in TOOLS.items():
            tool = tools / name
            tool.write_text(f'#!/bin/sh\nexec java -Xmx256m -cp "$KAFKA_HOME/libs/*" {main} "$@"\n', encoding="utf-8")
            tool.chmod(0o755)
        self._environment = os.environ | {
            "PATH": os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]]),
            "LEARNER": f"http://127.0.0.1:{learner.port}",
            "PROMETHEUS": stack.prometheus,
            "ALERTMANAGER": stack.alertmanager,
            "KAFKA": str(tree["kafka"]["bootstrap_servers"]),
            "TOPIC": str(tree["kafka"]["topic"]),
            "GROUP": str(tree["kafka"]["group"]),
            "STATE": str(tree["publisher"]["directory"]),
            "CONFIG": str(config),
        }

    def run(self, text: str) -> subprocess.CompletedProcess[str]:
        """Run a block in bash, both of its outputs together."""
        return subprocess.run(
            ["bash", "-c", faster(text, self._factor)],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )

    def answer(self, alert: str, place: str) -> str:
        """Return what the commands at `place` of an alert's runbook say, however they end."""
        asked = commands(alert, place)
        answered = self.run(asked).stdout
        with self._transcript.open("a", encoding="utf-8") as transcript:
            transcript.write(f"== {alert}, {place}\n{asked}\n--\n{answered}\n")
        return answered
