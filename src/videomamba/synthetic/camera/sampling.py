"""Pictures under affine maps: for each pixel of a result, where in a picture its colour comes from."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

_PIXELS = 1_000_000  # computed at a time: larger arrays would be given back to the system and be asked for again


def sampled(
    planes: torch.Tensor, affine: NDArray[np.floating[Any]], *, height: int, width: int, blur: int, border: bool
) -> torch.Tensor:
    """(t, c, h, w) float32: result i is the mean of `blur` samplings of a picture, by affine[i] of `affine` (t, blur, 2, 3).

    `planes` (1 or t, c, H, W) float32 is one picture for all results, or one for each. An affine map takes a pixel (x, y, 1)
    of the result, counted from its middle, to a place (x, y) in the picture, each from -1 to 1. Outside the picture is its
    `border`, or 0. Bilinear: make the picture smaller first where the map reduces it.
    """
    count, channels = len(affine), planes.shape[1]
    result = torch.empty((count, channels, height, width))
    maps = torch.from_numpy(np.ascontiguousarray(affine, dtype=np.float32))
    x = torch.arange(width, dtype=torch.float32) - (width - 1) / 2
    y = torch.arange(height, dtype=torch.float32) - (height - 1) / 2
    at_once = max(1, _PIXELS // (height * width * blur))
    for first in range(0, count, at_once):
        some = maps[first : first + at_once, :, :, :, None]  # (t, blur, 2, 3, 1)
        grid = torch.empty((len(some), blur, height, width, 2))
        for axis in range(2):
            across = some[:, :, axis, 0] * x  # (t, blur, w)
            down = some[:, :, axis, 1] * y + some[:, :, axis, 2]  # (t, blur, h)
            torch.add(across[:, :, None], down[:, :, :, None], out=grid[..., axis])
        own = planes if len(planes) == 1 else planes[first : first + at_once]
        mode = "border" if border else "zeros"
        found = F.grid_sample(own, grid.reshape(len(own), -1, width, 2), padding_mode=mode, align_corners=False)
        every = found.reshape(len(own), channels, -1, blur, height, width)
        mean = every.mean(3) if blur > 1 else every[:, :, :, 0]  # (1 or t, c, t or 1, h, w)
        result[first : first + at_once] = mean[0].transpose(0, 1) if len(planes) == 1 else mean[:, :, 0]
    return result
