"""The card in a snapshot says what it is to whoever finds it, and holds nothing of an event but labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import AutoConfig

from streamlearn.publisher.card import card
from streamlearn.publisher.snapshots import SnapshotStore
from streamlearn.state import Export
from streamlearn.updater import Updater, published
from tests.unit.builders import make_event
from tests.unit.conftest import MakeConfig

PROVENANCE: dict[str, Any] = {
    "created": 1_795_690_000.0,
    "events": {"trained": 4, "held_out": 1},
    "metrics": {
        "prequential_accuracy": 0.75,
        "holdout_accuracy": {"validation": 0.5, "test": None},
        "transformer_holdout_accuracy": {"validation": 0.25, "test": None},
    },
}


@pytest.fixture
def export(make_config: MakeConfig) -> Export:
    updater = Updater(make_config("events.labels=[ham, 'sp`am|']"))
    updater.step(updater.encode([make_event(n, label="ham", text="late refund please") for n in range(4)]))
    return published.export(updater, updater.state())


def test_a_snapshot_has_a_card_with_its_figures_its_labels_and_how_to_use_it(
    export: Export, tiny_model: Path, tmp_path: Path
) -> None:
    store = SnapshotStore(tmp_path)
    path = store.write(7, 12, export, PROVENANCE | {"model": str(tiny_model)})
    assert "README.md" in store.verify(7)["files"]
    text = (path / "README.md").read_text()
    head = yaml.safe_load(text.split("---")[1])
    assert head == {
        "library_name": "transformers",
        "pipeline_tag": "text-classification",
        "tags": ["streamlearn"],
    }
    assert "# Version 7 of a classifier of 2 labels" in text
    assert f"4 events in 12 steps, beginning with `{tiny_model.name}`" in text
    assert str(tiny_model.parent) not in text
    assert "published on 2026-11-26 10:46 (UTC)" in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert rows[1:] == [
        "| prequential accuracy | 0.7500 |",
        "| holdout accuracy validation | 0.5000 |",
        "| holdout accuracy test | not measured |",
        "| transformer holdout accuracy validation | 0.2500 |",
        "| transformer holdout accuracy test | not measured |",
    ]
    assert "Labels: `ham`, `sp'am|`." in text
    assert "refund" not in text


def test_what_is_published_decides_what_the_card_says_of_its_use(export: Export) -> None:
    described = {"version": 1, "step": 1, "model": "a/b"}
    assert ("streamlearn.load(" in card(described, export)) == bool(export.mixture)
    alone = card(described, replace(export, mixture={}))
    assert 'pipeline("text-classification"' in alone
    assert "Labels: `ham`, `sp'am|`." in alone
    writes = card(described, replace(export, mixture={}, columns=0, language_model=True))
    assert 'pipeline("text-generation"' in writes
    assert "pipeline_tag: text-generation" in writes
    assert "Labels" not in writes


def test_of_many_labels_the_first_fifty_are_named(export: Export) -> None:
    names = {column: f"label-{column}" for column in range(60)}
    config = AutoConfig.for_model("bert", id2label=names)
    text = card({"version": 1, "step": 1}, replace(export, config=config, columns=60, mixture={}))
    assert "`label-49` and 10 more." in text
    assert "label-50" not in text
