from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from streamlearn.state import State
from streamlearn.storage.states import pack, tensors_of, unpack
from tests.unit.builders import flat, make_event


def a_state() -> State:
    return {
        "labels": ["ham", 3],
        "experts": {"memory": {"vectors": torch.randn(3, 2).T, "seen": 7, "empty": torch.zeros(0, 4)}},
        "pool": {"weights": torch.tensor([0.1, 0.2], dtype=torch.float64), "rate": 0.1 + 0.2, "none": {}},
    }


def test_a_state_comes_back_from_a_single_file_with_the_same_bits(tmp_path: Path) -> None:
    state = a_state()
    (tmp_path / "one").write_bytes(pack(state))
    assert flat(unpack(tmp_path / "one")) == flat(state)
    assert pack(unpack(tmp_path / "one")) == (tmp_path / "one").read_bytes()


def test_a_state_that_was_read_outlives_its_file(tmp_path: Path) -> None:
    state = a_state()
    (tmp_path / "one").write_bytes(pack(state))
    read = unpack(tmp_path / "one")
    (tmp_path / "one").write_bytes(b"\xff" * (tmp_path / "one").stat().st_size)
    assert flat(read) == flat(state)


def test_the_tensors_of_a_state_are_named_by_their_path() -> None:
    names = ["experts/memory/vectors", "experts/memory/empty", "pool/weights"]
    assert sorted(tensors_of(a_state())) == sorted(names)


def test_a_single_file_has_no_place_for_events() -> None:
    with pytest.raises(ValueError, match="buffer/kept holds events"):
        pack({"buffer": {"kept": [make_event(1)]}})


def test_a_file_that_holds_no_state_is_none(tmp_path: Path) -> None:
    save_file({"w": torch.zeros(1)}, tmp_path / "weights")
    with pytest.raises(KeyError):
        unpack(tmp_path / "weights")
    save_file({"w": torch.zeros(1)}, tmp_path / "list", metadata={"state": "[]"})
    with pytest.raises(TypeError, match="list holds no state"):
        unpack(tmp_path / "list")
