"""Loads a classifier by hub name or local path, and refuses one that does not match its files."""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, PreTrainedModel

from streamlearn.config import Updater
from streamlearn.errors import ConfigurationError, StreamlearnError
from streamlearn.updater.experts.transformer.head import (
    NO_LABEL_YET,
    draw_head,
    grow_head,
    head_keys,
    is_pooler,
    labels_of,
    output_keys,
    problem_type,
)
from streamlearn.updater.experts.transformer.mean_pooled import (
    READ_THE_FIRST_TOKEN,
    MeanPooledConfig,
    MeanPooledForSequenceClassification,
)
from streamlearn.updater.experts.transformer.model_files import FLOATS, WeightFiles, inspect, locate
from streamlearn.updater.experts.transformer.tokenizer import load_tokenizer

OWN_SETTINGS = {
    "architectures",
    "attn_implementation",
    "auto_map",
    "cache_dir",
    "code_revision",
    "custom_pipelines",
    "dtype",
    "experts_implementation",
    "force_download",
    "gguf_file",
    "id2label",
    "label2id",
    "local_files_only",
    "model_type",
    "num_labels",
    "pad_token_id",
    "problem_type",
    "proxies",
    "quantization_config",
    "return_dict",
    "return_unused_kwargs",
    "revision",
    "subfolder",
    "token",
    "torch_dtype",
    "transformers_version",
    "transformers_weights",
    "trust_remote_code",
    "use_return_dict",
}
"""Model settings that are determined by labels, tokenizer and task, or by how the model is loaded."""

SLACK_VALUES = 2**26  # what a head, a pooler or a position table may add to the weights in the file
SHARES = 4  # how often one tensor of the file may be used (T5 builds its embeddings three times, then ties them)
SLACK_TENSORS = 512
SHOWN_NAMES, SHOWN_CHARACTERS = 5, 40

log = logging.getLogger(__name__)


def load_model(config: Updater, labels: Sequence[str]) -> tuple[PreTrainedModel, Any, list[str]]:
    """Return the model, its tokenizer, and the names of its head's columns.

    A checkpoint that was already trained to classify keeps its head if each of its labels is one of `labels` by its
    exact name, or if `labels` is empty, which means discovery; further `labels` get new rows. Otherwise the head is
    new, initialised from torch's generator, and the log says so.

    Raises
    ------
    ConfigurationError
        If the model or its tokenizer cannot be loaded, or does not match its files.

    """
    silence()
    if config.trust_remote_code:
        log.warning("updater.trust_remote_code: code that comes with '%s' may run in this process", config.model)
    with one_sentence(f"updater.model: cannot load '{config.model}'", ConfigurationError):
        directory = locate(config.model, trusted=config.trust_remote_code)
        files = inspect(directory, trusted=config.trust_remote_code)
        model, columns = _load(directory, files, config, list(labels))
    with one_sentence(f"updater.model: cannot load the tokenizer of '{config.model}'", ConfigurationError):
        tokenizer = load_tokenizer(directory, model, config, from_directory(config.trust_remote_code))
    return model, tokenizer, columns


def silence() -> None:
    """Silence transformers and the hub's client: what they find is logged in our own words, once."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("transformers").setLevel(logging.CRITICAL)  # it logs what it then raises
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it logs every attempt to connect


@contextmanager
def one_sentence(subject: str, kind: type[StreamlearnError]) -> Iterator[None]:
    """Turn whatever untrusted files make transformers, tokenizers or torch raise into one sentence.

    A panic in tokenizers' Rust code is not an ``Exception``.
    """
    try:
        yield
    except (StreamlearnError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - there is no end to what they may raise
        raise kind(f"{subject}: {first_line(error)}") from None


def first_line(error: BaseException) -> str:
    """Return the first line of the message of `error`, with its type if the message says little."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].endswith(":"):
        lines[0] = f"{lines[0]} {lines[1]}"
    if isinstance(error, OSError | ValueError) and lines:
        return lines[0][:400]
    return ": ".join([type(error).__name__, *lines[:1]])[:400]


def from_directory(trusted: bool) -> dict[str, Any]:
    """Return the arguments for loading anything: no code, no prompt on standard input, no network."""
    return {"trust_remote_code": True} if trusted else {"trust_remote_code": False, "local_files_only": True}


def _load(directory: Path, files: WeightFiles, config: Updater, labels: list[str]) -> tuple[PreTrainedModel, list[str]]:
    how = from_directory(config.trust_remote_code)
    source = AutoConfig.from_pretrained(directory, **how)
    pooled = isinstance(source, MeanPooledConfig)
    below = source.body_config() if pooled else source
    check_overrides(config.model_overrides, below)
    known = labels_of(source)
    keeps_head = bool(known) and (not labels or set(known) <= set(labels))
    names = (known if keeps_head else labels) or [NO_LABEL_YET]
    changed: dict[str, Any] = {
        **{key: config.dropout for key, value in below.to_dict().items() if is_dropout(key, value)},
        **config.model_overrides,
    }
    named: dict[str, Any] = {
        "id2label": dict(enumerate(names)),
        "label2id": {name: column for column, name in enumerate(names)},
        "problem_type": problem_type(len(names)),
        "return_dict": True,
    }
    if config.pooling == "mean" and not known and source.model_type in READ_THE_FIRST_TOKEN:
        body = _load_body(
            directory, files, AutoConfig.from_pretrained(directory, **changed, return_dict=True, **how), how
        )
        return MeanPooledForSequenceClassification(MeanPooledConfig(body.config.to_dict(), **named), body), labels
    settings = AutoConfig.from_pretrained(
        directory, **({"body": source.body | changed} if pooled else changed), **named, **how
    )
    model, drawn = _load_weights(AutoModelForSequenceClassification, directory, files, settings, how)
    check_weights(model, files, drawn)
    if known and (not keeps_head or drawn & head_keys(model)):
        why = "are not all among events.labels" if not keeps_head else "have no weights in the file"
        log.warning("updater.model: the head is new, because the labels of its own (%s) %s", _listed(known), why)
        keeps_head = False
    if keeps_head:
        columns = list(known)
        for label in labels:
            if label not in known:
                columns.append(label)
                grow_head(model, 1)
        return model, columns
    if model.config.num_labels != len(labels or [NO_LABEL_YET]) or not output_keys(model) <= drawn:
        draw_head(model, labels or [NO_LABEL_YET])
    return model, labels


def _load_body(directory: Path, files: WeightFiles, settings: Any, how: dict[str, Any]) -> PreTrainedModel:
    """Return the model in `directory` without any head."""
    body, drawn = _load_weights(AutoModel, directory, files, settings, how)
    check_weights(body, files, {name for name in drawn if not is_pooler(name)})
    return body


def _load_weights(
    kind: Any, directory: Path, files: WeightFiles, settings: Any, how: dict[str, Any]
) -> tuple[PreTrainedModel, set[str]]:
    """Return a model of an Auto class, and the names of weights missing from the file or of another shape."""
    with bounded_by(files):
        model, found = kind.from_pretrained(
            directory,
            config=settings,
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            dtype=torch.float32,
            **how,
        )
    mismatched = (key if isinstance(key, str) else key[0] for key in found["mismatched_keys"])
    return model, {*found["missing_keys"], *mismatched}


def check_overrides(overrides: dict[str, Any], settings: Any) -> None:
    """Raise ConfigurationError if `overrides` are not among a model's own `settings`."""
    given = settings.to_dict()
    known = {*given, *type(settings).attribute_map} - OWN_SETTINGS
    for key in overrides:
        if key in OWN_SETTINGS:
            raise ConfigurationError(f"updater.model_overrides: '{key}' is decided by streamlearn")
        if key in given and is_dropout(key, given[key]):
            raise ConfigurationError(f"updater.model_overrides: '{key}' is decided by updater.dropout, for all layers")
        if key not in known:
            match = difflib.get_close_matches(key, sorted(known), n=1, cutoff=0.5)
            nearest = f"; did you mean '{match[0]}'?" if match else ""
            raise ConfigurationError(
                f"updater.model_overrides: a model of type '{settings.model_type}' has no setting '{key}'{nearest}"
            )


def check_weights(model: PreTrainedModel, files: WeightFiles, drawn: set[str]) -> None:
    """Refuse a model whose body does not match its files.

    Parameters
    ----------
    model
        The loaded model.
    files
        The weight files.
    drawn
        The names of weights missing from them, or of another shape, which were initialised at random.

    Raises
    ------
    ValueError
        If the body is incomplete, or a weight is not a finite floating-point number.

    """
    body = drawn - head_keys(model)
    poolers = {key for key in body if is_pooler(key)}
    if body - poolers:
        raise ValueError(
            f"{len(body - poolers)} weights of its body are not in the file or have another shape, "
            f"first: {files.name_of(min(body - poolers), model.base_model_prefix)}"
        )
    if poolers:
        log.info("updater.model: the pooler is new, because the file has none")
    for own, parameter in model.named_parameters():
        name = files.name_of(own, model.base_model_prefix)
        if files.types.get(name, "F32") not in FLOATS:
            raise ValueError(f"the weight {name} is of type {files.types[name]}, not a floating-point number")
        if not bool(torch.isfinite(parameter).all()):
            raise ValueError(f"the weight {name} holds values that are not finite")


@contextmanager
def bounded_by(files: WeightFiles) -> Iterator[None]:
    """Stop building a model that is larger than its weight files or this machine's memory before memory is allocated.

    transformers builds it without memory, on the device ``meta``, and loads the files afterwards.
    """
    most_values, most_tensors = SHARES * files.values + SLACK_VALUES, SHARES * len(files.shapes) + SLACK_TENSORS
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    values = tensors = 0

    def count(_module: nn.Module, _name: str, tensor: Tensor | None) -> None:
        nonlocal values, tensors
        if tensor is None or not tensor.is_meta:
            return
        values, tensors = values + tensor.numel(), tensors + 1
        if values > most_values or tensors > most_tensors:
            raise ValueError(
                f"config.json describes a model that is larger than its weights ({files.values:,} values in "
                f"{len(files.shapes):,} tensors)"
            )
        if 4 * values > memory:
            raise ValueError(
                f"its weights alone take {4 * values / 2**30:.0f} GiB, and this machine has {memory / 2**30:.0f}"
            )

    hooks = [register_module_parameter_registration_hook(count), register_module_buffer_registration_hook(count)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def is_dropout(key: str, value: Any) -> bool:
    """Whether a setting is a dropout rate; ESM's ``token_dropout`` is a switch, not a rate."""
    return key.endswith(("dropout", "dropout_prob", "pdrop", "drop")) and not isinstance(value, bool)


def _listed(names: Sequence[str]) -> str:
    shown = [name if len(name) <= SHOWN_CHARACTERS else f"{name[:SHOWN_CHARACTERS]}…" for name in names[:SHOWN_NAMES]]
    return ", ".join(shown) + (f", … ({len(names)})" if len(names) > len(shown) else "")
