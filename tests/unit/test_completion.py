"""What a shell is told when somebody asks it to complete a command."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        (["sn"], ["snapshots"]),
        (["snapshots", ""], ["list", "show", "verify"]),
        (["run", "--set", "updater.mi"], ["updater.micro_batch="]),
        (["check", "--sam"], ["--sample"]),
        (["run", "--set", "nothing.of.it"], []),
    ],
)
def test_commands_options_and_settings_are_completed(typed: list[str], completed: list[str]) -> None:
    code = "import sys; sys.argv[0] = 'streamlearn'; from streamlearn.cli import main; main()"
    asked = {
        "_STREAMLEARN_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["streamlearn", *typed]),
        "COMP_CWORD": str(len(typed)),
    }
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | asked)
    assert (done.returncode, done.stderr, done.stdout.split()) == (0, "", completed)
