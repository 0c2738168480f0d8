"""The path of a virtual camera: where it is, how far it has zoomed in and rolled, at each moment of a clip.

A path knows neither a picture nor the place in it: its unit is the pixel of the clip. A pose (x, y, zoom, angle) sees at the
offset p from the middle of the screen the point (x, y) + exp(-zoom) R(angle) p, with y down and angles clockwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.floating[Any]]

_POINTS = 257  # of a path; the fastest shake has 16 periods in it
_BEYOND = 0.05  # share of the clip that a path has before its start and after its end, for motion blur

SPEEDS = {"pan": (0.05, 0.9), "tilt": (0.05, 0.9), "zoom": (0.06, 0.7), "roll": (math.radians(4), math.radians(70))}
"""Least and largest mean speed in a second: widths and heights of the frame, logarithm of the zoom, radians."""


@dataclass(frozen=True)
class Poses:
    """Camera poses, each field (t,)."""

    x: Float
    y: Float
    zoom: Float
    angle: Float

    def corners(self, width: int, height: int) -> tuple[Float, Float]:
        """(t, 4) x and y of the corners of what each pose sees."""
        half = np.exp(-self.zoom)[:, None] / 2
        across, down = (
            half * np.array([-width, width, width, -width]),
            half * np.array([-height, -height, height, height]),
        )
        cos, sin = np.cos(self.angle)[:, None], np.sin(self.angle)[:, None]
        return self.x[:, None] + cos * across - sin * down, self.y[:, None] + sin * across + cos * down


@dataclass(frozen=True)
class Path:
    """Poses at evenly spread moments of a clip of `seconds`, a little longer than it; in between they are interpolated."""

    seconds: float
    poses: Poses

    def at(self, times: Float) -> Poses:
        """The poses at `times` in seconds from the start of the clip."""
        grid = _moments(self.seconds)
        every = (self.poses.x, self.poses.y, self.poses.zoom, self.poses.angle)
        return Poses(*(np.interp(times, grid, values) for values in every))

    def box(self, width: int, height: int) -> tuple[float, float, float, float]:
        """(left, top, right, bottom) of everything that the camera sees."""
        x, y = self.poses.corners(width, height)
        return float(x.min()), float(y.min()), float(x.max()), float(y.max())


def draw_path(
    motion: str, rng: np.random.Generator, *, seconds: float, width: int, height: int, calm: float = 1.0
) -> Path:
    """A random path of the class `motion`, one of MOTIONS without the edits.

    `calm` < 1 lowers the largest speed, for pictures in which a fast path has no room. Raises ValueError for another motion.
    """
    size, radius = (
        (width, height),
        math.hypot(width, height) / math.sqrt(12),
    )  # root mean square distance from the middle
    speed = np.zeros((4, _POINTS))  # x and y in pixels of the screen, zoom, angle; in a second
    flow = 0.0  # mean speed of the picture on the screen, in pixels in a second
    kind, _, direction = motion.partition("_")
    if kind in SPEEDS:
        row = {"pan": 0, "tilt": 1, "zoom": 2, "roll": 3}[kind]
        amount = _log_uniform(rng, SPEEDS[kind][0], max(1.2 * SPEEDS[kind][0], calm * SPEEDS[kind][1]))
        sign = 1 if direction in ("right", "down", "in", "clockwise") else -1
        unit = size[row] if row < 2 else 1
        speed[row] = sign * amount * unit * _easing(rng)
        flow = amount * (unit if row < 2 else radius)
        if rng.random() < 0.5:
            others = [other for other in range(4) if other != row]
            share = rng.dirichlet((0.7, 0.7, 0.7)) * rng.uniform(0.02, 0.25) * rng.choice((-1, 1), 3)
            for other, part in zip(others, share, strict=True):
                speed[other] = part * flow / (1 if other < 2 else radius) * _easing(rng)
    elif kind not in ("static", "shake"):
        raise ValueError(f"motion: a camera does not make {motion!r}")
    tremble = _tremble(motion, rng, seconds=seconds, width=width, radius=radius, flow=flow)
    return Path(seconds, _integrated(speed, tremble, seconds=seconds, start=_first_angle(kind, speed, rng, seconds)))


def _integrated(speed: Float, tremble: Float, *, seconds: float, start: float) -> Poses:
    """`speed` (4, points) as seen on the screen and the displacements `tremble` (4, points) as poses in the picture."""
    step = seconds * (1 + 2 * _BEYOND) / (_POINTS - 1)
    zoom, angle = _summed(speed[2], step) + tremble[2], start + _summed(speed[3], step) + tremble[3]

    def in_picture(right: Float, down: Float) -> tuple[Float, Float]:
        scale, cos, sin = np.exp(-zoom), np.cos(angle), np.sin(angle)
        return scale * (cos * right - sin * down), scale * (sin * right + cos * down)

    x, y = (_summed(velocity, step) for velocity in in_picture(speed[0], speed[1]))
    shaken_x, shaken_y = in_picture(tremble[0], tremble[1])
    return Poses(x + shaken_x, y + shaken_y, zoom, angle)


def _first_angle(kind: str, speed: Float, rng: np.random.Generator, seconds: float) -> float:
    """A camera is nearly upright, at some moment of its roll."""
    tilted = math.radians(rng.normal(0, 2.0))
    return tilted - (rng.random() * float(speed[3].mean()) * seconds if kind == "roll" else 0.0)


def _tremble(motion: str, rng: np.random.Generator, *, seconds: float, width: int, radius: float, flow: float) -> Float:
    """Displacements (4, points) of an unsteady hand: x and y in pixels, zoom, angle. No net motion."""
    if motion == "shake":
        strength = _log_uniform(rng, 0.015, 0.06) * width
        shares, fastest = (rng.uniform(0.6, 1), rng.uniform(0.6, 1), rng.uniform(0, 0.2), rng.uniform(0.1, 0.6)), 8.0
    elif rng.random() > (0.5 if motion == "static" else 1 / 3):
        return np.zeros((4, _POINTS))
    elif motion == "static":
        strength, shares, fastest = rng.uniform(0.0002, 0.002) * width, (0.7, 0.7, 0.05, 0.2), 5.0
    else:
        # A sine of amplitude a and frequency f has the mean speed 4 a f; the main motion remains the stronger one.
        fastest = 5.0
        strength = min(rng.uniform(0.05, 0.4) * flow / (4 * 3.0), 0.01 * width)
        shares = (0.7, 0.7, 0.05, 0.3)
    waves = np.stack([_waves(rng, seconds, fastest) for _ in range(4)])
    units = np.array([1, 1, 1 / radius, 1 / radius])
    scaled: Float = waves * (strength * np.asarray(shares) * units)[:, None]
    return scaled


def _waves(rng: np.random.Generator, seconds: float, fastest: float) -> Float:
    """(points,) a sum of waves of different frequencies, of root mean square 1, with no trend."""
    times = _moments(seconds)
    total = np.zeros(_POINTS)
    for _ in range(int(rng.integers(3, 6))):
        frequency = _log_uniform(rng, 1.2, fastest)
        total += rng.uniform(0.5, 1) / frequency**0.6 * np.sin(2 * math.pi * (frequency * times + rng.random()))
    total -= np.polyval(np.polyfit(times, total, 1), times)
    return total / max(float(np.sqrt(np.mean(total**2))), 1e-6)


def _easing(rng: np.random.Generator) -> Float:
    """(points,) a speed of mean 1 over the clip that varies and is never negative; a fifth rests at one end."""
    u = np.linspace(-_BEYOND, 1 + _BEYOND, _POINTS)
    kind = rng.random()
    speed = np.ones(_POINTS)
    if kind < 0.6:
        for cycles in (0.5, 1.0, 1.7):
            speed += rng.uniform(0, 0.35) * np.cos(2 * math.pi * (cycles * u + rng.random()))
    elif kind < 0.8:  # slow at both ends
        speed = 0.3 + np.sin(math.pi * np.clip(u, 0, 1))
    speed = np.maximum(speed, 0.25)
    if rng.random() < 0.2:
        rest = rng.uniform(0.08, 0.22)
        moving = np.clip((u - rest) / 0.1, 0, 1)
        speed = speed * (moving if rng.random() < 0.5 else moving[::-1])
    inside = (u >= 0) & (u <= 1)
    eased: Float = speed / speed[inside].mean()
    return eased


def _moments(seconds: float) -> Float:
    return np.linspace(-_BEYOND, 1 + _BEYOND, _POINTS) * seconds


def _summed(velocity: Float, step: float) -> Float:
    return np.concatenate(([0.0], np.cumsum((velocity[1:] + velocity[:-1]) / 2) * step))


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(high)))
