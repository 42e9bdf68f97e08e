"""What is found out about a language model at the start: whether a text costs the same beside others as alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from streamlearn.config import Updater
from streamlearn.errors import ConfigurationError
from streamlearn.updater.language.forward import Ends, Forward
from streamlearn.updater.language.probe import find_out_whether_it_packs

MOST = 96
WINDOW = 40  # above the short texts that are tried, below MOST
WORDS = 60
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10_000.0,
    "short_factor": [1.0] * 8,
    "long_factor": [4.0] * 8,
    "factor": 4.0,
    "original_max_position_embeddings": WINDOW,
}


def make(kind: type[PreTrainedModel], config: type[Any], **more: Any) -> PreTrainedModel:
    """Return a tiny model whose attention is far from even, as that of a trained one is."""
    sizes = {"vocab_size": WORDS, "hidden_size": 32, "intermediate_size": 64, "max_position_embeddings": 256}
    heads = {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    ends = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    torch.manual_seed(0)
    return kind(config(**sizes, **heads, **ends, initializer_range=0.2, **more)).eval()


def tried(model: PreTrainedModel, *, most: int = MOST) -> Forward:
    forward = Forward(model, Ends(start=1, end=2), most=most, device=torch.device("cpu"))
    words = np.random.default_rng(0).integers(3, WORDS, 2 * MOST).astype(np.int32)
    find_out_whether_it_packs(forward, [words[:3], words], Updater(objective="language_model", max_tokens=most))
    return forward


def difference(forward: Forward) -> float:
    """Return by how much packing changes what texts cost in nats, at most, packed as `forward` does it."""
    draw = np.random.default_rng(1)
    texts = [draw.integers(3, WORDS, length).astype(np.int32) for length in (70, 20, 5, 94, 30)]
    alone = torch.stack([forward.nats([text])[0] for text in texts])
    return float((forward.nats(texts) - alone).abs().max())


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(lambda: make(MistralForCausalLM, MistralConfig, sliding_window=WINDOW), id="mistral"),
        pytest.param(lambda: make(Gemma2ForCausalLM, Gemma2Config, head_dim=16, sliding_window=WINDOW), id="gemma2"),
        pytest.param(
            lambda: make(
                Qwen2ForCausalLM, Qwen2Config, use_sliding_window=True, sliding_window=WINDOW, max_window_layers=1
            ),
            id="qwen2, of whose layers one has a window",
        ),
        pytest.param(lambda: make(LlamaForCausalLM, LlamaConfig, rope_parameters=LONGROPE), id="longrope"),
    ],
)
def test_a_model_that_reads_long_texts_otherwise_beside_others_gets_each_alone(model: Any) -> None:
    forward = tried(model())
    assert not forward.packs
    assert difference(forward) < 1e-3
    forward.packs = True
    assert difference(forward) > 0.1  # or there would be nothing to find


@pytest.mark.parametrize(("window", "most"), [(None, MOST), (MOST, MOST), (WINDOW, WINDOW), (WINDOW, 3), (WINDOW, 1)])
def test_a_window_that_no_text_exceeds_is_no_reason(window: int | None, most: int) -> None:
    forward = tried(make(MistralForCausalLM, MistralConfig, sliding_window=window), most=most)
    assert forward.packs
    assert difference(forward) < 1e-3


def test_a_model_that_reads_short_texts_only_is_refused_with_the_setting_that_helps() -> None:
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=WORDS, n_embd=32, n_layer=1, n_head=2, n_positions=MOST - 20)).eval()
    with pytest.raises(ConfigurationError, match=r"updater.max_tokens: .* none of up to 96 tokens: IndexError"):
        tried(model)
    assert tried(model, most=MOST - 20).packs
