"""How far probabilities are from being right as often as they say, and the temperature that corrects them.

Guo et al., On Calibration of Modern Neural Networks (2017), arXiv 1706.04599.

Shape letters: n samples, c classes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from videomamba.schema import VideoMambaError

_RANGE = (0.05, 20.0)  # temperatures that are tried
_PRECISION = 1e-5  # of the logarithm of the temperature
_GOLDEN = (math.sqrt(5) - 1) / 2


def expected_calibration_error(probabilities: Tensor, targets: Tensor, bins: int = 15) -> float:
    """The mean distance between confidence and accuracy, 0 to 1, over samples sorted into equal `bins` of confidence.

    `probabilities` are (n, c), `targets` (n,) class indices. Confidence is the probability of the best class; a bin counts
    as much as it has samples. Raises ValueError for shapes that do not fit, no samples or no bins.
    """
    _check(probabilities, targets)
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    confidence, answers = probabilities.double().max(dim=1)
    right = (answers == targets).double()
    # Bin i holds confidences above i / bins and up to (i + 1) / bins.
    places = ((confidence * bins).ceil().long() - 1).clamp(0, bins - 1)
    gaps = torch.zeros(bins, dtype=torch.float64).index_add_(0, places, confidence - right)
    return float(gaps.abs().sum() / len(targets))


def fit_temperature(logits: Tensor, targets: Tensor) -> float:
    """The temperature T between 0.05 and 20 for which softmax(logits / T) gives `targets` the highest likelihood.

    `logits` are (n, c), `targets` (n,) class indices, of samples that the network was not trained on. T divides all logits,
    so no answer changes. The loss is convex in 1 / T, so a search by golden section finds its minimum. Raises ValueError for
    shapes that do not fit or no samples, VideoMambaError for logits that are not finite.
    """
    _check(logits, targets)
    if not logits.isfinite().all():
        raise VideoMambaError("the temperature cannot be fitted: logits are not finite; are the weights damaged?")
    values = logits.double()

    def loss(log_temperature: float) -> float:
        return float(torch.nn.functional.cross_entropy(values / math.exp(log_temperature), targets))

    low, high = (math.log(limit) for limit in _RANGE)
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = loss(left), loss(right)
    while high - low > _PRECISION:
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = loss(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = loss(right)
    return math.exp((low + high) / 2)


def _check(scores: Tensor, targets: Tensor) -> None:
    if scores.ndim != 2 or targets.shape != scores.shape[:1] or len(targets) == 0:
        raise ValueError(
            f"scores {tuple(scores.shape)} and targets {tuple(targets.shape)} must be (n, c) and (n,), n > 0"
        )
