"""Keeps what the demo comes to on this machine: its summary as JSON and its picture."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.results import DIRECTORY, keep


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run(
            [sys.executable, "-m", "streamlearn", "demo", "--json", "--output", directory],
            stdout=subprocess.PIPE,
            check=True,
        )
        summary = json.loads(done.stdout)
        keep("demo", summary | {"snapshots": len(summary["snapshots"])})
        shutil.copy(Path(directory) / "demo.png", DIRECTORY / "demo.png")


if __name__ == "__main__":
    main()
