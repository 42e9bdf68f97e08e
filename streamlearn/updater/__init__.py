"""How θ moves: model and labels, batches, objective L + λR, optimiser and step."""

from streamlearn.updater.updater import Updater

__all__ = ["Updater"]
