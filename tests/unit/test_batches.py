from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from streamlearn.updater.experts.transformer.batches import Layout, collate, cut


def cost(lengths: list[int], parts: list[list[int]], overhead: int) -> int:
    return sum(len(part) * max(lengths[row] for row in part) + overhead for part in parts)


def cheapest(lengths: list[int], overhead: int) -> int:
    """The least cost over all cuts of the sorted texts, by trying every one of them."""
    order, best = sorted(lengths), 10**9
    for pattern in range(2 ** (len(order) - 1)):
        cuts = [0, *(index + 1 for index in range(len(order) - 1) if pattern >> index & 1), len(order)]
        best = min(best, sum((end - begin) * order[end - 1] + overhead for begin, end in pairwise(cuts)))
    return best


@given(st.lists(st.integers(1, 60), min_size=1, max_size=9), st.integers(0, 80))
def test_no_cut_is_cheaper_than_the_one_found(lengths: list[int], overhead: int) -> None:
    parts = cut(lengths, overhead=overhead)
    assert sorted(row for part in parts for row in part) == list(range(len(lengths)))
    assert cost(lengths, parts, overhead) == cheapest(lengths, overhead)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=40))
def test_a_part_of_several_texts_never_exceeds_its_limit(lengths: list[int]) -> None:
    for part in cut(lengths, most=100):
        assert len(part) == 1 or len(part) * max(lengths[row] for row in part) <= 100


def test_collated_parts_hold_each_text_padded_and_masked() -> None:
    tokens = [np.arange(1, length + 1, dtype=np.int32) for length in (5, 2, 9, 2)]
    seen = {}
    for part in collate(tokens, Layout(padding=0), device=torch.device("cpu")):
        for row, ids, mask in zip(part.rows, part.input_ids, part.attention_mask, strict=True):
            seen[row] = ids[mask.bool()].tolist()
            assert ids[~mask.bool()].tolist() == [0] * int((mask == 0).sum())
    assert seen == {row: ids.tolist() for row, ids in enumerate(tokens)}
