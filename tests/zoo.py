"""Tiny models of many architectures, made from their configurations, each with a tokenizer of its family's habits."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from streamlearn.local.tiny import WORDS

MASKED = ["input_ids", "attention_mask"]


@dataclass(frozen=True)
class Family:
    """A tokenizer's special tokens, by id, where they stand in a text, and its settings."""

    special: list[str]
    template: str | None
    settings: dict[str, Any] = field(default_factory=dict)


BERT = Family(
    ["[PAD]", "[UNK]", "[CLS]", "[SEP]"],
    "[CLS] $A [SEP]",
    {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"},
)
ROBERTA = Family(
    ["<s>", "<unk>", "<pad>", "</s>"],
    "<s> $A </s>",
    {
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "cls_token": "<s>",
        "sep_token": "</s>",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "model_input_names": MASKED,
    },
)
XLNET = Family(
    ["<pad>", "<unk>", "<sep>", "<cls>"],
    "$A:0 <sep>:0 <cls>:2",
    {
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "cls_token": "<cls>",
        "sep_token": "<sep>",
        "padding_side": "left",
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
    },
)
GPT = Family(
    ["<|end|>", "<unk>"],
    None,
    {"unk_token": "<unk>", "bos_token": "<|end|>", "eos_token": "<|end|>", "model_input_names": MASKED},
)
LLAMA = Family(
    ["<s>", "<unk>", "</s>"],
    "<s> $A",
    {
        "unk_token": "<unk>",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "padding_side": "left",
        "model_input_names": MASKED,
    },
)
T5 = Family(
    ["<pad>", "<unk>", "</s>"],
    "$A </s>",
    {"pad_token": "<pad>", "unk_token": "<unk>", "eos_token": "</s>", "model_input_names": MASKED},
)
SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
BART_SIZE = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
}
FNET_NAMES = BERT.settings | {"model_input_names": ["input_ids", "token_type_ids"]}
ARCHITECTURES: dict[str, tuple[Family, dict[str, Any]]] = {
    "bert": (BERT, SIZE | {"max_position_embeddings": 64}),
    "distilbert": (BERT, {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64, "max_position_embeddings": 64}),
    "albert": (BERT, SIZE | {"max_position_embeddings": 64, "embedding_size": 16}),
    "roberta": (ROBERTA, SIZE | {"max_position_embeddings": 66, "pad_token_id": 2}),
    "deberta-v2": (
        BERT,
        SIZE | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False},
    ),
    "modernbert": (BERT, SIZE | {"pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3, "local_attention": 8}),
    "longformer": (ROBERTA, SIZE | {"max_position_embeddings": 66, "pad_token_id": 2, "attention_window": [8, 8]}),
    "xlnet": (XLNET, {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64, "pad_token_id": 0}),
    "gpt2": (GPT, {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64}),
    "llama": (LLAMA, SIZE | {"num_key_value_heads": 2}),
    "t5": (
        T5,
        {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 0}
        | {"pad_token_id": 0, "eos_token_id": 2},
    ),
    "bart": (
        ROBERTA,
        BART_SIZE | {"max_position_embeddings": 64, "pad_token_id": 2, "bos_token_id": 0, "eos_token_id": 3},
    ),
    "fnet": (
        Family(BERT.special, BERT.template, FNET_NAMES),
        {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64, "max_position_embeddings": 64},
    ),
    "xlm": (ROBERTA, {"emb_dim": 32, "n_layers": 2, "n_heads": 2, "max_position_embeddings": 64, "pad_token_id": 2}),
    "mra": (BERT, SIZE | {"max_position_embeddings": 128, "block_per_row": 2}),
    "perceiver": (
        BERT,
        {"num_latents": 8, "d_latents": 32, "d_model": 32, "num_blocks": 1, "num_self_attends_per_block": 1},
    ),
}


def save(kind: str, directory: Path, **changed: Any) -> Path:
    """Save a tiny model of the architecture `kind` with its tokenizer, as a hub model is saved."""
    family, size = ARCHITECTURES[kind]
    words = save_tokenizer(family, directory)
    torch.manual_seed(0)
    settings = transformers.AutoConfig.for_model(kind, **({"vocab_size": words} | size | changed))
    transformers.AutoModelForSequenceClassification.from_config(settings).save_pretrained(directory)
    return directory


def save_canine(directory: Path) -> Path:
    """Save a tiny CANINE, which reads characters and hashes them: it has no table of token embeddings."""
    windows = {"upsampling_kernel_size": 2, "downsampling_rate": 2, "local_transformer_stride": 16}
    settings = transformers.CanineConfig(
        **SIZE, **windows, max_position_embeddings=64, num_hash_buckets=64, num_hash_functions=2
    )
    torch.manual_seed(0)
    transformers.CanineForSequenceClassification(settings).save_pretrained(directory)
    transformers.CanineTokenizer(model_max_length=64).save_pretrained(directory)
    return directory


def save_tokenizer(family: Family, directory: Path, **changed: Any) -> int:
    """Save a tokenizer of whole words with the habits of `family`, and return how many tokens it has."""
    vocabulary = {word: identifier for identifier, word in enumerate([*family.special, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=family.special[1]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if family.template:
        used = [(token, vocabulary[token]) for token in family.special if token in family.template]
        tokenizer.post_processor = processors.TemplateProcessing(single=family.template, special_tokens=used)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **(family.settings | changed)).save_pretrained(directory)
    return len(vocabulary)
