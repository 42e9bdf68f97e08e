"""What the process that the tests' commands are forked from has imported."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # read when it is imported

import threading

import transformers

import streamlearn.cli
import streamlearn.commands.check
import streamlearn.commands.compare
import streamlearn.commands.finetuning
import streamlearn.commands.predict
import streamlearn.commands.rebuild
import streamlearn.commands.run

__all__ = ["streamlearn"]

for name in ("AutoModelForCausalLM", "AutoModelForSequenceClassification", "AutoTokenizer", "BertModel", "LlamaModel"):
    getattr(transformers, name)

assert threading.active_count() == 1, "a thread is not there after a fork, and what it holds stays held"
