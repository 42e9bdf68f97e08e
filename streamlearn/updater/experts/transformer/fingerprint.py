"""A digest of a tokenizer's behaviour, to tell whether stored tokens are those that it would return now."""

from __future__ import annotations

import hashlib
import json
from typing import Any

PASSING = ("truncation", "padding")  # set by each call, not part of the tokenizer's behaviour


def fingerprint(tokenizer: Any) -> str:
    """Return the SHA-256 of the vocabulary and the rules of `tokenizer`, a Hugging Face tokenizer."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        rules: Any = sorted(tokenizer.get_vocab().items())
    else:
        rules = {name: part for name, part in json.loads(backend.to_str()).items() if name not in PASSING}
    special = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    content = json.dumps([type(tokenizer).__name__, special, rules], sort_keys=True)
    return hashlib.sha256(content.encode(errors="surrogatepass")).hexdigest()
