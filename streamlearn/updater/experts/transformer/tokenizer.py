"""Loads a model's tokenizer, and refuses one that has no vocabulary, cannot pad or needs a missing package."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedModel

from streamlearn.config import Updater
from streamlearn.errors import ConfigurationError
from streamlearn.updater.experts.transformer.model_files import VOCABULARIES

SENTENCEPIECE_SUFFIXES = {".model", ".spm"}
SENTENCEPIECE_BEGINS = b"\x0a"  # the first protobuf field; a tiktoken file begins with base64
SENTENCEPIECE_PACKAGES = {"sentencepiece": "sentencepiece", "protobuf": "google.protobuf"}
PLAIN_WORDS = ("the", "a", "late", "again", "please", "good")
SAMPLED_WORDS = 64
HOW_IT_WAS_LOADED = ("local_files_only", "is_local", "trust_remote_code")


def load_tokenizer(directory: Path, model: PreTrainedModel, config: Updater, how: dict[str, Any]) -> Any:
    """Return the tokenizer in `directory`, configured as texts are encoded here; `model` is told its pad token.

    Texts are data: a spelled special token, such as ``</s>`` or ``[SEP]``, is encoded as plain characters, also by a
    published snapshot.

    Raises
    ------
    ValueError
        If it cannot be used.
    ConfigurationError
        If ``max_tokens`` leaves no room for a word.

    """
    _require_packages(directory)
    tokenizer = AutoTokenizer.from_pretrained(directory, split_special_tokens=True, **how)
    for key in HOW_IT_WAS_LOADED:  # a snapshot would include it
        tokenizer.init_kwargs.pop(key, None)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token is None:
        raise ValueError(
            "its tokenizer has neither a pad nor an eos token, so that texts of different lengths cannot go together; "
            "name one in tokenizer_config.json"
        )
    special = tokenizer.num_special_tokens_to_add()
    if config.max_tokens <= special:
        raise ConfigurationError(
            f"updater.max_tokens is {config.max_tokens}, but {special} of a text's tokens are special; "
            f"set it to {special + 1} or more"
        )
    tokenizer.model_max_length = config.max_tokens
    model.config.pad_token_id = tokenizer.pad_token_id
    return tokenizer


@contextmanager
def panics_as_errors() -> Iterator[None]:
    """Turn a panic in tokenizers' Rust code, which is not an ``Exception``, into a RuntimeError: a text caused it."""
    try:
        yield
    except (Exception, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as panic:  # noqa: BLE001 - its own class cannot be imported
        raise RuntimeError(f"the tokenizer panics: {panic}") from None


def known_words(tokenizer: Any) -> list[str]:
    """Return some words of the tokenizer's vocabulary, spread over all of it.

    Raises
    ------
    ValueError
        If it has none: without their files, tokenizers load but encode every word as unknown.

    """
    added = set(tokenizer.get_added_vocab().values()) | set(tokenizer.all_special_ids)
    ordinary = sorted(set(tokenizer.get_vocab().values()) - added)
    sample = ordinary[:: max(1, len(ordinary) // SAMPLED_WORDS)]
    texts = [*PLAIN_WORDS, *(tokenizer.decode([identifier]).strip() for identifier in sample)]
    words = [text for text in dict.fromkeys(texts) if _is_word(text) and _knows(tokenizer, text, added)]
    if not words:
        files = ", ".join([*sorted(VOCABULARIES), "vocab.txt", "spiece.model"])
        raise ValueError(f"its tokenizer knows no word; is one of its files missing ({files}, …)?")
    return words


def _is_word(text: str) -> bool:
    return any(map(str.isalnum, text)) and not any("\ud800" <= character <= "\udfff" for character in text)


def _knows(tokenizer: Any, text: str, added: set[int]) -> bool:
    identifiers: Sequence[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return any(i not in added and _is_word(tokenizer.decode([i])) for i in identifiers)


def _require_packages(directory: Path) -> None:
    """Raise an error that names the package for a SentencePiece vocabulary; transformers would ask for tiktoken."""
    if (directory / "tokenizer.json").is_file():
        return
    for entry in sorted(directory.iterdir()):
        if entry.suffix not in SENTENCEPIECE_SUFFIXES or not entry.is_file():
            continue
        with entry.open("rb") as file:
            if file.read(1) != SENTENCEPIECE_BEGINS:
                continue
        missing = [package for package, module in SENTENCEPIECE_PACKAGES.items() if not _installed(module)]
        if missing:
            raise ValueError(
                f"its tokenizer is a SentencePiece file ({entry.name}), which needs packages that are not installed; "
                f"run: pip install {' '.join(missing)}"
            )


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the parent package of `module`
        return False
