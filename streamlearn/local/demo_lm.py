"""The language demo: a language model learns texts without labels from a topic, whose subjects change and come back."""

from __future__ import annotations

import json
import logging
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from streamlearn.commands.predict import continue_texts
from streamlearn.config import Config
from streamlearn.local.broker import Broker, start_broker
from streamlearn.local.data import Part, newsgroups
from streamlearn.local.demo import demo_config, require_accounted, walk
from streamlearn.local.feed import Feed, make_feed
from streamlearn.local.picture import draw_bits
from streamlearn.local.record import TextRecord
from streamlearn.local.smollm2 import LAYERS, WHOLE, smollm2
from streamlearn.publisher.snapshots import SnapshotStore

SIZES = (360, 120, 80)  # texts of each part: by .35 s each on two cores, under five minutes
CHARACTERS = 400  # of each text
LAST = 3  # of the layers are the model's last ones
PROMPTS = ("my car", "the people of", "in article i wrote that the problem is")
FIFTH = 5  # of a part: its first and its last are compared


@dataclass(frozen=True)
class Summary:
    """What the demo came to, and what ``--json`` prints."""

    sent: int
    trained: int
    held_out: int
    dead_lettered: int
    duplicates: int
    seconds: float
    layers: int
    parts: list[dict[str, Any]]
    drifts: list[int]
    samples: list[dict[str, str]]  # each with a ``prompt``, and how the model went on ``before`` and ``after``
    snapshots: list[str]
    broker: str


def run_language_demo(*, output: Path, as_json: bool, keep: bool, sizes: tuple[int, int, int] = SIZES) -> None:
    """Run the demo into the directory `output` and print the summary.

    Parameters
    ----------
    output
        What an earlier run left in it is replaced.
    as_json
        Whether the summary is printed as JSON, and all else goes to standard error.
    keep
        Whether everything is left running until Ctrl-C.
    sizes
        The texts of each part.

    Raises
    ------
    ConfigurationError
        If something that it needs is not installed.
    StreamlearnError
        If a record was not accounted for, or a malformed one is not in the dead-letter topic with its reason.

    """
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(message)s", stream=sys.stderr)
    console = Console(stderr=as_json)
    console.print(
        f"getting the model ready: the first {LAYERS - LAST} and the last {LAST} of the {WHOLE} layers of "
        "SmolLM2-135M-Instruct, so that it takes minutes on two cores; what is left has to learn to speak again",
        soft_wrap=True,
    )
    model = smollm2(last=LAST)
    before = _said(model)
    started = time.monotonic()
    parts = [Part(part.name, [(text[:CHARACTERS], "") for text, _ in part.examples]) for part in newsgroups(sizes)]
    feed = make_feed(parts, labelled=False)
    with start_broker() as broker:
        config = demo_config(broker, output, model=model, name="demo_lm")
        record = TextRecord()

        def conclude() -> None:
            summary = _summarise(record, feed, parts, broker, config, before, time.monotonic() - started)
            _conclude(summary, record, feed, parts, config, output)
            _print(summary, console, output, as_json=as_json)

        walk(console, broker, config, feed, record, keep=keep, conclude=conclude)


def _said(model: Path) -> list[str]:
    """Return how the language model in the directory `model` goes on after each prompt."""
    return [one.continuation for one in continue_texts(model, PROMPTS)]


def _summarise(
    record: TextRecord, feed: Feed, parts: list[Part], broker: Broker, config: Config, before: list[str], seconds: float
) -> Summary:
    store = SnapshotStore(config.publisher.directory / "snapshots")
    ends = [*feed.begins[1:], len(feed.records)]
    spans = zip(parts, feed.begins, ends, strict=True)
    said = zip(PROMPTS, before, _said(store.path(store.versions()[-1])), strict=True)
    return Summary(
        sent=len(feed.records),
        trained=record.outcomes["trained"],
        held_out=record.outcomes["held_out"],
        dead_lettered=record.outcomes["dead_letter"],
        duplicates=record.outcomes["duplicate"],
        seconds=round(seconds, 1),
        layers=LAYERS,
        parts=[{"name": part.name, "texts": end - begin, **_ends(record, begin, end)} for part, begin, end in spans],
        drifts=record.drifts,
        samples=[{"prompt": prompt, "before": was, "after": now} for prompt, was, now in said],
        snapshots=[str(store.path(version)) for version in store.versions()],
        broker=broker.name,
    )


def _ends(record: TextRecord, begin: int, end: int) -> dict[str, float]:
    """Return what a byte cost over the first and the last fifth of the texts numbered from `begin` to below `end`."""
    places = record.within(begin, end)
    fifth = max(1, len(places) // FIFTH)
    both = {"bits_per_byte_first_fifth": places[:fifth], "bits_per_byte_last_fifth": places[-fifth:]}
    return {name: round(record.bits_per_byte(which), 4) for name, which in both.items()}


def _conclude(
    summary: Summary, record: TextRecord, feed: Feed, parts: list[Part], config: Config, output: Path
) -> None:
    """Draw the picture, write the summary, and check that every record is accounted for."""
    draw_bits(record, feed, parts, output / "demo-lm.png")
    (output / "summary.json").write_text(json.dumps(asdict(summary), indent=1) + "\n")
    require_accounted(record, feed, config)


def _print(summary: Summary, console: Console, output: Path, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(asdict(summary)) + "\n")
        return
    console.print(
        f"\n{summary.sent} sent = {summary.trained} trained + {summary.held_out} held out "
        f"+ {summary.dead_lettered} dead-lettered + {summary.duplicates} duplicates, in {summary.seconds:.0f} s",
        soft_wrap=True,
    )
    for part in summary.parts:
        first, last = part["bits_per_byte_first_fifth"], part["bits_per_byte_last_fifth"]
        console.print(f"{part['name']:>10}  bits per byte: {first:.3f} over its first fifth, {last:.3f} over its last")
    console.print(f"drift detected at text {', '.join(map(str, summary.drifts)) or '(none)'}")
    for sample in summary.samples:
        for when in ("before", "after"):
            console.print(f"{when:>10}  {escape(sample['prompt'])} … {escape(sample[when])}", soft_wrap=True)
    console.print(f"picture   {output / 'demo-lm.png'}", soft_wrap=True)
    console.print(f"snapshot  {summary.snapshots[-1]}", soft_wrap=True)
