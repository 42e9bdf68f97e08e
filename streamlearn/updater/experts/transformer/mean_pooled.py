"""A classifier over the mean of a text's states, for models whose own head reads an untrained state.

The head of BERT-like models reads the first token ([CLS]) through a pooler, which models trained to embed texts have
never used: their embedding is the mean over all tokens (Reimers and Gurevych, 2019, "Sentence-BERT").

Importing this module registers the class with transformers' Auto classes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import SequenceClassifierOutput

READ_THE_FIRST_TOKEN = frozenset(
    {"albert", "bert", "camembert", "convbert", "deberta", "deberta-v2", "distilbert", "electra", "ernie", "mpnet"}
    | {"nystromformer", "rembert", "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl"}
)
"""The types of models whose own classifier does that."""


class MeanPooledConfig(PretrainedConfig):
    """The configuration of the model below the head, under ``body``, and the labels."""

    model_type = "streamlearn_mean_pooled"

    def __init__(self, body: dict[str, Any] | None = None, **settings: Any) -> None:
        self.body = {key: value for key, value in (body or {}).items() if key != "_name_or_path"}  # machine-specific
        super().__init__(**settings)

    def body_config(self) -> PretrainedConfig:
        """Return the configuration of the model below the head."""
        settings = dict(self.body)
        found: PretrainedConfig = AutoConfig.for_model(settings.pop("model_type"), **settings)
        return found


class MeanPooledForSequenceClassification(PreTrainedModel):
    """A linear layer over the mean of the last layer's states.

    Parameters
    ----------
    config
        The model below the head, and the number of labels.
    body
        The model below the head, if it has been loaded already.

    """

    config_class = MeanPooledConfig
    base_model_prefix = "body"
    supports_gradient_checkpointing = True

    def __init__(self, config: MeanPooledConfig, body: PreTrainedModel | None = None) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.body = AutoModel.from_config(config.body_config()) if body is None else body
        if getattr(self.body, "pooler", None) is not None:
            self.body.pooler = None
        self.classifier = nn.Linear(int(self.body.config.hidden_size), int(config.num_labels or 1))
        self.post_init()  # type: ignore[no-untyped-call]  # transformers' own

    def _init_weights(self, module: nn.Module) -> None:
        if module is self.classifier:
            self.classifier.weight.data.normal_(0.0, getattr(self.body.config, "initializer_range", 0.02))
            self.classifier.bias.data.zero_()

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None, **inputs: Any
    ) -> SequenceClassifierOutput:
        """Return the logits, of shape (texts, labels), and the loss if there are `labels`."""
        states = self.body(input_ids=input_ids, attention_mask=attention_mask, **inputs).last_hidden_state
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        shares = mask.to(states.dtype).unsqueeze(-1)
        logits = self.classifier((states * shares).sum(1) / shares.sum(1).clamp(min=1.0))
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


AutoConfig.register(MeanPooledConfig.model_type, MeanPooledConfig, exist_ok=True)
AutoModelForSequenceClassification.register(MeanPooledConfig, MeanPooledForSequenceClassification, exist_ok=True)
