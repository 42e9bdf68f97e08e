"""streamlearn keeps a text classifier, or a language model, up to date from a Kafka topic of events.

Four ways through the code, from file to file. The values passed between them are defined in ``records.py``,
``events.py``, ``decisions/``, ``reports.py`` and ``state.py``.

One event, from Kafka to the learner:

1. ``consumer/reading.py`` polls its ``Record``, decodes it into an ``Event``, and queues both in an ``Arrival``;
2. ``learner/intake.py`` takes arrivals until a ``MicroBatch`` is full;
3. ``learner/draft.py`` decides whether the event is trained on, held out, dropped as a duplicate or refused;
4. ``pipeline.py`` journals the ``Step`` that contains its offset, and passes it, with the micro-batch, to the learner;
5. ``learner/learner.py`` predicts it, learns it together with replayed events, and adds it to the replay buffer.

One step, from events to θ:

1. ``learner/learner.py`` draws replayed events to go with the fresh ones, and calls the updater to take a step;
2. ``updater/updater.py`` adds columns for new labels to the experts, and leaves out texts on which no step can be
   taken;
3. ``updater/mixture.py`` computes the features of the texts once, from which each expert predicts and prepares its
   step;
4. ``updater/experts/transformer/expert.py`` computes the gradient of the loss, then updates θ with it;
5. ``updater/pool.py`` pools the experts' predictions, and adjusts their temperatures and weights to the loss.

One drift, from a loss to the person on call:

1. ``learner/learner.py`` passes the prequential losses of fresh events to the detectors;
2. ``learner/evaluation/drift.py`` finds where their mean has risen; the ``StepReport`` names the event;
3. ``pipeline.py`` passes the report to the monitor;
4. ``monitor/monitor.py`` forwards it to what shows it;
5. ``monitor/telemetry.py`` counts it for Prometheus, marks it on the live page, and logs a line.

One checkpoint, from the learner to the disk:

1. ``pipeline.py`` checks after each step whether one is due, and if so requests a copy of the learner;
2. ``capture.py`` takes the learner's ``State`` between two steps;
3. ``publisher/publisher.py`` waits, on its own thread, until Kafka has acknowledged the dead letters from before it;
4. ``checkpointing/checkpoints.py`` writes the state to files;
5. ``storage/store.py`` lists them in a manifest and, once all are written and the fence still holds, renames their
   directory.

Then ``publisher/publisher.py`` requests a commit of its positions and, if a snapshot is due, publishes it.

Without Kafka the same learner is a library: :class:`~streamlearn.online.OnlineClassifier`. Load a published classifier
with :func:`~streamlearn.serving.loading.load`, and a language model with
:func:`~streamlearn.serving.language.load_language_model`. The transformer alone loads with transformers' Auto classes;
for a mean-pooled one, import ``MeanPooledForSequenceClassification`` from here first.
"""

from __future__ import annotations

import pkgutil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamlearn.online import OnlineClassifier as OnlineClassifier
    from streamlearn.serving.language import load_language_model as load_language_model
    from streamlearn.serving.loading import load as load
    from streamlearn.updater.experts.transformer.mean_pooled import (
        MeanPooledForSequenceClassification as MeanPooledForSequenceClassification,
    )

__version__ = "0.1.0"
__all__ = ["MeanPooledForSequenceClassification", "OnlineClassifier", "__version__", "load", "load_language_model"]

_MEAN_POOLED = "streamlearn.updater.experts.transformer.mean_pooled"
_LIBRARY = {
    "MeanPooledForSequenceClassification": f"{_MEAN_POOLED}:MeanPooledForSequenceClassification",
    "OnlineClassifier": "streamlearn.online:OnlineClassifier",
    "load": "streamlearn.serving.loading:load",
    "load_language_model": "streamlearn.serving.language:load_language_model",
}


def __getattr__(name: str) -> Any:
    """Import the library's names on first use: importing torch takes seconds."""
    if name in _LIBRARY:
        return pkgutil.resolve_name(_LIBRARY[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
