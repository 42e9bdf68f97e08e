"""How θ moves: model and labels, batches, objective L + λR, optimiser and step."""

from streamlearn.updater.updater import StepResult, Updater

__all__ = ["StepResult", "Updater"]
