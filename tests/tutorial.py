"""A page of the documentation as a reader follows it: its files are written, and its commands run in one shell."""

from __future__ import annotations

import re
import subprocess
import textwrap
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

BLOCK = re.compile(
    r'^(?P<indent> *)```(?P<kind>\w+)(?: title="(?P<title>[^"]+)")?\n(?P<text>.*?)^(?P=indent)```$',
    re.MULTILINE | re.DOTALL,
)
NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?")
AGAIN = ("curl ", "promtool query", "streamlearn predict")
"""What only looks, and so may be asked again until it says what the page says."""
DONE = "the end of a block"
DEADLINE_SECONDS = 150.0
AGAIN_SECONDS = 0.5


@dataclass(frozen=True)
class Block:
    """A block of code: its language, the file it is to be, and its text."""

    kind: str
    title: str | None
    text: str


def blocks(page: str) -> Iterator[Block]:
    """Yield the blocks of code of `page` in their order."""
    for match in BLOCK.finditer(page):
        yield Block(match["kind"], match["title"], textwrap.dedent(match["text"]))


def is_like(said: str, line: str) -> bool:
    """Whether `said` has a line that is `line` but for its numbers."""
    pattern = r"[\d.e+-]+".join(re.escape(part) for part in NUMBER.split(line))
    return any(re.fullmatch(pattern, one.strip()) for one in said.splitlines())


class Reader:
    """Follows a page in `directory`, in a shell with `environment`."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self._directory = directory
        self._inside = directory
        self._log = directory / "output"
        self._log.touch()
        with self._log.open("ab") as log:
            self._shell = subprocess.Popen(
                ["bash"], stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=directory, env=environment
            )
        self._count = 0

    def follow(self, page: str) -> None:
        """Do what `page` says, and see that it says what came of it."""
        asked, said = "", ""
        for block in blocks(page):
            if block.title:
                (self._inside / block.title).write_text(block.text)
            elif block.kind == "bash":
                asked, said = block.text, self._run(block.text)
            elif block.kind == "text":
                self._compare(block.text, asked, said)

    def _compare(self, expected: str, asked: str, said: str) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while missing := [line for line in expected.splitlines() if not is_like(said, line.strip())]:
            assert asked.startswith(AGAIN), f"{asked} did not say {missing}, but {said}"
            assert time.monotonic() < deadline, f"{asked} has never said {missing}, but {said}\n{self.output()[-3000:]}"
            time.sleep(AGAIN_SECONDS)
            said = self._run(asked, failing=True)

    def _run(self, commands: str, *, failing: bool = False) -> str:
        """Run `commands`, and return what they said; one that fails ends the reading."""
        self._count += 1
        mark = f"{DONE} {self._count}"
        before = len(self._log.read_bytes())
        assert self._shell.stdin is not None
        self._shell.stdin.write(f"{commands}\necho {mark}: $?\n".encode())
        self._shell.stdin.flush()
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not (ended := re.search(rf"^{mark}: (\d+)$", said := self._since(before), re.MULTILINE)):
            assert self._shell.poll() is None, f"the shell has ended at {commands}:\n{said}"
            assert time.monotonic() < deadline, f"{commands} has not ended:\n{said}"
            time.sleep(0.02)
        if (moved := re.search(r"cd (\S+)", commands)) and self._count == 1:
            self._inside = self._directory / moved[1]
        assert ended[1] == "0" or failing or commands.startswith(AGAIN), f"{commands} failed:\n{said}"
        return said

    def _since(self, before: int) -> str:
        return self._log.read_bytes()[before:].decode()

    def output(self) -> str:
        """Return all that has been said."""
        return self._since(0)

    def close(self) -> None:
        """End the shell, and what it has left running."""
        if self._shell.poll() is None and self._shell.stdin:
            self._shell.stdin.write(b"kill -9 $(jobs -p) 2>/dev/null\nexit\n")
            self._shell.stdin.close()
        self._shell.wait()
