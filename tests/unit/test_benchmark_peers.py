"""The peers of the learning benchmark: each predicts without learning, learns what is easy, and keeps to its labels."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import numpy as np
import pytest

from benchmarks import peers
from streamlearn.errors import ConfigurationError

TEXTS = [
    "the goalie saved the puck: late | again",
    "the moon orbit of the launch",
    "ice rink team",
    "rocket engine nasa",
]
CHEAP = [name for name in peers.PEERS if name != "tutorial_loop"]


@pytest.mark.parametrize("name", CHEAP)
@pytest.mark.parametrize("labels", [["rec", "sci"], ["comp", "rec", "sci"]], ids=["two labels", "three labels"])
def test_a_peer_predicts_probabilities_and_learns_from_what_it_is_told_alone(name: str, labels: list[str]) -> None:
    if name == "vowpal_wabbit" and not find_spec("vowpalwabbit"):
        pytest.skip("vowpalwabbit is not installed; the extra 'peers' brings it")
    peer, targets = peers.make(name, labels), [labels.index("rec"), labels.index("sci")] * 2
    before = peer.probabilities(TEXTS)
    assert before.shape == (4, len(labels))
    for _ in range(20):
        peer.learn(TEXTS, targets)
    first, second = peer.probabilities(TEXTS), peer.probabilities(TEXTS)
    np.testing.assert_allclose(first.sum(-1), 1.0, atol=1e-5)
    np.testing.assert_array_equal(first, second)
    assert first.argmax(-1).tolist() == targets
    assert np.all(first[range(4), targets] > before[range(4), targets])


def test_a_library_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "benchmarks.peers.vowpal_wabbit", raising=False)
    monkeypatch.setitem(sys.modules, "vowpalwabbit", None)
    with pytest.raises(ConfigurationError, match=r"'vowpal_wabbit' needs vowpalwabbit; pip install 'streamlearn.peers"):
        peers.module("vowpal_wabbit")


@pytest.mark.parametrize("name", [name for name in peers.PEERS if name != "vowpal_wabbit"])
def test_what_was_tried_names_settings_that_there_are(name: str) -> None:
    found = peers.module(name)
    assert all(set(tried) <= set(found.SETTINGS) for tried in found.TRIED)
