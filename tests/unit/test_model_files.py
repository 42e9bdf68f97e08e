"""A model directory may come from a stranger: nothing in it runs, blocks or floods; it loads, or is one sentence."""

from __future__ import annotations

import builtins
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from streamlearn.commands.predict import predict
from streamlearn.config import load
from streamlearn.errors import ConfigurationError, StateError
from streamlearn.events import Reason
from streamlearn.updater import Updater
from streamlearn.updater.experts.transformer import tokenizer as tokenizer_module
from tests.unit.builders import make_event

Model = Callable[..., Path]
WEIGHTS = "model.safetensors"


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    """A directory of its own with the tiny model."""
    return shutil.copytree(tiny_model, tmp_path / "model")


def start(model: Path, *overrides: str) -> Updater:
    return Updater(load(overrides=[f"updater.model={model}", *overrides]))


def edit(file: Path, **changed: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_bytes()) | changed))


def rewrite(model: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    save_file(change(load_file(model / WEIGHTS)), model / WEIGHTS, metadata={"format": "pt"})


def hostile(model: Path, file: str = "config.json") -> Path:
    """Let `model` bring code that leaves a mark, and return the mark."""
    mark = model / "was-run"
    (model / "code.py").write_text(f"import pathlib; pathlib.Path({str(mark)!r}).touch()\nclass Any: ...\n")
    names = ("AutoConfig", "AutoModelForSequenceClassification")
    edit(model / file, auto_map=dict.fromkeys(names, "code.Any") | {"AutoTokenizer": ["code.Any", None]})
    edit(model / "config.json", model_type="their-own")
    return mark


def refuse_to_answer(*_: object) -> str:
    raise AssertionError("something asks on standard input")


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_of_a_model_directory_is_never_run_nor_asked_about(
    model: Path, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = hostile(model, file)
    monkeypatch.setattr(builtins, "input", refuse_to_answer)
    with pytest.raises(ConfigurationError, match=r"asks for code of its own \('auto_map'\).*trust_remote_code"):
        start(model)
    with pytest.raises(StateError, match=r"asks for code of its own \('auto_map'\), which is not run$"):
        list(predict(model, ["late again"]))  # and nothing can let it run here
    assert not mark.exists()


def test_a_first_line_of_standard_input_is_a_text_and_no_permission(model: Path) -> None:
    mark = hostile(model)
    command = [sys.executable, "-m", "streamlearn", "predict", "--snapshot", str(model)]
    done = subprocess.run(command, input="y\nlate again\n", capture_output=True, text=True, timeout=120, check=False)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 4
    assert line.startswith("streamlearn: the snapshot ")
    assert not mark.exists()


def test_code_may_run_only_where_the_file_says_so(tmp_path: Path) -> None:
    for source in (
        {"overrides": ["updater.trust_remote_code=true"]},
        {"overrides": ["updater={trust_remote_code: true}"]},
    ):
        with pytest.raises(ConfigurationError, match="can be set in the configuration file only"):
            load(**source)
    with pytest.raises(ConfigurationError, match="can be set in the configuration file only"):
        load(environment={"STREAMLEARN_UPDATER__TRUST_REMOTE_CODE": "true"})
    file = tmp_path / "streamlearn.yaml"
    file.write_text("updater: {trust_remote_code: true}")
    config = load(file)
    assert config.updater.trust_remote_code
    assert config.digest() == load().digest()


def test_code_that_may_run_does_and_the_log_says_so(
    model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mark = hostile(model)
    file = tmp_path / "streamlearn.yaml"
    file.write_text(json.dumps({"updater": {"trust_remote_code": True, "model": str(model)}}))
    with pytest.raises(ConfigurationError):
        Updater(load(file))  # their class is no model
    assert mark.exists()
    assert "code that comes with" in caplog.text


def pickled(model: Path) -> None:
    torch.save(load_file(model / WEIGHTS), model / "pytorch_model.bin")
    (model / WEIGHTS).unlink()


def pointer(model: Path) -> None:
    (model / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 90868376\n")


def truncated(model: Path) -> None:
    os.truncate(model / WEIGHTS, 20_000)


def growing(model: Path) -> None:
    """Have each letter a replaced by a thousand of them, and so on four times."""
    file = model / "tokenizer.json"
    tokenizer = json.loads(file.read_bytes())
    longer = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 1000}
    tokenizer["normalizer"] = {"type": "Sequence", "normalizers": [longer] * 4}
    file.write_text(json.dumps(tokenizer))


def fifo(model: Path) -> None:
    (model / "tokenizer.json").unlink()
    os.mkfifo(model / "tokenizer.json")


def endless(model: Path) -> None:
    (model / "config.json").unlink()
    (model / "config.json").symlink_to("/dev/zero")


def huge(model: Path) -> None:
    with (model / "config.json").open("ab") as file:
        file.truncate(2**40)


def elsewhere(model: Path) -> None:
    (model / WEIGHTS).unlink()
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": "../other.safetensors"}}))


def not_finite(model: Path) -> None:
    rewrite(model, lambda weights: weights | {"bert.pooler.dense.bias": torch.full((32,), float("nan"))})


def integers(model: Path) -> None:
    rewrite(model, lambda weights: weights | {"bert.pooler.dense.bias": torch.zeros(32, dtype=torch.int8)})


def without_a_layer(model: Path) -> None:
    rewrite(model, lambda weights: {name: value for name, value in weights.items() if "layer.1." not in name})


def without_tokenizer(model: Path) -> None:
    (model / "tokenizer.json").unlink()
    (model / "tokenizer_config.json").unlink()


def config(**changed: Any) -> Callable[[Path], None]:
    return lambda model: edit(model / "config.json", **changed)


HOSTILE: list[tuple[Callable[[Path], None], str]] = [
    (pickled, r"pytorch_model.bin only, a format that can run code .* convert them to model.safetensors"),
    (pointer, "Git LFS pointer"),
    (truncated, "model.safetensors is damaged or was not copied whole"),
    (fifo, "tokenizer.json is not a regular file"),
    (growing, "replacements in tokenizer.json can make a text more than 64 times as long"),
    (endless, "config.json is not a regular file"),
    (huge, "config.json has 1,048,576 MiB"),
    (elsewhere, "names the file '../other.safetensors'"),
    (not_finite, "bert.pooler.dense.bias holds values that are not finite"),
    (integers, "bert.pooler.dense.bias is of type I8"),
    (without_a_layer, "16 weights of its body are not in the file .* first: bert.encoder.layer.1."),
    (without_tokenizer, "its tokenizer knows no word"),
    (lambda model: (model / "config.json").write_text("[" * 100_000) and None, "config.json is not valid JSON"),
    (lambda model: (model / "config.json").write_text("[1]") and None, "config.json holds a list"),
    (lambda model: (model / "tokenizer.json").write_text("{") and None, "cannot load the tokenizer"),
    (config(hidden_size=10**9), "config.json describes a model that is larger than its weights"),
    (config(num_hidden_layers=10**6), "config.json describes a model that is larger than its weights"),
    (config(vocab_size=10**12), "config.json describes a model that is larger than its weights"),
    (config(max_position_embeddings=10**12), "config.json describes a model that is larger than its weights"),
    (config(num_labels=10**9), "config.json does not describe a model .* 'num_labels' is 1,000,000,000"),
    (
        config(text_config={"layers": [10**12]}),
        "config.json does not describe a model .* 'layers' is 1,000,000,000,000",
    ),
    (config(hidden_size=64), "weights of its body are not in the file or have another shape"),
    (config(id2label=["a"]), "updater.model: cannot load"),
    (config(num_labels="x"), "updater.model: cannot load"),
    (config(model_type="no-such"), "no-such"),
    (config(hidden_act="no-such"), "no-such"),
    (config(quantization_config={"quant_method": "awq"}), "quantization_config"),
    (config(custom_pipelines={"text-classification": {"impl": "code.Any"}}), "custom_pipelines"),
    (config(attn_implementation="someone/kernel"), "attn_implementation"),
    (config(transformers_weights="other.bin"), "transformers_weights"),
]


@pytest.mark.parametrize(("damage", "sentence"), HOSTILE)
def test_a_damaged_or_hostile_model_is_one_sentence(
    model: Path, damage: Callable[[Path], None], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builtins, "input", refuse_to_answer)
    damage(model)
    with pytest.raises(ConfigurationError, match=sentence) as caught:
        start(model)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("updater.model")


def test_what_is_no_directory_is_sought_at_the_hub_and_the_sentence_says_both() -> None:
    with pytest.raises(ConfigurationError, match="it is neither a local directory nor a model of the hub: Repo id"):
        start(Path("no such/model/here"))


def test_a_text_at_which_the_tokenizer_panics_is_refused_alone(model: Path) -> None:
    exponential = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
    edit(
        model / "tokenizer.json",
        pre_tokenizer={"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}, exponential]},
    )
    events = [make_event(0, text="late again"), make_event(1, text="a" * 40 + "b"), make_event(2, text="refund")]
    encoded, refused = start(model).encode_each(events)
    assert sorted(encoded) == [0, 2]
    assert refused == {1: Reason.MODEL_ERROR}


@pytest.mark.parametrize("name", ["hidden_dropout_prob", "classifier_dropout"])
def test_a_rate_of_dropout_among_the_overrides_is_refused_with_the_setting_that_decides_it(
    tiny_model: Path, name: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"updater.model_overrides: '{name}' is decided by updater.dropout"):
        start(tiny_model, f"updater.model_overrides={{{name}: 0.1}}")


@pytest.mark.parametrize(
    "damage",
    [
        pickled,
        truncated,
        fifo,
        not_finite,
        without_a_layer,
        config(vocab_size=10**12),
        config(num_labels=10**9),
        config(id2label={"5": "a", "9": "b"}),
        config(id2label={"0": ["a"], "1": None}),
    ],
)
def test_a_damaged_snapshot_is_one_sentence_and_exit_code_4(model: Path, damage: Callable[[Path], None]) -> None:
    damage(model)
    with pytest.raises(StateError, match=r"the snapshot .* cannot be loaded: ") as caught:
        list(predict(model, ["late again"]))
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 4


def test_a_pooler_that_the_file_lacks_is_new_and_the_log_says_so(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    rewrite(model, lambda weights: {name: value for name, value in weights.items() if "pooler" not in name})
    with caplog.at_level("INFO"):
        start(model, "updater.pooling=native")
    assert "updater.model: the pooler is new" in caplog.text


def test_a_cut_of_a_model_needs_not_all_that_is_in_the_file(model: Path) -> None:
    learner = start(model, "updater.model_overrides={num_hidden_layers: 1}")
    assert not [name for name in learner.transformer.weights() if "layer.1." in name]


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("num_hiden_layers: 1", "has no setting 'num_hiden_layers'; did you mean 'num_hidden_layers'?"),
        ("problem_type: regression", "'problem_type'"),
        ("id2label: {0: a}", "'id2label'"),
        ("torch_dtype: float16", "'torch_dtype'"),
        ("trust_remote_code: true", "'trust_remote_code'"),
        ("quantization_config: {}", "'quantization_config'"),
        ("hidden_size: many", "hidden_size"),
    ],
)
def test_an_override_that_the_model_does_not_have_or_that_is_not_the_users_is_refused(
    model: Path, override: str, sentence: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        start(model, f"updater.model_overrides={{{override}}}")
    assert sentence in str(caught.value)


def test_a_sentencepiece_file_names_the_packages_that_it_needs(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (model / "tokenizer.json").unlink()
    (model / "spiece.model").write_bytes(b"\x0a\x0e\x0a\x05<unk>")
    monkeypatch.setattr(tokenizer_module, "find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match=r"\(spiece.model\).* run: pip install sentencepiece protobuf"):
        start(model)
