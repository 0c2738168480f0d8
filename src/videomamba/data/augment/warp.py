"""Rotation, shear and translation of all pictures of a clip, as Pillow's affine transform with bicubic resampling.

An output pixel whose place is outside the picture gets the fill colour; inside, the edge pixels repeat.

Shape letters: t frames, h height, w width, k input pixels per output pixel.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Colour = tuple[int, int, int]
_Axis = tuple[float, float, float]  # place = (x, y, 1) . axis

_PIXEL = np.dtype("V3")  # three bytes that NumPy moves as one, three times as fast
_PIXELS = 1 << 24  # input pixels per block of pictures: 200 MB
_PIXELS_OF_BAND = 1 << 18  # output pixels computed at a time, each with 16 weights: 40 MB


def rotate(pictures: Tensor, degrees: float, fill: Colour) -> Tensor:
    """About the centre, counter-clockwise."""
    _, h, w, _ = pictures.shape
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x_axis = cos, -sin, w / 2 - cos * w / 2 + sin * h / 2
    y_axis = sin, cos, h / 2 - sin * w / 2 - cos * h / 2
    return _affine(pictures, x_axis, y_axis, fill)


def shear_x(pictures: Tensor, factor: float, fill: Colour) -> Tensor:
    """Row y moves to the left by factor * y; the topmost row does not move."""
    return _affine(pictures, (1, factor, 0), (0, 1, 0), fill)


def shear_y(pictures: Tensor, factor: float, fill: Colour) -> Tensor:
    """Column x moves up by factor * x; the leftmost column does not move."""
    return _affine(pictures, (1, 0, 0), (factor, 1, 0), fill)


def translate_x(pictures: Tensor, share: float, fill: Colour) -> Tensor:
    """To the left by a share of the width."""
    return _affine(pictures, (1, 0, share * pictures.shape[2]), (0, 1, 0), fill)


def translate_y(pictures: Tensor, share: float, fill: Colour) -> Tensor:
    """Up by a share of the height."""
    return _affine(pictures, (1, 0, 0), (0, 1, share * pictures.shape[1]), fill)


def _affine(pictures: Tensor, x_axis: _Axis, y_axis: _Axis, fill: Colour) -> Tensor:
    """(t, h, w, 3) uint8 -> the same: output pixel (x, y) shows the place (x_axis . (x, y, 1), y_axis . (x, y, 1)).

    Every output pixel is a weighted sum of k pixels, at the same places in each picture. So each pixel becomes one row of
    3 t numbers, and the sums are an embedding bag: several times as fast as a bicubic grid_sample.
    """
    t, h, w, _ = pictures.shape
    changed = np.empty((t, h * w), _PIXEL)
    at_once, rows = max(_PIXELS // (h * w), 1), max(_PIXELS_OF_BAND // w, 1)
    for start in range(0, t, at_once):
        some = pictures[start : start + at_once]
        pixels = torch.from_numpy(_side_by_side(some.numpy())).float()
        for top in range(0, h, rows):
            y = torch.arange(top, min(top + rows, h), dtype=torch.float64).add_(0.5)[:, None]
            x = torch.arange(w, dtype=torch.float64).add_(0.5)
            place_x = (x * x_axis[0] + (y * x_axis[1] + x_axis[2])).flatten()
            place_y = (x * y_axis[0] + (y * y_axis[1] + y_axis[2])).flatten()
            taken, weights = _taps(place_x, place_y, h, w)
            sums = F.embedding_bag(taken, pixels, mode="sum", per_sample_weights=weights)
            # Truncated as in Pillow; the small addition keeps rounding errors from lowering exact values by one level.
            levels = sums.add_(1 / 256).clamp_(0, 255).numpy().astype(np.uint8)
            outside = (place_x < 0) | (place_x >= w) | (place_y < 0) | (place_y >= h)
            levels[outside.numpy()] = np.tile(np.array(fill, np.uint8), len(some))
            changed[start : start + at_once, top * w : (top + rows) * w] = levels.view(_PIXEL).T
    return torch.from_numpy(changed.view(np.uint8).reshape(pictures.shape))


def _side_by_side(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(t, h, w, 3) -> ((h + 4) (w + 4), 3 t), the edge pixels repeated twice on every side."""
    t, h, w, _ = pictures.shape
    wide = np.empty((h + 4, w + 4, t), _PIXEL)
    wide[2:-2, 2:-2] = pictures.view(_PIXEL).reshape(t, h, w).transpose(1, 2, 0)
    wide[2:-2, :2], wide[2:-2, -2:] = wide[2:-2, 2:3], wide[2:-2, -3:-2]
    wide[:2], wide[-2:] = wide[2], wide[-3]
    return wide.view(np.uint8).reshape(-1, 3 * t)


def _taps(place_x: Tensor, place_y: Tensor, h: int, w: int) -> tuple[Tensor, Tensor]:
    """The pixels around each place, as rows of `_side_by_side`, and their weights: both (h w, k), k = 1, 4 or 16."""
    column, steps_x, weights_x = _taps_along(place_x, w)
    row, steps_y, weights_y = _taps_along(place_y, h)
    steps = steps_y[:, None] * (w + 4) + steps_x
    taken = (row * (w + 4) + column)[:, None] + steps.flatten()
    weights = torch.empty(len(place_x), len(steps_y), len(steps_x))
    for j in range(len(steps_y)):
        torch.mul(weights_x, weights_y[:, j : j + 1], out=weights[:, j])
    return taken, weights.flatten(1)


def _taps_along(place: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """The pixel before each place (h w,), the steps from there to the k input pixels (k,), their weights (h w, k).

    k = 1 if all places are centres of pixels, else 4. Pillow's cubic has slope -1; others use -1/2 or -3/4.
    """
    place = place - 0.5
    before = place.floor()
    d = (place - before).float()
    before = before.clamp_(-1, size - 1).int().add_(2)  # clamped: pixels outside are filled later
    if not d.any():
        return before, torch.tensor([0], dtype=torch.int32), torch.ones(len(d), 1)
    d2 = d * d
    d3 = d2 * d
    weights = torch.stack([2 * d2 - d - d3, 1 - 2 * d2 + d3, d + d2 - d3, d3 - d2], 1)
    return before, torch.arange(-1, 3, dtype=torch.int32), weights
