"""Whatever is done to a good model directory, it loads, or is one sentence with exit code 2."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamlearn.commands.check import looks
from streamlearn.config import load
from streamlearn.errors import ConfigurationError

LONGEST_SENTENCE = 1000
FILES = ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"]
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, 1, 7, 10**6, 10**9, 10**12, 10**30, 0.5, -0.1, 1e308, float("inf"), float("nan")]),
    st.sampled_from(["", "x", "auto", "../x", "float16", "gelu", "\x1b[31m", "LABEL_0"]),
    st.sampled_from(
        [[], {}, [1, 2], ["a"], {"a": 1}, {"0": "a", "1": "b"}, [[[[]]]], {"a": {"auto_map": {"b": "c.D"}}}]
    ),
)
UNKNOWN = st.sampled_from(
    (  # noqa: SIM905 - easier to read than a list
        "auto_map quantization_config num_labels id2label label2id torch_dtype dtype problem_type return_dict "
        "_attn_implementation transformers_weights is_decoder add_cross_attention per_layer_config tokenizer_class "
        "architectures pruned_heads output_hidden_states tie_word_embeddings"
    ).split()
)


def paths(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return where everything stands in `tree`."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [found for key, value in items for found in [(*path, key), *paths(value, (*path, key))]]


def edited(draw: Any, text: bytes) -> bytes:
    """Put an odd value somewhere into the JSON in `text`, or take one away."""
    tree = json.loads(text)
    *above, key = draw(st.sampled_from(paths(tree))) if draw(st.booleans()) else (draw(UNKNOWN),)
    node = tree
    for step in above:
        node = node[step]
    if isinstance(node, dict) and key in node and draw(st.booleans()):
        del node[key]
    else:
        node[key] = draw(ODD)
    return json.dumps(tree).encode()


def header_edited(draw: Any, data: bytes) -> bytes:
    """Let the header of a safetensors file lie about one tensor, or about its own length."""
    length = int.from_bytes(data[:8], "little")
    if draw(st.booleans()):
        return draw(st.sampled_from([0, length - 1, length + 1, 10**8, 2**63])).to_bytes(8, "little") + data[8:]
    header = json.loads(data[8 : 8 + length])
    name = draw(st.sampled_from(sorted(set(header) - {"__metadata__"})))
    lies = {
        "shape": [[10**9, 10**9], [], [1, 2, 3], None],
        "dtype": ["I32", "U8", "F64", "no"],
        "data_offsets": [[0, 9**9]],
    }
    field = draw(st.sampled_from(sorted(lies)))
    header[name][field] = draw(st.sampled_from(lies[field]))
    told = json.dumps(header).encode()
    return len(told).to_bytes(8, "little") + told + data[8 + length :]


@contextmanager
def mutated(good: Path, draw: Any) -> Iterator[Path]:
    """Give a copy of `good` to which one or two things were done."""
    with TemporaryDirectory() as directory:
        model = shutil.copytree(good, Path(directory) / "model")
        for _ in range(draw(st.integers(1, 2))):
            with suppress(OSError, ValueError, LookupError, TypeError, RecursionError):  # not JSON now
                mutate(draw, model)
        yield model


def mutate(draw: Any, model: Path) -> None:
    """Do one thing to one file of `model`."""
    file = model / draw(st.sampled_from(FILES))
    if not file.is_file():
        return
    data, way = file.read_bytes(), draw(st.sampled_from(["edit"] * 5 + ["drop", "cut", "flip", "swap", "odd"]))
    if way == "edit":
        file.write_bytes(edited(draw, data) if file.suffix == ".json" else header_edited(draw, data))
    elif way == "cut":
        file.write_bytes(data[: draw(st.integers(0, len(data)))])
    elif way == "flip":
        flipped = bytearray(data)
        flipped[draw(st.integers(0, min(4000, len(data) - 1)))] ^= 1 << draw(st.integers(0, 7))
        file.write_bytes(bytes(flipped))
    elif way == "swap":
        shutil.copyfile(file.parent / draw(st.sampled_from(FILES)), model / "other")
        (model / "other").replace(file)
    else:
        file.unlink()
        if way == "odd":
            make = [
                file.mkdir,
                lambda: os.mkfifo(file),
                lambda: file.symlink_to("/dev/zero"),
                lambda: file.symlink_to(file),
            ]
            make += [lambda: file.write_bytes(b"[" * 50_000), lambda: file.write_bytes(b""), lambda: None]
            draw(st.sampled_from(make))()


def looked_at(model: Path) -> str:
    """Return what ``check`` says of `model`, where it loads or is refused with exit code 2; fail where it does else."""
    (look,) = [look for look in looks() if look.subject == "model"]
    config = load(overrides=[f"updater.model={model}", "updater.max_tokens=32"])
    try:
        found = look.at(config)
    except ConfigurationError as error:
        found = f"refused: {error}"
    assert found.startswith((str(model), "refused: updater."))
    assert "\n" not in found
    assert len(found) < LONGEST_SENTENCE + 2 * len(str(model))
    return found


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_a_mutated_model_loads_or_is_one_sentence(tiny_model: Path, data: st.DataObject) -> None:
    with mutated(tiny_model, data.draw) as model:
        looked_at(model)
