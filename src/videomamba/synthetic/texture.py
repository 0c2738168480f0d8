"""The background of a clip: a field of noise and pattern, larger than the picture, for the drift."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videomamba.synthetic.scene import Background, Span, Wave

Float = NDArray[np.floating[Any]]


def texture(
    background: Background, shake: tuple[Wave, Wave], *, height: int, width: int, blur: float, span: Span
) -> tuple[Float, tuple[int, int]]:
    """A field in [0, 1], larger than the frame by the margin (rows, columns) that drift and shake need on each side."""
    side = min(height, width)
    farthest = max(abs(moment - 0.5) for moment in span)  # the drift counts from the middle of a clip
    reach_x = abs(background.drift[0]) * farthest + shake[0].amplitude
    reach_y = abs(background.drift[1]) * farthest + shake[1].amplitude
    margin = math.ceil(reach_y * side) + 2, math.ceil(reach_x * side) + 2
    y = (np.arange(height + 2 * margin[0], dtype=np.float32) - margin[0] - (height - 1) / 2) / side
    x = (np.arange(width + 2 * margin[1], dtype=np.float32) - margin[1] - (width - 1) / 2) / side
    noise = _noise(np.random.default_rng(background.noise_seed), y, x, octaves=background.octaves)
    cos, sin = math.cos(background.angle), math.sin(background.angle)
    along = cos * x[None, :] + sin * y[:, None]
    across = cos * y[:, None] - sin * x[None, :]
    pattern = _PATTERNS[background.pattern](background.frequency * along, background.frequency * across)
    field = (1 - background.noise_weight) * pattern + background.noise_weight * noise
    return _blurred(field.astype(np.float32), blur), margin


def _noise(rng: np.random.Generator, y: Float, x: Float, *, octaves: int) -> Float:
    """Value noise in [0, 1]: each octave is a periodic random lattice, twice as fine and half as strong as the last."""
    total, weight = np.zeros((len(y), len(x)), np.float32), 0.0
    for octave in range(octaves):
        lattice = rng.random((64, 64), dtype=np.float32)
        cells = 3.0 * 2**octave
        rows, row_weight = _lattice_points(y * cells)
        columns, column_weight = _lattice_points(x * cells)
        values = lattice[rows] + row_weight[:, None] * (lattice[(rows + 1) % 64] - lattice[rows])
        left = values[:, columns]
        total += 0.5**octave * (left + column_weight * (values[:, (columns + 1) % 64] - left))
        weight += 0.5**octave
    # A weighted mean of uniform numbers is concentrated around 1/2: stretch it.
    stretched: Float = np.clip(0.5 + 1.4 * (total / weight - 0.5), 0, 1)
    return stretched


def _lattice_points(position: Float) -> tuple[NDArray[np.int64], Float]:
    floor = np.floor(position)
    s = position - floor
    return floor.astype(np.int64) % 64, s * s * (3 - 2 * s)


def _soft_square(s: Float) -> Float:
    """A square wave of period 1 in [0, 1] with sloping flanks."""
    wave: Float = np.clip(0.5 + 2 * np.sin(2 * math.pi * s), 0, 1)
    return wave


def _thin_lines(s: Float) -> Float:
    """1 (paper) between thin lines (0) of period 1."""
    return np.clip(8 * np.abs(s - np.round(s)) - 0.3, 0, 1)


def _checks(s: Float, r: Float) -> Float:
    a, b = _soft_square(s / 1.5), _soft_square(r / 1.5)
    return a + b - 2 * a * b


def _dots(s: Float, r: Float) -> Float:
    return np.clip(5 * np.hypot(s - np.round(s), r - np.round(r)) - 0.8, 0, 1)


_PATTERNS: dict[str, Callable[[Float, Float], Float]] = {
    "clouds": lambda s, r: np.zeros(np.broadcast_shapes(s.shape, r.shape), np.float32),
    "stripes": lambda s, r: _soft_square(s),
    "checks": _checks,
    "gradient": lambda s, r: np.clip(0.5 + s / 9, 0, 1),
    "grid": lambda s, r: np.minimum(_thin_lines(s), _thin_lines(r)),
    "dots": _dots,
    "hatching": lambda s, r: _thin_lines(1.5 * s),
}


def _blurred(field: Float, sigma: float) -> Float:
    """A Gaussian blur of `sigma` pixels, edges repeated."""
    reach = math.ceil(2.5 * sigma)
    if reach == 0:
        return field
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2).astype(np.float32)
    taps /= taps.sum()
    for _ in range(2):
        padded = np.pad(field, ((reach, reach), (0, 0)), mode="edge")
        rows = np.zeros_like(field)
        for k, tap in enumerate(taps):
            rows += tap * padded[k : k + len(field)]
        field = rows.T
    return np.ascontiguousarray(field)
