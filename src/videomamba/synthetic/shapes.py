"""Shapes as signed distances, negative inside, within the unit circle. `opening` in [0, 1] moves the articulated ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.floating[Any]]
Distance = Callable[[Float, Float, Float], Float]


def _circle(x: Float, y: Float, radius: float) -> Float:
    return np.sqrt(x * x + y * y) - radius


def _box(x: Float, y: Float, half_width: float | Float, half_height: float | Float) -> Float:
    # The inner distance only: outside, the corners stay sharp, as an outline needs.
    return np.maximum(np.abs(x) - half_width, np.abs(y) - half_height)


def _polygon(x: Float, y: Float, sides: int, depth: float) -> Float:
    """A star of `sides` points with inner corners at `depth` of the radius: depth = cos(pi / sides) is the regular
    polygon. One wedge, folded: the distance to the line through an outer corner (1, 0) and the next inner one."""
    wedge = math.pi / sides
    angle = np.abs((np.arctan2(x, -y) + wedge) % (2 * wedge) - wedge)
    r = np.sqrt(x * x + y * y)
    px, py = r * np.cos(angle), r * np.sin(angle)
    qx, qy = depth * math.cos(wedge), depth * math.sin(wedge)
    length = math.hypot(qx - 1, qy)
    return (qy * (px - 1) - (qx - 1) * py) / length


def _capsule(x: Float, y: Float, ax: float, bx: float, radius: float) -> Float:
    """A thick segment of the x axis from ax to bx."""
    near = np.clip(x, ax, bx)
    return _circle(x - near, y, radius)


def _arrow(x: Float, y: Float, _: Float) -> Float:
    slope = math.hypot(0.8, 0.62)
    head: Float = np.maximum((0.8 * np.abs(y) + 0.62 * (x - 0.98)) / slope, 0.18 - x)
    return np.minimum(head, _box(x + 0.37, y, 0.59, 0.24))


def _hammer(x: Float, y: Float, _: Float) -> Float:
    return np.minimum(_box(x - 0.55, y, 0.25, 0.58), _box(x + 0.3, y, 0.66, 0.21))


def _spoon(x: Float, y: Float, _: Float) -> Float:
    return np.minimum(_circle(x - 0.5, y, 0.48), _capsule(x, y, -0.79, 0.5, 0.2))


def _key(x: Float, y: Float, _: Float) -> Float:
    ring = np.abs(_circle(x + 0.55, y, 0.31)) - 0.13
    teeth = np.minimum(_box(x - 0.8, y - 0.15, 0.1, 0.28), _box(x - 0.44, y - 0.15, 0.1, 0.28))
    return np.minimum(np.minimum(ring, _box(x - 0.35, y, 0.6, 0.12)), teeth)


def _boomerang(x: Float, y: Float, _: Float) -> Float:
    return np.minimum(_box(x + 0.055, y - 0.42, 0.695, 0.18), _box(x - 0.46, y + 0.05, 0.18, 0.65))


def _mouth(x: Float, y: Float, opening: Float) -> Float:
    half = (0.04 + 0.96 * opening) * math.radians(62)
    distance: Float = np.maximum(_circle(x, y, 1.0), np.sin(half) * x - np.cos(half) * np.abs(y))
    return distance


def _tongs(x: Float, y: Float, opening: Float) -> Float:
    half = math.radians(9) + opening * math.radians(41)
    x, y = x + 0.6, np.abs(y)
    arm = _capsule(np.cos(half) * x + np.sin(half) * y, np.cos(half) * y - np.sin(half) * x, 0.0, 1.08, 0.16)
    return np.minimum(arm, _circle(x, y, 0.28))


def _doors(x: Float, y: Float, opening: Float) -> Float:
    # Each leaf runs from the edge of the gap to the jamb at 0.72.
    gap = 0.01 + 0.56 * opening
    return _box(np.abs(x) - (gap + 0.72) / 2, y, (0.72 - gap) / 2, 0.64)


SHAPES: dict[str, Distance] = {
    "disc": lambda x, y, _: _circle(x, y, 1.0),
    "square": lambda x, y, _: _box(x, y, 0.7, 0.7),
    "triangle": lambda x, y, _: _polygon(x, y, 3, 0.5),
    "star": lambda x, y, _: _polygon(x, y, 5, 0.45),
    "ring": lambda x, y, _: np.abs(_circle(x, y, 0.75)) - 0.25,
    "hexagon": lambda x, y, _: _polygon(x, y, 6, math.cos(math.pi / 6)),
    "cross": lambda x, y, _: np.minimum(_box(x, y, 0.95, 0.31), _box(x, y, 0.31, 0.95)),
    "diamond": lambda x, y, _: _polygon(x, 1.4 * y, 4, math.cos(math.pi / 4)),
    "crescent": lambda x, y, _: np.maximum(_circle(x, y, 1.0), -_circle(x - 0.5, y, 0.75)),
    "arrow": _arrow,
    "hammer": _hammer,
    "spoon": _spoon,
    "key": _key,
    "boomerang": _boomerang,
    "mouth": _mouth,
    "tongs": _tongs,
    "doors": _doors,
    "doorway": lambda x, y, _: _box(x, y, 0.74, 0.66),
}
