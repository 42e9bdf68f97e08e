"""Finds the directory of a model and checks its files before anything loads them.

A directory may be untrusted: nothing in it may run, be unpickled, block when opened, or need more memory than its own
weights. Any problem is a ``ValueError`` that says so in one sentence.
"""

from __future__ import annotations

import json
import math
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from safetensors import SafetensorError, safe_open

from streamlearn.config.passed_through import check_counts

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
MAX_JSON_BYTES = 16 * 2**20  # config.json of the largest hub models: some hundred kB; an index of weights: a few MB
MAX_VOCABULARY_BYTES = 512 * 2**20  # tokenizer.json of a vocabulary of 262,000 tokens: 33 MB
VOCABULARIES = {"tokenizer.json", "vocab.json"}
READ_AS_TEXT = {".json", ".txt", ".model", ".jinja", ".vocab", ".spm", ".bpe", ".tiktoken"}
PICKLED = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack"}
FLOATS = {"F16", "BF16", "F32", "F64"}
FETCHED = ["*.json", "model*.safetensors", "*.txt", "*.model", "*.jinja", "*.vocab", "*.spm", "*.bpe", "*.tiktoken"]
MOST_GROWTH = 64  # factor by which a tokenizer's replacements may lengthen a text; 2 is usual
LFS_POINTER = b"version https://git-lfs"
RUNS_CODE = {"auto_map", "custom_pipelines"}
REDIRECTS = {"transformers_weights", "quantization_config"}
HOW_TO_TRUST = (
    "; if you have read that code and want it to run, set updater.trust_remote_code: true in the configuration file"
)


@dataclass(frozen=True)
class WeightFiles:
    """The headers of a model's weight files.

    ``shapes`` and ``types`` are by the name of the tensor; the types are safetensors' (``F32``, ``I8``, …).
    """

    shapes: dict[str, tuple[int, ...]]
    types: dict[str, str]

    @property
    def values(self) -> int:
        """How many values they hold."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    def name_of(self, parameter: str, prefix: str) -> str:
        """Return their name of `parameter`, which may be below the `prefix` of a model with a head."""
        within = any(name.startswith(f"{prefix}.") for name in self.shapes)
        return f"{prefix}.{parameter}" if within and parameter not in self.shapes else parameter


class _Normalizing(msgspec.Struct):
    """The part of a tokenizer.json that is read here; the rest, above all the vocabulary, is skipped."""

    normalizer: Any = None


def locate(name: str, *, trusted: bool = False) -> Path:
    """Return the directory of the model called `name`: a path, or a hub name whose files are fetched to the cache.

    Raises
    ------
    ValueError
        If there is no such directory, and the hub does not have it or cannot be reached while the cache does not
        have it either.

    """
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if name.startswith((".", "/", "~")):
        raise ValueError(f"there is no directory {name}")
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - a local directory needs no client

    try:
        return Path(snapshot_download(name, allow_patterns=[*FETCHED, *(["*.py"] if trusted else [])]))
    except Exception as error:  # noqa: BLE001 - the client has errors of its own, and passes on those of others
        raise ValueError(f"it is neither a local directory nor a model of the hub: {error}") from None


def inspect(directory: Path, *, trusted: bool = False, remedy: str = HOW_TO_TRUST) -> WeightFiles:
    """Check everything in `directory` that will be read, and return a description of its weights.

    Parameters
    ----------
    directory
        In Hugging Face's layout.
    trusted
        Whether code in it may run.
    remedy
        The advice in an error on how to permit that.

    Raises
    ------
    ValueError
        If a file is missing, damaged, not a regular file or too large, or would make code run.
    OSError
        If one cannot be read.

    """
    for entry in sorted(directory.iterdir()):
        _look_at(entry)
    settings = read_json(directory / "config.json")
    _look_for_code("config.json", settings, trusted=trusted, remedy=remedy)
    try:
        check_counts(settings)
    except ValueError as error:
        raise ValueError(f"config.json does not describe a model that can be built: {error}") from None
    for key in sorted(REDIRECTS & settings.keys()):
        raise ValueError(f"config.json sets '{key}', and only plain weights in {WEIGHTS} can be trained")
    if (directory / "tokenizer_config.json").is_file():
        settings = read_json(directory / "tokenizer_config.json")
        _look_for_code("tokenizer_config.json", settings, trusted=trusted, remedy=remedy)
    _look_at_replacements(directory / "tokenizer.json")
    if (directory / "adapter_config.json").exists():
        raise ValueError("it is an adapter (adapter_config.json); merge it into its model and save that")
    return _weights(directory)


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in `path`, whose size has been checked."""
    if not path.is_file():
        raise ValueError(f"it has no file {path.name}")
    try:
        tree = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ValueError(f"{path.name} is not valid JSON: {reason}") from None
    if not isinstance(tree, dict):
        given = type(tree).__name__
        raise ValueError(f"{path.name} holds a {given}, where a JSON object is expected")  # noqa: TRY004 - of a file
    return tree


def _look_at(entry: Path) -> None:
    """Refuse files that would block or flood their reader; links are followed: the hub's cache consists of them."""
    try:
        status = os.stat(entry)  # noqa: PTH116 - follows links, and says why it cannot
    except FileNotFoundError:
        return
    if stat.S_ISDIR(status.st_mode):
        return
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{entry.name} is not a regular file")
    bounded = entry.suffix in READ_AS_TEXT
    large = entry.name in VOCABULARIES or entry.suffix != ".json"
    limit = MAX_VOCABULARY_BYTES if large else MAX_JSON_BYTES
    if bounded and status.st_size > limit:
        raise ValueError(
            f"{entry.name} has {status.st_size / 2**20:,.0f} MiB, and at most {limit / 2**20:.0f} are read"
        )


def _look_at_replacements(file: Path) -> None:
    """Refuse a tokenizer whose replacements repeatedly lengthen a text, which would fill the memory."""
    try:
        pending = [msgspec.json.decode(file.read_bytes(), type=_Normalizing).normalizer]
    except (FileNotFoundError, msgspec.DecodeError, RecursionError):  # loading it reports what is wrong
        return
    growth = 1.0
    while pending:
        value = pending.pop()
        pending += value if isinstance(value, list) else value.values() if isinstance(value, dict) else ()
        if isinstance(value, dict) and value.get("type") == "Replace":
            content, pattern = value.get("content"), value.get("pattern")
            plain = pattern.get("String") if isinstance(pattern, dict) else None
            inserted = len(content) if isinstance(content, str) else 0
            growth *= max(1.0, inserted / len(plain)) if isinstance(plain, str) and plain else 1.0 + inserted
    if growth > MOST_GROWTH:
        raise ValueError(f"the replacements in tokenizer.json can make a text more than {MOST_GROWTH} times as long")


def _look_for_code(file: str, settings: Any, *, trusted: bool, remedy: str) -> None:
    """Refuse settings, also of sub-models, by which transformers would run code from elsewhere."""
    pending = [settings]
    while pending:
        value = pending.pop()
        if isinstance(value, list):
            pending += value
        if not isinstance(value, dict):
            continue
        pending += value.values()
        for key in sorted(RUNS_CODE & value.keys()):
            if value[key] and not trusted:
                raise ValueError(f"{file} asks for code of its own ('{key}'), which is not run{remedy}")
        for key in (key for key in value if key.endswith("_implementation")):
            if not (value[key] is None or value[key] in ("eager", "sdpa")) and not trusted:
                raise ValueError(f"{file} asks for '{key}' from elsewhere, which is not run{remedy}")


def _weights(directory: Path) -> WeightFiles:
    whole, index = directory / WEIGHTS, directory / INDEX
    if whole.is_file():
        files = [whole]
    elif index.is_file():
        files = [directory / name for name in _shards(index)]
    else:
        raise ValueError(_without_weights(directory))
    shapes: dict[str, tuple[int, ...]] = {}
    types: dict[str, str] = {}
    for file in files:
        _read_header(file, shapes, types)
    return WeightFiles(shapes, types)


def _shards(index: Path) -> list[str]:
    named = read_json(index).get("weight_map")
    if not isinstance(named, dict) or not named or not all(isinstance(name, str) for name in named.values()):
        raise ValueError(f"{index.name} maps no weights to files")
    names = sorted(set(named.values()))
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise ValueError(f"{index.name} names the file {name!r}, which is no .safetensors file beside it")
    return names


def _without_weights(directory: Path) -> str:
    pickled = sorted(entry.name for entry in directory.iterdir() if entry.suffix in PICKLED)
    if not pickled:
        return f"it has no file {WEIGHTS}"
    return (
        f"its weights are in {pickled[0]} only, a format that can run code when it is read; "
        f"convert them to {WEIGHTS} (save_pretrained of transformers writes it)"
    )


def _read_header(file: Path, shapes: dict[str, tuple[int, ...]], types: dict[str, str]) -> None:
    if not file.is_file():
        raise ValueError(f"it has no file {file.name}")
    with file.open("rb") as opened:
        if opened.read(len(LFS_POINTER)) == LFS_POINTER:
            raise ValueError(f"{file.name} is a Git LFS pointer, not the weights; run git lfs pull")
    try:
        with safe_open(file, framework="numpy") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - it is no mapping
                tensor = tensors.get_slice(name)
                shapes[name], types[name] = tuple(tensor.get_shape()), tensor.get_dtype()
    except SafetensorError as error:
        raise ValueError(f"{file.name} is damaged or was not copied whole: {error}") from None
