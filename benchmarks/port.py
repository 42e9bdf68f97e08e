"""Floods of connections to monitor.port of a learner at work: descriptors, threads, memory, and how late a probe is."""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.ingest import fill_topic
from benchmarks.results import keep
from streamlearn.config import load
from streamlearn.local.broker import Broker, free_port, start_broker
from streamlearn.local.tiny import save_tiny_model

LIMIT = 256  # on the learner's open files
CLIENTS = 1_100
SCRAPE = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
FLOODS = {"none": None, "silent": b"", "half a request": SCRAPE[:20], "requests": SCRAPE}


def flood(port: int, sent: bytes, ended: threading.Event) -> None:
    """Keep 1,100 connections that send `sent` and read nothing; half of them come anew again and again."""
    connections: list[socket.socket] = []
    while not ended.is_set():
        while len(connections) < CLIENTS and not ended.is_set():
            connection = socket.socket()
            connection.settimeout(2)
            with contextlib.suppress(OSError):
                connection.connect(("127.0.0.1", port))
                connection.sendall(sent)
            connections.append(connection)
        for connection in connections[: CLIENTS // 2]:
            connection.close()
        del connections[: CLIENTS // 2]
    for connection in connections:
        connection.close()


def look(process: int, port: int, seconds: float) -> dict[str, Any]:
    """Return what a learner uses at most within `seconds`, and how it is seen."""
    proc, late, slowest, most = Path(f"/proc/{process}"), 0, 0.0, {"open_files": 0, "threads": 0, "resident": 0}
    steps, started = scrape(port), time.monotonic()
    while time.monotonic() - started < seconds:
        asked = time.monotonic()
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10).read()
        except OSError:
            late += 1
        slowest = max(slowest, time.monotonic() - asked)
        now = {
            "open_files": len(os.listdir(proc / "fd")),  # noqa: PTH208 - it lists descriptors
            "threads": len(os.listdir(proc / "task")),  # noqa: PTH208 - it lists threads
            "resident": int((proc / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 2**20,
        }
        most = {name: max(most[name], now[name]) for name in most}
    return {
        "most_open_files": most["open_files"],
        "most_threads": most["threads"],
        "most_resident_mebibytes": most["resident"],
        "slowest_probe_seconds": round(slowest, 3),
        "unanswered_probes": late,
        "steps_per_second": round((scrape(port) - steps) / (time.monotonic() - started), 1),
    }


def scrape(port: int, name: str = "streamlearn_steps_total") -> float:
    """Return a sample of the learner's metrics, 0 where it is not there yet."""
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30).read().decode()
    return sum(float(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name} "))


@contextlib.contextmanager
def learner(broker: Broker, directory: Path, port: int, records: int) -> Iterator[subprocess.Popen[bytes]]:
    overrides = [
        f"kafka.bootstrap_servers={broker.bootstrap_servers}",
        "kafka.topic=port",
        f"updater.model={save_tiny_model(directory / 'model')}",
        "updater.threads=1",
        f"publisher.directory={directory / 'state'}",
        "publisher.checkpoints.every_seconds=2",
        f"monitor.port={port}",
    ]
    fill_topic(load(overrides=overrides), records)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, hard))
    arguments = [f"--set={override}" for override in overrides]
    process = subprocess.Popen([sys.executable, "-m", "streamlearn", "run", *arguments])
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        while True:
            with contextlib.suppress(OSError):
                if scrape(port) > 0:
                    break
            time.sleep(0.1)
        yield process
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=15.0, help="of each flood")
    arguments.add_argument("--records", type=int, default=400_000)
    options = arguments.parse_args()
    seen: dict[str, Any] = {}
    port = free_port()
    with start_broker() as broker, tempfile.TemporaryDirectory() as directory:
        with learner(broker, Path(directory), port, options.records) as process:
            for name, sent in FLOODS.items():
                ended = threading.Event()
                thread = threading.Thread(target=flood, args=(port, sent, ended)) if sent is not None else None
                if thread:
                    thread.start()
                seen[name] = look(process.pid, port, options.seconds)
                ended.set()
                if thread:
                    thread.join()
                print(name, seen[name], flush=True)
            seen["afterwards"] = look(process.pid, port, options.seconds)
            failed = scrape(port, 'streamlearn_checkpoints_total{outcome="failed"}')
            written = scrape(port, 'streamlearn_checkpoints_total{outcome="written"}')
        keep(
            "port",
            {
                "limit_on_open_files": LIMIT,
                "clients": CLIENTS,
                "by_flood": seen,
                "checkpoints": {"written": written, "failed": failed},
                "broker": broker.name,
            },
        )


if __name__ == "__main__":
    main()
