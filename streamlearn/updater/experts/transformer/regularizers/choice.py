"""Chooses the configured regulariser. To add one, write its file and name it here and in the configuration."""

from __future__ import annotations

from streamlearn.config import Updater
from streamlearn.updater.experts.transformer.backbone import Backbone
from streamlearn.updater.experts.transformer.regularizers.der import DarkExperience
from streamlearn.updater.experts.transformer.regularizers.ewc import OnlineEWC
from streamlearn.updater.experts.transformer.regularizers.l2 import L2
from streamlearn.updater.experts.transformer.regularizers.l2_sp import L2SP
from streamlearn.updater.experts.transformer.regularizers.lwf import LearningWithoutForgetting
from streamlearn.updater.experts.transformer.regularizers.regularizer import Regularizer


def make_regularizer(config: Updater, backbone: Backbone) -> Regularizer | None:
    """Return the regulariser that `config` names, or None.

    The model of `backbone` must be as loaded, with the parameters that train already selected.
    """
    model, given = backbone.model, config.regularization
    match config.regularizer:
        case "l2":
            return L2(given or L2.default, model)
        case "l2_sp":
            return L2SP(given or L2SP.default, model)
        case "ewc":
            return OnlineEWC(given or OnlineEWC.default, model)
        case "lwf":
            return LearningWithoutForgetting(given or LearningWithoutForgetting.default, backbone)
        case "der":
            return DarkExperience(given or DarkExperience.default)
        case "none":
            return None
