"""Fine-tuning, with the tiny BERT: what it reads, what it keeps, and that it goes on where it was."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import transformers

import streamlearn as library
from streamlearn.cli.finetune import Progress
from streamlearn.commands.finetuning import Standing, finetune
from streamlearn.commands.finetuning.course import Course
from streamlearn.commands.finetuning.figures import LabelFigures
from streamlearn.commands.finetuning.outcome import Epoch
from streamlearn.config import Config
from streamlearn.errors import ConfigurationError, StateError, StreamlearnError
from streamlearn.learner import Learner
from streamlearn.learner.direct import take_step
from streamlearn.learner.rehearsal import Rehearsal
from streamlearn.local.tiny import WORDS
from streamlearn.updater import Updater
from tests.conftest import OVERFLOWING, streamlearn
from tests.unit.builders import Terminal, flat, make_event
from tests.unit.labelled import examples, tuned, write
from tests.unit.test_warm_start import configured


def written(output: Path) -> dict[str, bytes]:
    """Return the files that predict."""
    return {name: (output / name).read_bytes() for name in ("model.safetensors", "experts.safetensors", "config.json")}


def epoch(number: int, loss: float) -> Epoch:
    return Epoch(number, LabelFigures(10, 0.5, 0.5, loss, None), 1.0)


def test_what_comes_of_it_is_a_snapshot_that_predicts_and_a_card_with_its_figures(
    tuned_config: Config, labelled_file: Path, tmp_path: Path
) -> None:
    test = write(tmp_path / "test.jsonl", examples(60, seed=1))
    output = tmp_path / "model"
    found = finetune(tuned_config, labelled_file, output=output, test=test, epochs=2)
    predictor = library.load(output)
    labels, _ = predictor.predict([row["text"] for row in examples(60, seed=1)])
    right = [label == row["label"] for label, row in zip(labels, examples(60, seed=1), strict=True)]
    assert found.test
    assert sum(right) / 60 == pytest.approx(found.test.accuracy)
    assert found.test.accuracy > 0.6
    assert found.train + found.validation.events == 160
    assert (found.labels, len(found.epochs)) == (3, 2)
    manifest = json.loads((output / "streamlearn.json").read_text())
    assert manifest["metrics"]["holdout_accuracy"] == {
        "validation": found.validation.accuracy,
        "test": found.test.accuracy,
    }
    assert manifest["metrics"]["transformer_holdout_accuracy"]["test"] == found.transformer_test_accuracy
    assert "README.md" in manifest["files"]
    card = (output / "README.md").read_text()
    assert f"| test, which chose nothing | 60 | {found.test.accuracy:.4f} |" in card
    assert all(f"`label-{number}`" in card for number in range(3))
    assert str(tmp_path) not in card
    assert not (tmp_path / "model.unfinished").exists()


def test_bert_as_the_textbook_has_it_is_loaded_by_plain_transformers(
    tiny_model: Path, labelled_file: Path, tmp_path: Path
) -> None:
    plain = "updater.experts=[transformer]", "updater.pooling=native", "updater.trains=all"
    output = tmp_path / "model"
    found = finetune(tuned(tiny_model, *plain), labelled_file, output=output, epochs=4, patience=4)
    classify = transformers.pipeline("text-classification", model=str(output))
    rows = examples(160)
    right = [one["label"] == row["label"] for one, row in zip(classify([r["text"] for r in rows]), rows, strict=True)]
    assert sum(right) / len(rows) > 0.6
    assert not (output / "experts.safetensors").exists()
    assert found.chosen == min(found.epochs, key=lambda one: one.validation.log_loss).number


class Killed(BaseException):
    """As SIGKILL, to a callback."""


def killed_at(step: int) -> Callable[[object], None]:
    """Return what raises when it has been called so often."""
    left = iter(range(step))

    def count(_: object) -> None:
        if next(left, None) is None:
            raise Killed

    return count


@pytest.mark.parametrize("step", [7, 33, 50], ids=["in the first pass", "in the first pass, later", "in a further one"])
def test_killed_and_given_again_it_comes_to_the_same_bits(
    tiny_model: Path, labelled_file: Path, tmp_path: Path, step: int
) -> None:
    config = tuned(tiny_model, "publisher.checkpoints.every_steps=5", "publisher.checkpoints.every_seconds=null")
    unbroken = finetune(config, labelled_file, output=tmp_path / "unbroken", epochs=3, patience=3)
    output = tmp_path / "broken"
    with pytest.raises(Killed):
        finetune(config, labelled_file, output=output, epochs=3, patience=3, progress=killed_at(step))
    assert not output.exists()
    with pytest.raises(Killed):
        finetune(config, labelled_file, output=output, epochs=3, patience=3, progress=killed_at(6))
    seen: list[Standing] = []
    again = finetune(config, labelled_file, output=output, epochs=3, patience=3, progress=seen.append)
    assert seen[0].taken > 4
    assert written(output) == written(tmp_path / "unbroken")
    assert [one.validation for one in again.epochs] == [one.validation for one in unbroken.epochs]


def test_killed_between_a_judgement_and_its_checkpoint_it_judges_again(
    tuned_config: Config, labelled_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finetune(tuned_config, labelled_file, output=tmp_path / "unbroken", epochs=2)
    keep = "streamlearn.commands.finetuning.tuning._Tuning._keep"
    with monkeypatch.context() as patched:
        patched.setattr(keep, lambda _: killed_at(0)(None))
        with pytest.raises(Killed):
            finetune(tuned_config, labelled_file, output=tmp_path / "broken", epochs=2)
    finetune(tuned_config, labelled_file, output=tmp_path / "broken", epochs=2)
    assert written(tmp_path / "broken") == written(tmp_path / "unbroken")


def test_finished_the_same_command_tells_the_same_and_another_one_is_refused(
    tuned_config: Config, labelled_file: Path, tmp_path: Path
) -> None:
    output = tmp_path / "model"
    first = finetune(tuned_config, labelled_file, output=output, epochs=1)
    before = written(output)
    assert finetune(tuned_config, labelled_file, output=output, epochs=1) == first
    assert written(output) == before
    with pytest.raises(ConfigurationError, match="already exists, and was not made by this command"):
        finetune(tuned_config, labelled_file, output=output, epochs=2)
    (tmp_path / "other").mkdir()
    with pytest.raises(ConfigurationError, match="already exists"):
        finetune(tuned_config, labelled_file, output=tmp_path / "other")


def test_what_was_begun_with_other_data_or_settings_is_not_gone_on_with(
    tiny_model: Path, labelled_file: Path, tmp_path: Path
) -> None:
    often = ["publisher.checkpoints.every_steps=1"]
    with pytest.raises(Killed):
        finetune(tuned(tiny_model, *often), labelled_file, output=tmp_path / "model", progress=killed_at(3))
    with pytest.raises(ConfigurationError, match="was begun with other settings"):
        finetune(tuned(tiny_model, *often, "updater.seed=7"), labelled_file, output=tmp_path / "model")
    other = write(tmp_path / "other.jsonl", examples(160, seed=3))
    with pytest.raises(ConfigurationError, match="was begun with other data"):
        finetune(tuned(tiny_model, *often), other, output=tmp_path / "model")


def test_two_at_once_do_not_write_into_one_directory(tuned_config: Config, labelled_file: Path, tmp_path: Path) -> None:
    def begin_another(_: object) -> None:
        with pytest.raises(StateError, match="another process is fine-tuning into"):
            finetune(tuned_config, labelled_file, output=tmp_path / "model")
        raise Killed

    with pytest.raises(Killed):
        finetune(tuned_config, labelled_file, output=tmp_path / "model", progress=begin_another)


def test_it_ends_after_passes_that_were_no_better_and_keeps_the_best() -> None:
    course = Course(epochs=[epoch(1, 0.9), epoch(2, 0.5), epoch(3, 0.5)])
    assert course.best
    assert course.best.number == 2
    assert not course.over(most=5, patience=2)
    course.epochs.append(epoch(4, 0.6))
    assert course.over(most=5, patience=2)
    assert course.over(most=4, patience=9)
    assert not Course().over(most=1, patience=1)
    assert Course.load(json.loads(json.dumps(course.state()))) == course


def test_a_further_pass_moves_the_transformer_and_nothing_that_counts_or_remembers(tuned_config: Config) -> None:
    learner = Learner(
        tuned_config.model_copy(update={"events": tuned_config.events.model_copy(update={"holdout_ratio": 0.0})})
    )
    events = [make_event(number) for number in range(16)]
    for first in range(0, 16, 4):
        take_step(learner, events[first : first + 4])
    before = learner.updater.state()
    assert Rehearsal(learner).again(events[:8]) == 8
    after = learner.updater.state()
    moved = {name for name in before if flat(before[name]) != flat(after[name])}
    assert moved == {"transformer", "averaged", "steps"}
    assert learner.step == 5


def test_a_text_that_overflows_costs_itself_alone_in_a_further_pass_too(
    overflowing_model: Path,
) -> None:
    config = tuned(overflowing_model, "updater.experts=[transformer, averaged, naive_bayes]")
    learner = Learner(config)
    events = [make_event(number, text=f"late {WORDS[number]}") for number in range(8)]
    take_step(learner, events[:4])
    take_step(learner, events[4:])
    bad = make_event(9, label="label-0", text=f"late {OVERFLOWING}")
    same = Learner(config)
    same.load(learner.state())
    assert Rehearsal(learner).again([*events[:3], bad, *events[3:6]]) == 6
    assert Rehearsal(same).again(events[:6]) == 6
    assert flat(learner.updater.state()) == flat(same.updater.state())
    assert Rehearsal(learner).again([bad]) == 0


def test_judging_lets_the_pool_follow_and_no_expert_learn(tuned_config: Config) -> None:
    learner = Learner(tuned_config)
    for first in range(0, 40, 4):
        take_step(learner, [make_event(number) for number in range(first, first + 4)])
    rehearsal, held_out = Rehearsal(learner), [make_event(number) for number in range(100, 130)]
    before = learner.updater.state()
    fixed = rehearsal.judge(held_out)
    assert flat(learner.updater.state()) == flat(before)
    pooling = rehearsal.pooling()
    followed = rehearsal.judge([*held_out, make_event(9, label="met never")], pooling=pooling)
    assert followed[:4] == fixed[:4]  # each is predicted before it is followed
    assert followed[4:30] != fixed[4:]
    assert followed[30].loss == pytest.approx(27.6)
    after = learner.updater.state()
    assert {name for name in before if flat(before[name]) != flat(after[name])} == {"pool"}
    assert rehearsal.judge(held_out, pooling=pooling) == followed[:30]  # and from the same beginning each time


def test_one_pass_is_enough_where_nothing_gains_from_another(
    tiny_model: Path, labelled_file: Path, tmp_path: Path
) -> None:
    config = tuned(tiny_model, "updater.experts=[naive_bayes, softmax]")
    found = finetune(config, labelled_file, output=tmp_path / "model")
    assert len(found.epochs) == 1
    assert found.transformer_test_accuracy is None
    assert sorted(library.load(tmp_path / "model").labels) == ["label-0", "label-1", "label-2"]


def test_a_learner_goes_on_from_it_with_its_own_bits(tuned_config: Config, labelled_file: Path, tmp_path: Path) -> None:
    finetune(tuned_config, labelled_file, output=tmp_path / "model", epochs=2)
    overrides = ["updater.experts=[transformer, averaged, naive_bayes, long_memory, frozen_least_squares]"]
    warm = Learner(configured(tmp_path / "model", *overrides))
    assert isinstance(warm.updater, Updater)
    texts = [row["text"] for row in examples(12, seed=5)]
    events = warm.updater.encode([make_event(n, text=text) for n, text in enumerate(texts)])
    found = warm.updater.log_probabilities(events).exp().float().tolist()
    assert found == library.load(tmp_path / "model").predict(texts)[1].tolist()
    assert warm.updater.warm_from == json.loads((tmp_path / "model" / "streamlearn.json").read_text())["step"]


def test_what_starts_from_a_snapshot_is_judged_before_it_learns(
    tuned_config: Config, labelled_file: Path, tmp_path: Path
) -> None:
    test = write(tmp_path / "test.jsonl", examples(60, seed=1))
    first = finetune(tuned_config, labelled_file, output=tmp_path / "model", test=test, epochs=1)
    assert first.before is None
    listed = tuned(tuned_config.updater.model, "events.labels=[label-0, label-1, label-2]")
    assert finetune(listed, labelled_file, output=tmp_path / "listed", epochs=1).before is None
    further = finetune(
        tuned(tmp_path / "model", "updater.regularizer=l2"),
        labelled_file,
        output=tmp_path / "other",
        validation=test,
        epochs=1,
    )
    assert further.before == first.test
    card = (tmp_path / "other" / "README.md").read_text()
    assert f"| validation, before | 60 | {first.test.accuracy:.4f} |" in card
    assert "| `updater.regularizer` | l2 |\n| `updater.regularization` | its default |\n" in card
    assert "regularization" not in (tmp_path / "model" / "README.md").read_text()


def test_where_nothing_can_be_learnt_that_is_said(overflowing_model: Path, tmp_path: Path) -> None:
    data = write(tmp_path / "d.jsonl", [{"text": f"{OVERFLOWING} {n}", "label": f"l{n % 2}"} for n in range(40)])
    config = tuned(overflowing_model, "updater.experts=[transformer]")
    with pytest.raises(StreamlearnError, match=r"none of the .* examples could be learnt|predict"):
        finetune(config, data, output=tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_the_command_says_what_it_came_to_in_words_and_as_json(
    tiny_model: Path, labelled_file: Path, tmp_path: Path
) -> None:
    common = ["finetune", f"--data={labelled_file}", f"--set=updater.model={tiny_model}", "--epochs=1"]
    chosen = "--set=updater.experts=[transformer, naive_bayes]"
    done = streamlearn(*common, f"--output={tmp_path / 'm'}", chosen)
    assert done.returncode == 0, done.stderr
    assert "epoch 1: validation accuracy " in done.stderr
    assert "test accuracy " in done.stdout
    found = json.loads(streamlearn(*common, f"--output={tmp_path / 'm'}", chosen, "--json").stdout)
    wrong = streamlearn("finetune", "--data=/no/such/file", f"--output={tmp_path / 'n'}")
    assert wrong.returncode == 2
    assert wrong.stderr == "streamlearn: cannot read /no/such/file: No such file or directory\n"
    assert found["train"] + found["validation"]["events"] + found["test"]["events"] == 160
    assert found["chosen"] == 1


@pytest.mark.parametrize(("stream", "erased"), [(Terminal(), "\r\x1b[K"), (io.StringIO(), "")])
def test_progress_is_one_line_on_a_terminal_and_lines_elsewhere(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, erased: str
) -> None:
    now = [0.0]
    monkeypatch.setattr(sys, "stderr", stream)
    progress = Progress(clock=lambda: now[0])
    progress(Standing(1, 5, 4, 8))
    now[0] = 10.0
    progress(Standing(1, 5, 8, 8))
    progress.passed(epoch(1, 0.25))
    begin, end = ("\r", "\x1b[K") if erased else ("", "\n")
    assert stream.getvalue() == (
        f"{begin}epoch 1 of at most 5: 8 of 8 examples{end}{erased}"
        "epoch 1: validation accuracy 0.5000, log loss 0.2500 (10 examples), 1 s\n"
    )
