"""From a scene to pixels: parts painted over a drifting background. NumPy only.

Shape letters: t frames, h height, w width, b the side of the small box around a shape.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videomamba.synthetic.scene import Background, Part, Scene, Span, Timing, Wave
from videomamba.synthetic.shapes import SHAPES
from videomamba.synthetic.texture import texture

Float = NDArray[np.floating[Any]]

_FRAMES_AT_ONCE = 32  # bounds the float buffers of a long clip


def draw_scene(scene: Scene, *, num_frames: int, height: int, width: int) -> NDArray[np.uint8]:
    """The clip (t, h, w, 3) uint8 RGB; the action is within the centre square of the frame."""
    times = np.linspace(0, 1, num_frames, dtype=np.float32)
    return np.concatenate(list(draw_moments(scene, times, height=height, width=width)))


def draw_moments(
    scene: Scene, times: Float, *, height: int, width: int, span: Span = (0.0, 1.0)
) -> Iterator[NDArray[np.uint8]]:
    """The pictures at `times` (t,) float32, a few at a time: (k, h, w, 3) uint8, k at most 32.

    `span` holds all times at which this scene is ever drawn: it determines the size of the background, and calls with the
    same span show the same background.
    """
    side = min(height, width)
    blur = scene.blur * side
    canvas, margin = texture(scene.background, scene.shake, height=height, width=width, blur=blur, span=span)
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
    """(t, h, w, 3) float: the part of the canvas in a frame that drifts by fractions of a pixel."""
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
    shape = SHAPES[part.shape](cos * dx + sin * dy, cos * dy - sin * dx, opening)
    distance = side * radius * shape  # pixels, (t, b, b)
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
