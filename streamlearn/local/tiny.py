"""Tiny models for tests and the soak, which take milliseconds per step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

WORDS = (  # noqa: SIM905 - easier to read than a list
    "late again refund please thanks great service broken wheel engine clutch orbit "
    "launch moon key cipher chip goal puck team vote law peace window "
    "driver screen pixel car bike space med fast slow good bad "
).split()
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def save_tiny_model(directory: Path) -> Path:
    """Save a model of two layers and a vocabulary of WORDS, as a hub model is saved, and return `directory`."""
    vocabulary = {word: index for index, word in enumerate([*SPECIAL, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))  # noqa: S106 - a token, not a secret
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",  # noqa: S106
        unk_token="[UNK]",  # noqa: S106
        cls_token="[CLS]",  # noqa: S106
        sep_token="[SEP]",  # noqa: S106
    ).save_pretrained(directory)
    torch.manual_seed(0)
    BertForSequenceClassification(
        BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=128,
        )
    ).save_pretrained(directory)
    return directory


def save_tiny_language_model(directory: Path, *, kind: str = "llama") -> Path:
    """Save a causal language model of two layers and a vocabulary of WORDS, and return `directory`.

    The `kind` ``llama`` has rotary positions and an output layer of its own; ``gpt2`` has learnt positions and an
    output layer tied to its embeddings.
    """
    vocabulary = {word: index for index, word in enumerate(["<unk>", "<s>", "</s>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))  # noqa: S106 - a token, not a secret
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",  # noqa: S106
        bos_token="<s>",  # noqa: S106
        eos_token="</s>",  # noqa: S106
    ).save_pretrained(directory)
    ends: dict[str, Any] = {"vocab_size": len(vocabulary), "bos_token_id": 1, "eos_token_id": 2}
    torch.manual_seed(0)
    model: PreTrainedModel
    if kind == "gpt2":
        model = GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=2, n_positions=128, **ends))
    else:
        sizes: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "max_position_embeddings": 128}
        model = LlamaForCausalLM(
            LlamaConfig(num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, **sizes, **ends)
        )
    model.save_pretrained(directory)
    return directory
