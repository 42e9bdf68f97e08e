"""Loads a published language model, and lets it continue texts."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import msgspec
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PreTrainedModel

from streamlearn.errors import StateError
from streamlearn.serving.loading import Origin, holds_a_language_model, locate
from streamlearn.storage.layout import MANIFEST
from streamlearn.storage.store import verify_directory
from streamlearn.updater.experts.transformer.model import (
    bounded_by,
    check_weights,
    first_line,
    from_directory,
    one_sentence,
    silence,
)
from streamlearn.updater.experts.transformer.model_files import inspect
from streamlearn.updater.language.model import ends_of

TOKENS = 64


class LanguagePredictor:
    """A published language model; threads may share it, one at a time.

    Attributes
    ----------
    version
        The snapshot's version, or None if the directory has none.

    """

    def __init__(self, model: PreTrainedModel, tokenizer: Any, *, version: int | None) -> None:
        self.version = version
        self._model, self._tokenizer = model.eval(), tokenizer
        self._ends = ends_of(tokenizer)
        self._turn = threading.Lock()

    def continue_text(self, text: str, tokens: int = TOKENS) -> str:
        """Return the greedy continuation of `text`, the most probable token each time, which is always the same.

        The text is encoded as in the stream: a spelled special token is just characters. Only the end is read of a text
        that is too long. If there is no room for `tokens` more, half of the context is kept for the text.

        Parameters
        ----------
        text
            The text to continue; may be empty.
        tokens
            The most tokens to add; fewer if the model ends the text.

        Raises
        ------
        ValueError
            If the model's probabilities for it are not finite, or the model cannot read it.

        """
        ids = self._tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        whole = [self._ends.start, *ids]
        longest = getattr(self._model.config, "max_position_embeddings", None)
        if longest is not None:
            tokens = min(tokens, max(longest - len(whole), longest // 2, 1))
            whole = whole[-max(longest - tokens, 1) :]
        context = torch.tensor([whole])
        greedy = GenerationConfig(
            max_new_tokens=tokens, do_sample=False, eos_token_id=self._ends.end, pad_token_id=self._ends.end
        )
        try:
            with self._turn, torch.no_grad():
                if not bool(torch.isfinite(self._model(input_ids=context).logits).all()):
                    raise ValueError("the model's probabilities for the text are not finite")
                found: Any = self._model.generate(
                    context, attention_mask=torch.ones_like(context), generation_config=greedy
                )
        except (IndexError, RuntimeError) as error:  # it has fewer positions than it claims, or memory ran out
            raise ValueError(f"the model cannot read it: {first_line(error)}") from None
        continued: str = self._tokenizer.decode(found[0][context.shape[1] :], skip_special_tokens=True)
        return continued


def load_language_model(path: str | Path) -> LanguagePredictor:
    """Return the language model published at `path`, given as for :func:`streamlearn.load`.

    Each file is checked against the SHA-256 in the manifest, and no code stored with the weights is run.

    Raises
    ------
    StateError
        If there is none, or it is damaged or cannot be loaded.

    """
    directory = locate(Path(path))
    with one_sentence(f"the snapshot {path} cannot be loaded", StateError):
        manifest = verify_directory(directory, MANIFEST) if os.path.lexists(directory / MANIFEST) else {}
        if not holds_a_language_model(directory, manifest):
            raise ValueError("it holds no language model, but a classifier, which streamlearn.load loads")
        silence()
        files, how = inspect(directory, remedy=""), from_directory(trusted=False)
        with bounded_by(files):
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                directory, use_safetensors=True, output_loading_info=True, dtype=torch.float32, **how
            )
        model, found = loaded
        if found["missing_keys"]:
            raise ValueError(
                f"{len(found['missing_keys'])} weights are not in the file, first: {min(found['missing_keys'])}"
            )
        check_weights(model, files, set())
        tokenizer = AutoTokenizer.from_pretrained(directory, **how)
        return LanguagePredictor(model, tokenizer, version=msgspec.convert(manifest, Origin).version)
