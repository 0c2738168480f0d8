"""Calibration of a head: dividing all logits by a temperature is dividing the head's parameters by it."""

from __future__ import annotations

import math

import torch
from torch import nn

from videomamba.models.videomamba import VideoMamba
from videomamba.schema import VideoMambaError


@torch.no_grad()
def scale_head(model: VideoMamba, temperature: float) -> None:
    """Divides weight and bias of the head by `temperature`, in place, so that the model answers softmax(logits / temperature).

    No answer changes, only how sure it is; weights files need no field for it. `evaluation.calibration.fit_temperature` finds
    the temperature. Raises VideoMambaError for a model without a head or a temperature that is not above 0.
    """
    if not isinstance(model.head, nn.Linear):
        raise VideoMambaError("the model has no classification head that a temperature could scale")
    if not (math.isfinite(temperature) and temperature > 0):
        raise VideoMambaError(f"temperature {temperature:g}: give a number above 0; 1 changes nothing")
    model.head.weight.div_(temperature)
    if model.head.bias is not None:
        model.head.bias.div_(temperature)
