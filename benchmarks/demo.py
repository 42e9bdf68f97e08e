"""Keeps what the demo comes to on this machine: its summary as JSON, its picture, and its live page at the end."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, cast

from playwright.sync_api import expect, sync_playwright

from benchmarks.results import DIRECTORY, keep

SIZE = {"width": 1280, "height": 1000}


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "streamlearn", "demo", "--json", "--keep", "--output", directory]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as demo:
            answer, said = cast("IO[str]", demo.stdout), cast("IO[str]", demo.stderr)
            url = next(line.split()[-1] for line in said if line.startswith("live page at "))
            summary = json.loads(answer.readline())
            photograph(url, DIRECTORY / "page.png")
            demo.send_signal(signal.SIGINT)
            demo.communicate()
        keep("demo", summary | {"snapshots": len(summary["snapshots"])})
        shutil.copy(Path(directory) / "demo.png", DIRECTORY / "demo.png")


def photograph(url: str, path: Path) -> None:
    """Keep the page at `url` as Debian's Chromium shows it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE)
        page.goto(url)
        expect(page.locator("#snapshot")).to_contain_text("v")
        page.screenshot(path=path, full_page=True)
        browser.close()


if __name__ == "__main__":
    main()
