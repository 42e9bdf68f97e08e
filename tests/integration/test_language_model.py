"""A language model on a real broker: from unlabelled records to what is published, watched and said of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

import streamlearn
from streamlearn.checkpointing.checkpoints import step_of
from streamlearn.config import Config, load
from streamlearn.consumer import make_source
from streamlearn.local.broker import Broker
from streamlearn.local.tiny import WORDS
from tests.forked import run as command
from tests.integration.conftest import settings
from tests.integration.learner import DEADLINE_SECONDS, LearnerProcess, learners, send, wait_until, with_topic

TEXTS = [
    " ".join([*(WORDS[(n * k) % 11] for k in (1, 2, 3)), WORDS[n % len(WORDS)], WORDS[n // 13 % 13]])
    for n in range(600)
]


@pytest.fixture
def language(broker: Broker, topic: str, tiny_language_model: Path, tmp_path: Path) -> list[str]:
    return [
        *settings(broker, topic, tiny_language_model, tmp_path),
        "updater.objective=language_model",
        "updater.max_tokens=16",
        "updater.trains=all",
        "updater.learning_rate=1e-2",
        "updater.micro_batch=8",
        "publisher.snapshots.every_steps=30",
        "publisher.checkpoints.keep=1000",  # so that the journal reaches back to the first step
    ]


def texts(count: int) -> list[bytes | None]:
    """Return so many records, of which some are none of a language model's either, and some have any label."""
    values: list[bytes | None] = [json.dumps({"text": text, "id": f"e{n}"}).encode() for n, text in enumerate(TEXTS)]
    values[7], values[8], values[9] = b"no json", b'{"label": "no text"}', b'{"text": "late again", "label": [1, 2]}'
    return values[:count]


def run_to_the_end(language: list[str], config: Config, records: list[bytes | None]) -> None:
    send(config, records)
    with learners(language) as start:
        learner: LearnerProcess = start()
        learner.wait_for("streamlearn_events_total", 2, outcome="dead_letter")
        learner.wait_for("streamlearn_publishes_total", 1, outcome="published")
        learner.wait_for("streamlearn_perplexity", 1.0)
        learner.wait_for("streamlearn_bits_per_byte", 0.01)
        for split in ("validation", "test", "reference"):
            learner.wait_for("streamlearn_holdout_bits_per_byte", 0.01, split=split, role="champion")
        assert learner.metric("streamlearn_prequential_accuracy_ratio") == 0.0
        wait_until(lambda: dealt_with(learner) == len(records), "all records are dealt with")
        assert learner.terminate() == 0, learner.stderr()  # which publishes what it has learnt since
    assert "Traceback" not in learner.stderr()


def dealt_with(learner: LearnerProcess) -> float:
    outcomes = ("trained", "held_out", "dead_letter", "duplicate")
    return sum(learner.metric("streamlearn_events_total", outcome=outcome) for outcome in outcomes)


def test_from_unlabelled_records_to_a_published_model_that_continues_what_it_has_learnt(language: list[str]) -> None:
    language = [
        *language,
        "publisher.checkpoints.every_steps=null",
    ]  # one being written puts off a snapshot, maybe for good
    config, records = with_topic(language), texts(600)
    assert "events, refused" not in make_source(config).describe()
    run_to_the_end(language, config, records)
    snapshots = config.publisher.directory / "snapshots"
    first, *_, last = sorted(path for path in snapshots.iterdir() if path.name.startswith("v"))
    bits = [json.loads((path / "streamlearn.json").read_text())["metrics"] for path in (first, last)]
    assert bits[1]["holdout_bits_per_byte"]["validation"] < bits[0]["holdout_bits_per_byte"]["validation"]
    assert AutoModelForCausalLM.from_pretrained(last).config.model_type == "llama"
    continued = streamlearn.load_language_model(snapshots).continue_text(" ".join(TEXTS[13].split()[:3]))
    assert set(continued.split()) <= set(WORDS)
    arguments = [f"--set={setting}" for setting in language]
    begin = min(step_of(path.name) for path in (config.publisher.directory / "checkpoints").iterdir())
    for name, *more in (("rebuild",), ("compare", f"--from-step={begin}"), ("check",), ("predict", "late again")):
        done = command(name, *more, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        if name == "rebuild":
            assert "have the same bits" in done.stdout
        if name == "compare":
            assert "bits_per_byte" in done.stdout
        if name == "check":
            assert "a language model, of whose" in done.stdout
    refused = command("evaluate", "--data", __file__, *arguments)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "there are none" in refused.stderr


def test_a_candidate_of_too_many_bits_is_not_published(language: list[str]) -> None:
    language = [*language, "publisher.snapshots.max_validation_bits_per_byte=0.001"]
    config = with_topic(language)
    send(config, texts(400))
    with learners(language) as start:
        learner = start()
        learner.wait_for("streamlearn_publishes_total", 1, outcome="rejected")
        assert learner.terminate() == 0
    assert "bits per byte on the validation hold-out are more than 0.001" in learner.stderr()


def test_a_state_of_the_other_objective_is_refused_in_one_sentence(
    language: list[str], tiny_model: Path, start_learner: Callable[..., LearnerProcess]
) -> None:
    config = with_topic(language)
    send(config, texts(100))
    with learners(language) as start:
        learner = start()
        learner.wait_for("streamlearn_checkpoints_total", 1, outcome="written")
        assert learner.terminate() == 0
    classifier = start_learner()
    assert classifier.process.wait(DEADLINE_SECONDS) == 4
    assert "the checkpoint was made with updater.objective: language_model" in classifier.stderr()
    assert load(overrides=language).updater.objective == "language_model"
    assert tiny_model.is_dir()
