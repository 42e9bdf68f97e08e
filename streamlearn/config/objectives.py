"""What the objective means for the other settings: other defaults, and what would have no effect and is refused."""

from __future__ import annotations

from typing import Any

OF_A_LANGUAGE_MODEL: dict[str, Any] = {
    "model": "HuggingFaceTB/SmolLM2-135M",
    "max_tokens": 512,
    "trains": "lora",  # nearly as good as all, in checkpoints a fiftieth as large: benchmarks/results/adapters.json
    "replay_ratio": 0.05,  # what keeps most of what was known at little cost: Ibrahim et al. (2024), arXiv:2403.08763
}
"""Defaults of the section ``updater`` that are others where a language model learns."""

OF_CLASSIFICATION = (
    ("events", "labels"),
    ("events", "max_labels"),
    ("updater", "experts"),
    ("updater", "pooling"),
    ("updater", "head_learning_rate"),
    ("publisher", "snapshots", "min_validation_accuracy"),
)
OF_LANGUAGE_MODELS = (
    ("updater", "annealing_steps"),
    ("publisher", "snapshots", "max_validation_bits_per_byte"),
)


def with_defaults_of_its_objective(updater: Any) -> Any:
    """Return the section `updater`, as it was given, with the defaults that are others for its objective."""
    if isinstance(updater, dict) and updater.get("objective") == "language_model":
        return OF_A_LANGUAGE_MODEL | updater
    return updater


def refuse_what_is_of_the_other(config: Any) -> None:
    """Raise ValueError where `config`, the whole tree, sets what its objective has no use for."""
    if config.updater.objective == "classification":
        idle = _set(config, OF_LANGUAGE_MODELS)
        if idle:
            raise ValueError(f"{', '.join(idle)} is for updater.objective: language_model only; leave it out")
        return
    idle = _set(config, OF_CLASSIFICATION)
    if config.updater.regularizer == "der":
        raise ValueError(
            "updater.regularizer is der, which keeps what was said of each text; of a language model that is a "
            "probability of each of its words at each place, which is too much to keep: take lwf, ewc or l2_sp"
        )
    if config.buffer.policy == "class_balanced":
        idle.append("buffer.policy: class_balanced")
    if idle:
        raise ValueError(f"with updater.objective: language_model there is no use for {', '.join(idle)}; leave it out")


def _set(config: Any, paths: tuple[tuple[str, ...], ...]) -> list[str]:
    """Return those of `paths` whose values are not the defaults."""
    found = []
    for path in paths:
        section = config
        for name in path[:-1]:
            section = getattr(section, name)
        if getattr(section, path[-1]) != type(section).model_fields[path[-1]].default:
            found.append(".".join(path))
    return found
