"""From a scene to pixels: signed distances for the shapes, one noise texture a clip for the background, NumPy only.

Shape letters: t frames, h height, w width, b the side of the small box in which a shape is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videomamba.synthetic.scene import Background, Part, Scene, Span, Timing, Wave

Float = NDArray[np.floating[Any]]
Distance = Callable[[Float, Float, Float], Float]

_FRAMES_AT_ONCE = 32  # bounds the float buffers of a long clip


def draw_scene(scene: Scene, *, num_frames: int, height: int, width: int) -> NDArray[np.uint8]:
    """The clip (t, h, w, 3) uint8 RGB; the action lies within the centre square of the frame."""
    out = np.empty((num_frames, height, width, 3), np.uint8)
    times = np.linspace(0, 1, num_frames, dtype=np.float32)
    first = 0
    for frames in draw_moments(scene, times, height=height, width=width):
        out[first : first + len(frames)] = frames
        first += len(frames)
    return out


def draw_moments(
    scene: Scene, times: Float, *, height: int, width: int, span: Span = (0.0, 1.0)
) -> Iterator[NDArray[np.uint8]]:
    """The pictures at `times` (t,) float32, a few at a time: (k, h, w, 3) uint8, k at most 32.

    `span` holds all times at which this scene is ever looked at: so far its background reaches, and calls with the same
    span show the same background.
    """
    side = min(height, width)
    canvas, margin = _texture(
        scene.background, scene.shake, height=height, width=width, blur=scene.blur * side, span=span
    )
    for first in range(0, len(times), _FRAMES_AT_ONCE):
        u = times[first : first + _FRAMES_AT_ONCE]
        shake = _wave(scene.shake[0], u), _wave(scene.shake[1], u)
        frames = _crop(canvas, margin, scene.background, u, shake, height=height, width=width)
        progress = _progress(scene.timing, u)
        for part in (*scene.distractors, *scene.parts):
            _draw_part(frames, part, u, progress, shake, outline=scene.outline_width, blur=scene.blur)
        frames *= (1 + _wave(scene.flicker, u))[:, None, None, None]
        frames += 0.5
        yield np.clip(frames, 0, 255, out=frames).astype(np.uint8)


def _wave(wave: Wave, u: Float) -> Float:
    values: Float = wave.amplitude * np.sin(2 * math.pi * (wave.cycles * u + wave.phase))
    return values


def _progress(timing: Timing, u: Float) -> Float:
    """0 before the action, 1 after it; monotone between."""
    s = np.clip((u - timing.start) / (timing.end - timing.start), 0, 1)
    s = (1 - timing.smooth) * s + timing.smooth * s * s * (3 - 2 * s)
    eased: Float = 1 - (1 - s) ** timing.power if timing.late else s**timing.power
    return eased


# --- the background -----------------------------------------------------------------------------------------------


def _texture(
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
    # A weighted mean of uniform numbers crowds around 1/2: stretch it back.
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
    lines: Float = np.clip(8 * np.abs(s - np.round(s)) - 0.3, 0, 1)
    return lines


def _checks(s: Float, r: Float) -> Float:
    a, b = _soft_square(s / 1.5), _soft_square(r / 1.5)
    return a + b - 2 * a * b


def _dots(s: Float, r: Float) -> Float:
    spread: Float = np.clip(5 * np.hypot(s - np.round(s), r - np.round(r)) - 0.8, 0, 1)
    return spread


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


def _crop(
    canvas: Float,
    margin: tuple[int, int],
    background: Background,
    u: Float,
    shake: tuple[Float, Float],
    *,
    height: int,
    width: int,
) -> Float:
    """(t, h, w, 3) float: the canvas seen through a window that drifts by fractions of a pixel."""
    side = min(height, width)
    # A camera that moves right sees the ground move left, as the parts do in `_draw_part`.
    top = margin[0] - side * (background.drift[1] * (u - 0.5) + shake[1])
    left = margin[1] - side * (background.drift[0] * (u - 0.5) + shake[0])
    dark = np.array(background.colours[0], np.float32)
    span = np.array(background.colours[1], np.float32) - dark
    frames = np.empty((len(u), height, width, 3), np.float32)
    for k, (y, x) in enumerate(zip(top.tolist(), left.tolist(), strict=True)):
        row, column = math.floor(y), math.floor(x)
        window = canvas[row : row + height + 1, column : column + width + 1]
        window = window[:-1] + np.float32(y - row) * (window[1:] - window[:-1])
        window = window[:, :-1] + np.float32(x - column) * (window[:, 1:] - window[:, :-1])
        np.multiply(window[:, :, None], span, out=frames[k])
    frames += dark
    return frames


# --- the shapes ---------------------------------------------------------------------------------------------------


def _draw_part(
    frames: Float, part: Part, u: Float, progress: Float, shake: tuple[Float, Float], *, outline: float, blur: float
) -> None:
    """Paint `part` over `frames` (t, h, w, 3) in place, inside a box around its centre."""
    height, width = frames.shape[1:3]
    side = min(height, width)
    x, y = _walk(part.x, progress) + shake[0], _walk(part.y, progress) + shake[1]
    if part.wobble is not None:
        x, y = x + _wave(part.wobble[0], u), y + _wave(part.wobble[1], u)
    radius, angle, opening = (_walk(span, progress)[:, None, None] for span in (part.radius, part.angle, part.opening))
    centre_x, centre_y = (width - 1) / 2 + side * x, (height - 1) / 2 + side * y
    half = math.ceil(max(part.radius) * side + 2 + blur * side)
    left, top = np.floor(centre_x).astype(np.int64) - half, np.floor(centre_y).astype(np.int64) - half
    steps = np.arange(2 * half + 2)
    dx = ((left[:, None] + steps - centre_x[:, None]) / side).astype(np.float32)[:, None, :]  # (t, 1, b)
    dy = ((top[:, None] + steps - centre_y[:, None]) / side).astype(np.float32)[:, :, None]  # (t, b, 1)
    cos, sin = np.cos(angle) / radius, np.sin(angle) / radius
    distance = (
        side * radius * SHAPES[part.shape](cos * dx + sin * dy, cos * dy - sin * dx, opening)
    )  # pixels, (t, b, b)
    edge = np.float32(1 + 2 * blur * side)
    alpha = np.clip(0.5 - distance / edge, 0, 1) * _walk(part.opacity, progress)[:, None, None]
    inside = np.clip(0.5 - (distance + outline * side) / edge, 0, 1)
    ink, fill = np.array(part.outline, np.float32), np.array(part.fill, np.float32)
    paint = (ink + inside[..., None] * (fill - ink)) * alpha[..., None]  # (t, b, b, 3)
    keep = (1 - alpha)[..., None]
    for k, (row, column) in enumerate(zip(top.tolist(), left.tolist(), strict=True)):
        y0, x0 = max(0, row), max(0, column)
        y1, x1 = max(y0, min(row + len(steps), height)), max(x0, min(column + len(steps), width))
        box = k, slice(y0 - row, y1 - row), slice(x0 - column, x1 - column)
        view = frames[k, y0:y1, x0:x1]
        view *= keep[box]
        view += paint[box]


def _walk(span: Span, progress: Float) -> Float:
    return np.float32(span[0]) + np.float32(span[1] - span[0]) * progress


# Signed distances (negative inside) to shapes that fit the unit circle; `opening` in [0, 1] moves the articulated ones.


def _circle(x: Float, y: Float, radius: float) -> Float:
    distance: Float = np.sqrt(x * x + y * y) - radius
    return distance


def _box(x: Float, y: Float, half_width: float | Float, half_height: float | Float) -> Float:
    # The inner distance only: outside the corners stay sharp, which is what an outline wants.
    distance: Float = np.maximum(np.abs(x) - half_width, np.abs(y) - half_height)
    return distance


def _polygon(x: Float, y: Float, sides: int, depth: float) -> Float:
    """A star of `sides` points whose inner corners lie at `depth` of the radius: depth = cos(pi / sides) is the regular
    polygon. One wedge, folded: the distance to the line through an outer corner (1, 0) and the next inner one."""
    wedge = math.pi / sides
    angle = np.abs((np.arctan2(x, -y) + wedge) % (2 * wedge) - wedge)
    r = np.sqrt(x * x + y * y)
    px, py = r * np.cos(angle), r * np.sin(angle)
    qx, qy = depth * math.cos(wedge), depth * math.sin(wedge)
    length = math.hypot(qx - 1, qy)
    distance: Float = (qy * (px - 1) - (qx - 1) * py) / length
    return distance


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
