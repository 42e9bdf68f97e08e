"""Documents in one block are kept apart, by models of either kind of positions; what cannot do that goes alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from streamlearn.local.tiny import WORDS, save_tiny_language_model
from streamlearn.updater.language.documents import Tokens, pieces_of
from streamlearn.updater.language.forward import Ends, Forward
from streamlearn.updater.language.packing import make_block, pack

CPU = torch.device("cpu")
ENDS = Ends(start=1, end=2)
KINDS = ("llama", "gpt2")


def texts(*lengths: int) -> list[Tokens]:
    """Return texts of so many random tokens each."""
    draw = np.random.default_rng(0)
    return [draw.integers(3, 3 + len(WORDS), length).astype(np.int32) for length in lengths]


@pytest.fixture(params=KINDS)
def forward(request: pytest.FixtureRequest, tmp_path: Path) -> Forward:
    directory = save_tiny_language_model(tmp_path / "tiny", kind=request.param)
    return Forward(AutoModelForCausalLM.from_pretrained(directory).eval(), ENDS, most=40, device=CPU)


def test_packed_each_text_costs_what_it_costs_alone(forward: Forward) -> None:
    given = texts(7, 1, 12, 0, 30, 5, 9)
    assert len(list(forward.blocks(given))) < len(given)
    alone = torch.stack([forward.nats([text])[0] for text in given])
    assert torch.allclose(forward.nats(given), alone, rtol=1e-5)


def test_packed_the_gradient_is_that_of_the_texts_one_by_one(forward: Forward) -> None:
    given, model = texts(7, 12, 5, 9), forward.model

    def gradient(packs: bool) -> list[torch.Tensor]:
        forward.packs = packs
        model.zero_grad()
        for block in forward.blocks(given):
            forward.losses(block).sum().backward()
        return [p.grad.clone() for p in model.parameters() if p.grad is not None]

    for packed, alone in zip(gradient(packs=True), gradient(packs=False), strict=True):
        assert torch.allclose(packed, alone, rtol=1e-3, atol=1e-5)


def test_another_text_in_the_block_changes_nothing_but_a_visible_one_would(forward: Forward) -> None:
    """The measure above can fail: without the mask the losses are others."""
    one, other = texts(8, 10)
    (block,) = [make_block(forward.pieces([one, other]), CPU)]
    hidden = forward.losses(block)[len(one) + 1 :]
    seen = forward.losses(type(block)(block.pieces, block.input_ids, block.position_ids, block.targets, None))
    (alone,) = forward.blocks([other])
    assert torch.allclose(hidden, forward.losses(alone), rtol=1e-4)
    assert not torch.allclose(hidden, seen[len(one) + 1 :], rtol=1e-2)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=20), st.integers(1, 20))
def test_however_texts_are_cut_each_token_and_the_end_is_predicted_once_from_what_comes_before(
    lengths: list[int], most: int
) -> None:
    whole = texts(*lengths)
    pieces = pieces_of(whole, start=1, end=2, most=most)
    for index, text in enumerate(whole):
        own = [piece for piece in pieces if piece.text == index]
        assert np.concatenate([piece.targets for piece in own]).tolist() == [*text.tolist(), 2]
        assert np.concatenate([piece.context for piece in own]).tolist() == [1, *text.tolist()]
    assert max(map(len, pieces)) <= most


@given(st.lists(st.integers(1, 30), max_size=40))
def test_all_is_packed_once_and_no_block_is_too_long(lengths: list[int]) -> None:
    blocks = pack(lengths, most=30)
    assert sorted(index for block in blocks for index in block) == list(range(len(lengths)))
    assert all(sum(lengths[index] for index in block) <= 30 for block in blocks)
    assert len(blocks) <= 11 / 9 * -(-sum(lengths) // 15) + 1  # twice the fewest would not do
