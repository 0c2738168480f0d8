"""The learning rate of each step: linear warm-up, then half a cosine."""

from __future__ import annotations

import math

import torch

from videomamba.training.optim import Rates
from videomamba.training.settings import Optimisation


def rate(step: int, *, steps_per_epoch: int, settings: Optimisation, rates: Rates) -> float:
    """The rate of 0-based `step`, of a layer whose scale is 1.

    The W warm-up steps run from `rates.warmup` to `rates.peak`, both included (a single one has the former). Then comes
    minimum + (peak - minimum) / 2 * (1 + cos(pi (step - W) / (total - W))), which reaches the minimum after the last step
    and stays there. The end of the run cuts off a longer warm-up.
    """
    warmup = round(settings.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return rates.warmup + (rates.peak - rates.warmup) * (step / (warmup - 1) if warmup > 1 else 0.0)
    total = settings.epochs * steps_per_epoch
    progress = min((step - warmup) / (total - warmup), 1.0) if total > warmup else 1.0
    return rates.minimum + 0.5 * (rates.peak - rates.minimum) * (1 + math.cos(math.pi * progress))


def apply(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Gives each group of `optim.parameter_groups` its share of `rate`."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_scale"]
