"""How θ is updated: features, experts and their mixture, the objective L + λR, and the step over all of them."""

from streamlearn.updater.updater import Updater

__all__ = ["Updater"]
