"""Which experts there are beside the transformer. To add one, write its file and name it here."""

from __future__ import annotations

import pkgutil

from streamlearn.config import Updater as UpdaterConfig
from streamlearn.updater.experts.expert import Expert

BESIDE_THE_TRANSFORMER: list[str] = [
    # "package.module:Class", made from the configuration and the names of the labels known from the start
]


def make_beside(config: UpdaterConfig, labels: list[str]) -> list[Expert]:
    """Return the experts beside the transformer, which know `labels` or none."""
    return [pkgutil.resolve_name(expert)(config, list(labels)) for expert in BESIDE_THE_TRANSFORMER]
