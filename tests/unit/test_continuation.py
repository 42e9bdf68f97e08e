"""A language model continues texts of any length, and none of them keeps it from the next."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import streamlearn
from streamlearn.commands.predict import continue_texts
from streamlearn.local.tiny import WORDS, save_tiny_language_model

POSITIONS = 128  # of the tiny models
TOKENS = 64
LONG = WORDS * 8


def text(words: int) -> str:
    return " ".join(LONG[:words])


@pytest.fixture(params=["gpt2", "llama"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return save_tiny_language_model(tmp_path / "tiny", kind=request.param)


def test_after_texts_that_are_too_long_for_the_model_the_next_is_continued_as_before(path: Path) -> None:
    texts = ["late again", *map(text, (62, 63, 64, 100, 126, 127, 128, 250)), "late again"]
    continued = [one.continuation for one in continue_texts(path, texts)]
    assert len(continued) == len(texts)
    assert continued[0] == continued[-1]


def test_of_a_text_that_is_too_long_the_end_is_continued(path: Path) -> None:
    tokenizer, model = AutoTokenizer.from_pretrained(path), AutoModelForCausalLM.from_pretrained(path)
    ids = torch.tensor([tokenizer(text(250))["input_ids"][-(POSITIONS - TOKENS) :]])
    found = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=TOKENS, do_sample=False)
    expected = tokenizer.decode(found[0][ids.shape[1] :], skip_special_tokens=True)
    assert streamlearn.load_language_model(path).continue_text(text(250)) == expected


@pytest.mark.parametrize(("words", "room"), [(0, POSITIONS - 1), (100, POSITIONS // 2), (250, POSITIONS // 2)])
def test_of_more_tokens_than_there_is_room_for_there_come_as_many_as_there_is(
    path: Path, words: int, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = streamlearn.load_language_model(path)
    monkeypatch.setattr(model, "_ends", type(model._ends)(start=1, end=-1))
    ids = model._tokenizer(model.continue_text(text(words), tokens=1000))["input_ids"]
    assert len(ids) <= room
    assert ids or not words


def test_a_model_with_fewer_positions_than_it_says_is_refused_in_one_sentence(path: Path) -> None:
    model = streamlearn.load_language_model(path)
    model._model.config.max_position_embeddings = 10_000
    if model._model.config.model_type == "llama":
        assert model.continue_text(text(250)) is not None
        return
    with pytest.raises(ValueError, match="the model cannot read it: IndexError: index out of range"):
        model.continue_text(text(250))
