"""A real pre-trained model on real text: MiniLM learns 20 Newsgroups from a topic."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from streamlearn import OnlineClassifier
from streamlearn.config import Config, load
from streamlearn.local.broker import Broker
from streamlearn.local.data import minilm, newsgroups
from streamlearn.local.feed import Feed, make_feed
from streamlearn.local.feed import send as send_feed
from streamlearn.local.record import Record
from streamlearn.pipeline import Pipeline
from tests.integration.learner import wait_until
from tests.integration.test_trouble import running


@pytest.fixture
def broker(one_broker: Broker) -> Broker:
    """A running broker; the model learns the same on either kind."""
    return one_broker


def test_what_the_readme_shows_of_the_library_is_true_of_fewer_posts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    section = (Path(__file__).parents[2] / "README.md").read_text().partition("### As a library")[2]
    code = section.partition("```python\n")[2].partition("```")[0]
    assert "(1600, 1600, 1200)" in code
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(code.replace("(1600, 1600, 1200)", "(500, 0, 100)"), names)  # noqa: S102 - it is ours
    assert re.fullmatch(r"0\.\d{3}\n", shown := capsys.readouterr().out)
    assert float(shown) > 0.75  # four labels: chance is 0.25
    loaded = OnlineClassifier.load("newsgroups")
    assert loaded.learner.step == 600
    assert loaded.predict_one(names["text"]) == names["classifier"].predict_one(names["text"])


def test_minilm_follows_a_real_stream_well_above_chance(config: Config, overrides: list[str]) -> None:
    feed: Feed = make_feed(newsgroups((800, 0, 0))[:1])
    record = Record()
    real = [
        f"updater.model={minilm()}",
        "updater.experts=[transformer]",  # the demo and the library's example have all of them
        "updater.model_overrides={num_hidden_layers: 3}",
        "updater.embeddings=frozen",
        "updater.max_tokens=48",
        "updater.replay_ratio=0.5",
        "updater.learning_rate=3e-4",
        "updater.warmup_steps=10",
        "updater.threads=2",
    ]
    pipeline = Pipeline(load(overrides=[*overrides, *real]), on_step=lambda report: record.add(report, None))
    send_feed(config.kafka, feed)
    with running(pipeline):
        wait_until(lambda: record.dealt_with == len(feed.records), "all is learnt", seconds=200)
    last = record.correct[-150:]
    assert sum(last) / len(last) > 0.7  # four labels: chance is 0.25
    assert record.outcomes["dead_letter"] == len(feed.poison)
