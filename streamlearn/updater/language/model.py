"""Loads a causal language model by hub name or local path, and refuses one that does not match its files."""

from __future__ import annotations

import logging
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from streamlearn.config import Updater
from streamlearn.errors import ConfigurationError
from streamlearn.updater.experts.transformer.model import (
    bounded_by,
    check_overrides,
    check_weights,
    from_directory,
    is_dropout,
    one_sentence,
    silence,
)
from streamlearn.updater.experts.transformer.model_files import inspect, locate
from streamlearn.updater.experts.transformer.tokenizer import load_tokenizer
from streamlearn.updater.experts.transformer.trainable import embedding_rows
from streamlearn.updater.language.forward import Ends

log = logging.getLogger(__name__)


def load_language_model(config: Updater) -> tuple[PreTrainedModel, Any, Ends]:
    """Return the model that `config` names, its tokenizer, and the tokens that texts begin and end with.

    Raises
    ------
    ConfigurationError
        If the model or its tokenizer cannot be loaded, or does not match its files, or ``max_tokens`` is more than it
        can read.

    """
    silence()
    if config.trust_remote_code:
        log.warning("updater.trust_remote_code: code that comes with '%s' may run in this process", config.model)
    with one_sentence(f"updater.model: cannot load '{config.model}'", ConfigurationError):
        how = from_directory(config.trust_remote_code)
        directory = locate(config.model, trusted=config.trust_remote_code)
        files = inspect(directory, trusted=config.trust_remote_code)
        source = AutoConfig.from_pretrained(directory, **how)
        check_overrides(config.model_overrides, source)
        rates = {key: config.dropout for key, value in source.to_dict().items() if is_dropout(key, value)}
        settings = AutoConfig.from_pretrained(directory, **{**rates, **config.model_overrides}, return_dict=True, **how)
        with bounded_by(files):
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                directory,
                config=settings,
                use_safetensors=True,
                output_loading_info=True,
                dtype=torch.float32,
                **how,
            )
        model, found = loaded
        if found["missing_keys"]:
            raise ValueError(
                f"{len(found['missing_keys'])} of its weights are not in the file, first: {min(found['missing_keys'])}"
                "; is it a language model?"
            )
        check_weights(model, files, set())
    with one_sentence(f"updater.model: cannot load the tokenizer of '{config.model}'", ConfigurationError):
        tokenizer = load_tokenizer(directory, model, config, how)
        ends = ends_of(tokenizer)
        highest, rows = max(tokenizer.get_vocab().values()), embedding_rows(model)
        if rows is not None and highest >= rows:
            raise ValueError(
                f"it has {highest + 1} tokens, but the model has embeddings for {rows} only, so the two do not fit"
            )
    longest = getattr(model.config, "max_position_embeddings", None)
    if longest is not None and config.max_tokens > longest:
        raise ConfigurationError(
            f"updater.max_tokens is {config.max_tokens}, but the model reads at most {longest} tokens; "
            f"set it to {longest} or less"
        )
    _as_published(tokenizer, longest)
    return model, tokenizer, ends


def ends_of(tokenizer: Any) -> Ends:
    """Return the tokenizer's tokens for the start and end of texts; without one for the start, that for the end.

    Raises
    ------
    ValueError
        If it has no token for the end.

    """
    end = tokenizer.eos_token_id
    if end is None:
        end = tokenizer.sep_token_id
    if end is None:
        raise ValueError(
            "its tokenizer has no token for the end of a text (eos_token); name it in tokenizer_config.json"
        )
    start = tokenizer.bos_token_id
    return Ends(end if start is None else start, end)


def _as_published(tokenizer: Any, longest: int | None) -> None:
    """Restore the tokenizer's settings for a snapshot: it truncates at the model's limit and reads special tokens."""
    tokenizer.init_kwargs.pop("split_special_tokens", None)
    if longest is not None:
        tokenizer.model_max_length = longest
