"""Integrated gradients, by Captum (extra `explain`). Source: Sundararajan, Taly, Yan, arXiv 1703.01365."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from videomamba.schema import VideoMambaError

try:
    from captum.attr import IntegratedGradients
except ModuleNotFoundError as error:
    raise VideoMambaError("integrated gradients need Captum; pip install 'videomamba[explain]'") from error

POINTS = 32
"""Clips between the empty one and the clip, at the points of Gauss and Legendre, where the gradient is taken."""
_AT_ONCE = 4  # of them in one pass


def integrated_gradients(logits: Callable[[Tensor], Tensor], video: Tensor, empty: Tensor, target: int) -> Tensor:
    """What each value of `video` (1, 3, t, h, w) adds to logit `target`, of the same shape; `logits` is (b, classes).

    It is the difference to `empty`, of the same shape, times the mean gradient on the straight line from there. The sum is
    the difference of the two logits, up to the error of the integration.
    """
    # Captum would warn about an input without a gradient.
    start = video.detach().clone().requires_grad_()
    found = IntegratedGradients(logits).attribute(
        start, baselines=empty, target=target, n_steps=POINTS, internal_batch_size=_AT_ONCE
    )
    assert isinstance(found, Tensor)
    return found.detach()
