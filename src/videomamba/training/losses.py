"""Losses of one value per sample, in fp32, so that batches of unequal size can be averaged over their samples."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from videomamba.training.settings import Distance


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


def alignment_loss(student: Tensor, teacher: Tensor, distance: Distance = "l2") -> Tensor:
    """(n,): the mean `distance` of a student's features (n, l, c), or (k, n, l, c) of k layers, to a teacher's of equal shape.

    Both are scaled to unit length per token. Source: the paper's self-distillation and masked modeling.
    """
    fits = student.shape == teacher.shape and student.ndim in (3, 4)
    _check(fits, "both must be (n, l, c) or (k, n, l, c)", student, teacher)
    ours, theirs = F.normalize(student.float(), dim=-1), F.normalize(teacher.float(), dim=-1)
    if distance == "l2":
        each = 2 - 2 * (ours * theirs).sum(dim=-1)
    else:
        loss = F.mse_loss if distance == "mse" else F.smooth_l1_loss
        each = loss(ours, theirs, reduction="none").mean(dim=-1)
    return each.mean(dim=-1) if student.ndim == 3 else each.mean(dim=(0, -1))


def _check(condition: bool, message: str, outputs: Tensor, targets: Tensor) -> None:
    # Otherwise (n, 1) against (n,) would broadcast to (n, n) and train on nonsense.
    if not condition:
        raise ValueError(f"{message}; got {tuple(outputs.shape)} and {tuple(targets.shape)}")
