"""Keeps a benchmark's result as JSON, with the machine it was measured on."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

DIRECTORY = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """Return what the figures depend on: processor, cores, versions."""
    processor = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    return {
        "processor": processor,
        "cores": torch.get_num_threads(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def median(values: Sequence[float]) -> float:
    """Return the median, to four significant digits."""
    return float(f"{statistics.median(values):.4g}")


def resident_mebibytes() -> float:
    """Return this process's resident memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def keep(name: str, result: dict[str, Any]) -> None:
    """Write `result` to ``results/NAME.json`` and print it."""
    DIRECTORY.mkdir(exist_ok=True)
    whole = result | {"machine": machine(), "measured": datetime.now(tz=UTC).isoformat(timespec="seconds")}
    (DIRECTORY / f"{name}.json").write_text(json.dumps(whole, indent=1) + "\n")
    print(json.dumps(whole, indent=1))
