"""streamlearn keeps a text classifier, or a language model, up to date from a Kafka topic of events.

Four ways through the code, from file to file. What is handed on stands on the ground: ``records.py``, ``events.py``,
``decisions/``, ``reports.py``, ``state.py``.

One event, from Kafka to the learner:

1. ``consumer/reading.py`` polls its ``Record``, has an ``Event`` made of it, and queues both in an ``Arrival``;
2. ``learner/intake.py`` takes arrivals until a ``MicroBatch`` is full;
3. ``learner/draft.py`` decides whether the event is fresh, held out, a duplicate or refused after all;
4. ``pipeline.py`` journals the ``Step`` that names its offset, and hands it, with the micro-batch, to the learner;
5. ``learner/learner.py`` has it predicted, learnt together with replayed events, and remembered.

One step, from events to θ:

1. ``learner/learner.py`` draws replayed events to go with the fresh ones, and asks the updater for a step;
2. ``updater/updater.py`` grows the experts to new labels, and leaves out what no step can be taken on;
3. ``updater/mixture.py`` has the features of the texts made once, and each expert predict and prepare by them;
4. ``updater/experts/transformer/expert.py`` leaves the gradient of the loss with its parameters, then moves θ by it;
5. ``updater/pool.py`` pools what the experts predicted, and follows the loss with their temperatures and weights.

One drift, from a loss to whoever looks on:

1. ``learner/learner.py`` hands the losses of fresh events, predicted before they were learnt, to the detectors;
2. ``learner/evaluation/drift.py`` finds where their mean has risen, and the ``StepReport`` names the event;
3. ``pipeline.py`` tells the monitor of the report;
4. ``monitor/monitor.py`` has it shown;
5. ``monitor/telemetry.py`` counts it for Prometheus, marks it for the page, and writes a line into the log.

One checkpoint, from the learner to the disk:

1. ``pipeline.py`` asks, after each step, whether one is due, and has the learner copied;
2. ``capture.py`` takes the learner's ``State`` between two steps;
3. ``publisher/publisher.py`` waits, on a thread of its own, until Kafka has the dead letters from before it;
4. ``checkpointing/checkpoints.py`` makes files of the state;
5. ``storage/store.py`` lists them in a manifest and renames their directory, once all are there, behind the fence.

Then ``publisher/publisher.py`` has its positions committed and, where a snapshot is due, publishes it.

Without Kafka the same learner is a library: :class:`~streamlearn.online.OnlineClassifier`. What a learner has published
is used with :func:`~streamlearn.serving.loading.load`, and a language model with
:func:`~streamlearn.serving.language.load_language_model`. Its transformer alone is for transformers' Auto classes,
which know a head over the mean of the states once ``MeanPooledForSequenceClassification`` has been imported from here.
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
    """Load what is a library once it is asked for: torch takes seconds."""
    if name in _LIBRARY:
        return pkgutil.resolve_name(_LIBRARY[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
