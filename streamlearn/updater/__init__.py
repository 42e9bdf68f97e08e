"""How θ moves: features, experts and their mixture, objective L + λR, and the step over all of them."""

from streamlearn.updater.updater import Updater

__all__ = ["Updater"]
