"""How relevant each patch of a clip is for a class, by one of three methods.

Shapes: t frames, h, w picture; T, H, W patches along time, height and width.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from einops import reduce
from torch import Tensor

from videomamba.evaluation.faithfulness import without_content
from videomamba.models.hidden_attention import class_relevance
from videomamba.models.videomamba import VideoMamba

Method = Literal["attention", "gradient", "integrated"]
METHODS: tuple[Method, ...] = get_args(Method)


def relevance(model: VideoMamba, clip: Tensor, target: int, method: Method) -> Tensor:
    """(3, t, h, w) normalised, on the device of the model -> (T, H, W) fp32 on the CPU, for class `target`.

    - "attention": through the hidden attention of all scans, see `models.hidden_attention.class_relevance`. Never
      negative.
    - "gradient": the absolute gradient of the logit with respect to the pixels, summed over each patch (Simonyan, Vedaldi,
      Zisserman, arXiv 1312.6034). Never negative.
    - "integrated": integrated gradients from a clip without content, summed over each patch. Signed; needs Captum.

    The model must be in evaluation mode, and no other thread may call it meanwhile. Its parameters get no gradient. Raises
    VideoMambaError where Captum is needed and not installed, ValueError for another method.
    """
    video = clip[None]
    if method == "attention":
        found = class_relevance(model, video, torch.tensor([target]))[0]
    elif method == "gradient":
        found = _per_patch(_gradient(model, video, target).abs(), model.config.grid)
    elif method == "integrated":
        from videomamba.serving.explain.integrated import integrated_gradients

        empty = without_content(clip)[None]
        found = _per_patch(integrated_gradients(model, video, empty, target), model.config.grid)
    else:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    return found.float().cpu()


def _gradient(model: VideoMamba, video: Tensor, target: int) -> Tensor:
    with torch.enable_grad():
        pixels = video.detach().clone().requires_grad_()
        logit = model(pixels)[0, target]
        (gradient,) = torch.autograd.grad(logit, pixels)
    return gradient


def _per_patch(pixels: Tensor, grid: tuple[int, int, int]) -> Tensor:
    """(1, 3, t, h, w) -> (T, H, W), the sum over each patch and its colours."""
    steps, rows, columns = grid
    return reduce(pixels, "1 c (T t) (H h) (W w) -> T H W", "sum", T=steps, H=rows, W=columns)
