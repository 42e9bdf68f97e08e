"""The section ``updater``: how θ moves."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from streamlearn.config.bounds import Experts, NotNegative, Positive, Section, Seed, Text, Trained, Unit, Wait
from streamlearn.config.objectives import with_defaults_of_its_objective
from streamlearn.config.passed_through import check_overrides


class Updater(Section):
    """How θ moves."""

    objective: Literal["classification", "language_model"] = "classification"
    """What is learnt: the label of each event, or each token of its text from those before it. The second needs no
    labels, and ``model`` (SmolLM2-135M), ``max_tokens`` (512), ``trains`` (lora) and ``replay_ratio`` (0.05) have other
    defaults with it."""
    model: Text = "sentence-transformers/all-MiniLM-L6-v2"
    """The transformer to start from, by hub name or as a directory; or a snapshot's directory, from whose whole mixture
    a learner without state continues. Larger ones know more before the first event, and cost more per step."""
    model_overrides: dict[str, Any] = Field(default_factory=dict)
    """Properties of the model's own configuration to override, such as ``num_hidden_layers``."""
    trust_remote_code: bool = False
    """Whether code that comes with a model may run. It can be set in the file only."""
    device: Text = "auto"
    """Where the model runs: ``cpu``, ``cuda``, ``cuda:1`` and so on; ``auto`` is CUDA if there is a GPU."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """What the forward pass computes in; the weights stay in 32 bits. ``bf16`` is faster on devices that have it;
    ``auto`` uses it on CUDA only."""
    threads: Annotated[int, Unit("threads"), Field(ge=1, le=1024)] | None = None  # more than any machine has cores for
    """How many threads torch computes with; ``null`` leaves it to torch. The same bits require the same number."""
    seed: Seed = 0
    """The seed of all random draws."""
    experts: Experts = "tuned"
    """Which experts learn: a tier, ``tokens`` (no forward pass), ``frozen`` (a forward pass) or ``tuned`` (the
    transformer trains), each with the ones before it, or a list of experts by name. It trades accuracy for events a
    second."""
    pooling: Literal["mean", "native"] = "mean"
    """What the transformer's head reads: the mean of the tokens' states, or what the model's own head reads. With
    ``native`` plain transformers loads a snapshot without streamlearn."""
    trains: Trained = "last-3"
    """What of the transformer trains besides its head: ``last-N`` layers, ``all``, ``lora`` (low-rank adapters),
    ``bias`` or ``head`` (nothing else). The layers below those that train run once per text. The more trains, the
    better the model adapts, and the slower steps and the larger checkpoints are."""
    lora_rank: int = Field(default=8, ge=1, le=2**12)
    """The rank of the adapters if ``trains`` is ``lora``. A higher one can learn more, and makes checkpoints larger."""
    lora_targets: list[Text] = Field(default_factory=list)
    """The linear layers that get adapters, by the ends of their names, such as ``[query, value]``; if none is named,
    all of them."""
    embeddings: Literal["dense", "frozen", "sparse"] = "dense"
    """How the embeddings of tokens train: ``dense`` updates and decays the whole table, ``sparse`` the rows of the
    tokens that occurred, ``frozen`` none. ``sparse`` is much cheaper with large vocabularies."""
    max_tokens: Annotated[int, Unit("tokens")] = Field(default=128, ge=1, le=2**20)
    """Where a text is cut; a language model learns the rest as further texts. A higher limit reads more of long texts,
    and costs time and memory for them."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """The share of activations that is dropped while the transformer trains. More keeps it from learning single texts
    by heart, and slows learning."""
    micro_batch: Annotated[int, Unit("events")] = Field(default=4, ge=1, le=2**16)
    """How many fresh events make a step. More are faster per event; fewer follow a change sooner."""
    replay_ratio: Annotated[float, Unit("replayed for each fresh event")] = Field(default=1.0, ge=0.0, le=1000.0)
    """How many past events the transformer learns again with each fresh one. More forget less and are slower; 0 is
    none."""
    max_wait_seconds: Wait = 2.0
    """How long an event waits for others before a step is taken with fewer. A shorter wait learns sooner on a quiet
    topic, in smaller steps."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """How the gradient moves the transformer. ``sgd`` keeps no moments: less memory and smaller checkpoints, and it
    needs a learning rate of its own."""
    learning_rate: Positive = 1e-4
    """How far a step moves the transformer's layers; adapters or biases that train alone move ten times as far. A
    higher rate follows faster, forgets more and can diverge."""
    head_learning_rate: Positive | None = None
    """How far a step moves the head; ``null`` is ten times ``learning_rate``, because the head starts untrained."""
    warmup_steps: Annotated[int, Unit("steps")] = Field(default=20, ge=0, le=10**9)
    """Over how many first steps the rate rises from zero. Fewer learn sooner, with moments that are still noisy."""
    decay: Literal["constant", "inverse_sqrt"] = "constant"
    """What the rate does after that. A stream that changes needs a ``constant`` rate; ``inverse_sqrt`` settles down on
    one that does not."""
    annealing_steps: Annotated[int, Unit("steps")] = Field(default=0, ge=0, le=1000)
    """How many further steps, on replayed texts and with a rate that falls to zero, the copy of a language model takes
    that ``run`` publishes; it is published as it was where the validation set does not gain. Learning waits
    meanwhile, and so does a learner that was told to stop."""
    weight_decay: NotNegative = 0.01
    """How much the weights shrink: AdamW's decoupled decay, or λ of ½‖θ‖² with SGD."""
    clip_norm: NotNegative = 1.0
    """The norm to which a larger gradient is cut; 0 never cuts. A lower norm tolerates outliers, and slows learning."""
    regularizer: Literal["none", "l2", "l2_sp", "ewc", "lwf", "der"] = "none"
    """R of θ_t = θ_{t−1} − η∇(L + λR), which keeps a step from forgetting what is known. Each costs time, and each but
    ``l2`` memory."""
    regularization: Annotated[float, Field(gt=0.0, le=10**9)] | None = None
    """λ, how strong the regularizer is; ``null`` is its own default. A stronger one keeps more, and learns less."""

    @model_validator(mode="before")
    @classmethod
    def _defaults_are_those_of_the_objective(cls, section: Any) -> Any:
        return with_defaults_of_its_objective(section)

    @field_validator("model_overrides")
    @classmethod
    def _overrides_are_a_models_own(cls, overrides: dict[str, Any]) -> dict[str, Any]:
        check_overrides(overrides)
        return overrides

    @model_validator(mode="after")
    def _strength_is_of_something(self) -> Updater:
        if self.regularizer == "none" and self.regularization is not None:
            raise ValueError("regularization is how strong a regularizer is, and none is named")
        return self
