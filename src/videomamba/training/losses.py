"""Losses of one value per sample, in fp32, so that batches of unequal size can be averaged over their samples."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def classification_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy (n,) of logits (n, classes) with soft targets (n, classes) that sum to 1; n may be 0."""
    _check(logits.ndim == 2 and targets.shape == logits.shape, "both must be (n, classes)", logits, targets)
    return F.cross_entropy(logits.float(), targets.float(), reduction="none")


def regression_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Squared error (n,) of outputs (n, 1) against targets (n,); n may be 0."""
    fits = targets.ndim == 1 and outputs.shape == (*targets.shape, 1)
    _check(fits, "outputs must be (n, 1), targets (n,)", outputs, targets)
    return (outputs.float().squeeze(1) - targets.float()).square()


def supervised_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """The loss (n,) of outputs (n, classes) with soft targets (n, classes), or (n, 1) with numbers (n,); n may be 0."""
    return regression_loss(outputs, targets) if targets.ndim == 1 else classification_loss(outputs, targets)


def alignment_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """The mean (n,) over tokens of 2 - 2 cos(student, teacher): the squared distance of unit vectors; n may be 0.

    Both are (n, v, c), or (k, n, v, c) for k layers, which count alike, and of any length: only directions matter. In fp32.
    Source: arXiv 2403.06977, section 3.3.
    """
    fits = student.ndim in (3, 4) and student.shape == teacher.shape
    _check(fits, "both must be (n, v, c) or (k, n, v, c)", student, teacher)
    cosine = (F.normalize(student.float(), dim=-1) * F.normalize(teacher.float(), dim=-1)).sum(dim=-1)
    loss = (2 - 2 * cosine).mean(dim=-1)
    return loss.mean(dim=0) if loss.ndim == 2 else loss


def _check(condition: bool, message: str, outputs: Tensor, targets: Tensor) -> None:
    # Otherwise (n, 1) against (n,) would broadcast to (n, n) and train on nonsense.
    if not condition:
        raise ValueError(f"{message}; got {tuple(outputs.shape)} and {tuple(targets.shape)}")
