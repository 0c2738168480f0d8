"""Which patches of a clip masked pretraining shows to the network: functions of (grid, ratio, generator).

A grid is (T, h, w): T time steps of h rows of w patches. Visible patches are numbers t * h * w + row * w + column, in
ascending order and without the class token, which is always visible. Every clip of a batch has the same number of them.

| mask | unit | masked |
|---|---|---|
| random | a patch | int(ratio * T h w) of the T h w patches of the clip |
| tube | a place of the picture | int(ratio * h w) of the h w places, the same at all time steps |
| clip-row | a row of one time step | T * int(ratio * h) of the T h rows of the clip; a time step may have more or fewer |
| frame-row | a row of one time step | int(ratio * h) of the h rows of each time step, drawn for each |
| attention | a patch | int(ratio * h w) of the h w patches of each time step, seldom those that a teacher attends to |

Counts are those of the original: the product is one of floats and is cut, so 0.29 of 100 are 28, on every machine.
Units are ranked by uniform numbers and the first are visible. These come from `Generator.random`, which only scales the
output of the bit generator; NumPy may change the algorithms of `permutation` and `choice`. So a generator gives the same mask
everywhere.

Source: arXiv 2403.06977 and the masks of the original's pretraining. Names are those of the paper.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from videomamba.data.settings import MaskName
from videomamba.schema import VideoMambaError, counted

Grid = tuple[int, int, int]

_STEPS = 2**24
"""Draws for attention are multiples of 1 / _STEPS: exact in float32, the only float of some accelerators."""

_LEAST_WEIGHT = 1e-30


def visible_count(name: MaskName, grid: Grid, ratio: float) -> int:
    """The number of visible patches of each clip, between 1 and T h w.

    Raises VideoMambaError, one line about mask.ratio, for a ratio outside [0, 1) and for one above 0 that masks nothing;
    ValueError for an empty grid.
    """
    steps, h, w = _checked(grid)
    if name == "random":
        return steps * h * w - _masked(ratio, steps * h * w, "patch", "patches")
    if name in ("clip-row", "frame-row"):
        return steps * (h - _masked(ratio, h, "row")) * w
    return steps * (h * w - _masked(ratio, h * w, "patch", "patches"))


def visible_patches(name: MaskName, grid: Grid, ratio: float, generator: np.random.Generator) -> NDArray[np.int64]:
    """The visible patches (v,) int64, v = `visible_count`, for the masks that need no teacher.

    Raises as `visible_count`; ValueError for "attention", which `attention_visible` draws.
    """
    steps, h, w = _checked(grid)
    visible = visible_count(name, grid, ratio)
    if name == "random":
        return _first(generator.random(steps * h * w), visible)
    if name == "tube":
        places = _first(generator.random(h * w), visible // steps)
        return _patches(np.broadcast_to(places, (steps, len(places))), h * w)
    if name == "clip-row":
        rows = _first(generator.random(steps * h), visible // w)
    elif name == "frame-row":
        rows = _patches(_first(generator.random((steps, h)), visible // (steps * w)), h)
    else:
        raise ValueError(f"mask {name!r} is drawn by attention_visible")
    return (rows[:, None] * w + np.arange(w)).reshape(-1)


def attention_draws(grid: Grid, generator: np.random.Generator) -> Tensor:
    """The random numbers of one clip for `attention_visible`: (T, h w) float32 in [0, 1)."""
    steps, h, w = _checked(grid)
    whole = np.floor(generator.random((steps, h * w)) * _STEPS)
    return torch.from_numpy((whole / _STEPS).astype(np.float32))


def attention_visible(weights: Tensor, draws: Tensor, ratio: float) -> Tensor:
    """The visible patches (n, v) int64 of clips whose teacher attends to their p = h w patches with `weights` (n, T, p).

    At each time step p - int(ratio * p) patches are drawn one after another without replacement, each with a probability
    proportional to its weight: so patches with much attention are often, not always, visible. Weights, of any floating
    dtype, are not negative and need no sum of 1. Patches of weight zero (below 1e-21) are drawn only if there are not enough
    others. `draws` (n, T, p) come from `attention_draws`; a clip does not depend on the others of its batch.

    Everything runs on the device of `weights`, which is never waited for. So NaN is not refused: such patches are drawn last,
    and the features of the same teacher make the loss NaN, which stops a run.

    The first of such a draw are those with the smallest x / weight, x exponential (Efraimidis and Spirakis, Information
    Processing Letters 97, 2006). Raises VideoMambaError as `visible_count`, ValueError for other shapes.
    """
    if weights.ndim != 3 or weights.shape != draws.shape:
        raise ValueError(f"weights and draws are (n, T, p), got {tuple(weights.shape)} and {tuple(draws.shape)}")
    _, steps, places = weights.shape
    visible = places - _masked(ratio, places, "patch", "patches")
    exponential = -torch.log1p(-draws.float().clamp_min(0.5 / _STEPS))
    keys = exponential / weights.float().clamp_min(_LEAST_WEIGHT)
    first = keys.argsort(dim=2, stable=True)[..., :visible].sort(dim=2).values
    return (first + torch.arange(steps, device=first.device)[:, None] * places).flatten(1)


def _masked(ratio: float, units: int, noun: str, plural: str = "") -> int:
    """int(ratio * units), which is below `units`: a float product with a ratio below 1 is never rounded up to it."""
    if not 0 <= ratio < 1:
        why = "leaves no visible patch" if ratio >= 1 else "is no share of the patches"
        raise VideoMambaError(f"mask.ratio: {ratio:g} {why}; give at least 0 and less than 1")
    masked = int(ratio * units)
    if masked == 0 and ratio > 0:
        least = math.ceil(1000 / units) / 1000
        advice = f"0 or at least {least:g}" if least < 1 else "0, or choose another mask.name"
        raise VideoMambaError(f"mask.ratio: {ratio:g} of {counted(units, noun, plural)} masks nothing; give {advice}")
    return masked


def _checked(grid: Grid) -> Grid:
    if min(grid) < 1:
        raise ValueError(f"a grid is (time steps, rows, columns), each at least 1, got {grid}")
    return grid


def _first(numbers: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """The places of the `count` smallest numbers along the last axis, ascending; of equal ones the first."""
    return np.sort(np.argsort(numbers, axis=-1, kind="stable")[..., :count].astype(np.int64), axis=-1)


def _patches(places: NDArray[np.int64], of_each: int) -> NDArray[np.int64]:
    """Places (T, k) in time steps of `of_each` each -> their numbers in the clip, (T k,)."""
    return (places + np.arange(len(places))[:, None] * of_each).reshape(-1)
