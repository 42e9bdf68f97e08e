"""Commands in processes of their own that need not import torch and transformers: four seconds less for each.

They are forked from one process that has imported all of it and done nothing else, and are as apart from the tests and
from one another as any: they have their own standard streams, environment and directory, and can be killed. What they
share is what is decided when Python starts, such as the seed of its hashes, and what reads the environment when it is
imported. Where a test is about that, or about the bits of two learners, it starts ``python -m streamlearn`` instead.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import IO, Any

from streamlearn.cli import main

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.preloaded"])


class Forked:
    """``streamlearn`` with `arguments`, already running; it has the methods of ``Popen`` that tests use.

    Parameters
    ----------
    arguments
        What stands behind ``streamlearn`` on the command line.
    stdin, stdout, stderr
        Files that become its standard streams; those of the tests where there is none, and no input.
    env
        Its environment, that of the tests where there is none.

    """

    def __init__(
        self,
        *arguments: str,
        stdin: IO[bytes] | None = None,
        stdout: IO[bytes] | None = None,
        stderr: IO[bytes] | None = None,
        env: Mapping[str, str] = os.environ,
    ) -> None:
        with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - as Popen has it
            files = [file.fileno() for file in (stdin or nothing, stdout or sys.__stdout__, stderr or sys.__stderr__)]
            self._process = FORKS.Process(
                target=_streamlearn, args=(arguments, [Passed(file) for file in files], dict(env), str(Path.cwd()))
            )
            self._process.daemon = True  # none outlives the tests
            self._process.start()

    @property
    def pid(self) -> int:
        """The number of the process."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """How it ended: a signal's number is negative."""
        return self.poll()

    def poll(self) -> int | None:
        """Return how it ended, None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return how it ended; raise TimeoutExpired after `timeout` seconds."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("streamlearn", timeout or 0.0)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self._process.kill()


class Passed:
    """A file's descriptor on its way to the process, where the number of the copy is another one."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return _copy, (DupFd(self._number),)


def _copy(passed: Any) -> int:
    number: int = passed.detach()
    return number


def _streamlearn(arguments: tuple[str, ...], files: list[int], environment: dict[str, str], directory: str) -> None:
    """Become ``streamlearn`` with `arguments`; `files` are the standard streams."""
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    sys.stdin = sys.__stdin__ = open(0, closefd=False)  # noqa: SIM115 - as long as the process
    sys.stdout = sys.__stdout__ = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.__stderr__ = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    sys.argv = ["streamlearn", *arguments]
    main()


def run(*arguments: str, stdin: str = "", seconds: float = 120.0) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, without the hub, and return how it ended and what it printed."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(stdin.encode())
        given.seek(0)
        process = Forked(*arguments, stdin=given, stdout=out, stderr=err)
        try:
            code = process.wait(seconds)
        finally:
            process.kill()
        printed, said = (os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode() for file in (out, err))
    return subprocess.CompletedProcess(["streamlearn", *arguments], code, printed, said)
