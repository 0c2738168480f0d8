"""Judges the motion of a picture from its pixels alone, by phase correlation of parts of successive frames."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from videomamba.synthetic.texture import _noise

_PARTS = {"left": (0.5, 0.25), "right": (0.5, 0.75), "top": (0.25, 0.5), "bottom": (0.75, 0.5)}


def photograph(seed: int, height: int = 480, width: int = 720) -> NDArray[np.uint8]:
    """A picture (h, w, 3) with detail at every scale."""
    rng = np.random.default_rng(seed)
    y, x = np.arange(height, dtype=np.float32) / 200, np.arange(width, dtype=np.float32) / 200
    planes = [_noise(rng, y, x, octaves=6) for _ in range(3)]
    return (255 * np.stack(planes, axis=2)).astype(np.uint8)


def shift(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.float64]:
    """(right, down): by how many pixels the content of a grey picture has moved, to half a pixel or so."""
    window = np.hanning(first.shape[0])[:, None] * np.hanning(first.shape[1])
    a, b = (np.fft.fft2((grey - grey.mean()) * window) for grey in (first, second))
    cross = np.conj(a) * b
    peak = np.real(np.fft.ifft2(cross / (np.abs(cross) ** 0.7 + 1e-3)))
    row, column = np.unravel_index(int(peak.argmax()), peak.shape)

    def signed(place: int, size: int, line: NDArray[np.float64]) -> float:
        before, here, after = line[place - 1], line[place], line[(place + 1) % size]
        bend = before - 2 * here + after
        exact = place + (0.5 * (before - after) / bend if bend else 0.0)
        return exact - size if place > size // 2 else exact

    return np.array([signed(int(column), first.shape[1], peak[row]), signed(int(row), first.shape[0], peak[:, column])])


def flow(frames: NDArray[np.uint8]) -> dict[str, float]:
    """Sums over (t, h, w, 3): `right` and `down`, `growth` of the picture and its `turn` clockwise, each in pixels."""
    grey = frames.astype(np.float64) @ [0.3, 0.59, 0.11]
    height, width = grey.shape[1:]
    moved = {}
    for name, (down, across) in _PARTS.items():
        top, left = int((down - 0.25) * height), int((across - 0.25) * width)
        part = grey[:, top : top + height // 2, left : left + width // 2]
        moved[name] = np.sum([shift(*pair) for pair in pairwise(part)], axis=0)
    left, right, top, bottom = moved.values()
    mean = (left + right + top + bottom) / 4
    return {
        "right": float(mean[0]),
        "down": float(mean[1]),
        "growth": float((right - left)[0] + (bottom - top)[1]) / 2,
        "turn": float((right - left)[1] - (bottom - top)[0]) / 2,
    }


_SEEN = {
    ("right", 1): "pan_left",
    ("right", -1): "pan_right",
    ("down", 1): "tilt_up",
    ("down", -1): "tilt_down",
    ("growth", 1): "zoom_in",
    ("growth", -1): "zoom_out",
    ("turn", -1): "roll_clockwise",
    ("turn", 1): "roll_counterclockwise",
}


def seen_motion(frames: NDArray[np.uint8]) -> str:
    """The class of the camera whose motion these frames (t, h, w, 3) show, "static" below two pixels."""
    moved = flow(frames)
    strongest = max(moved, key=lambda key: abs(moved[key]))
    if abs(moved[strongest]) < 2:
        return "static"
    return _SEEN[strongest, 1 if moved[strongest] > 0 else -1]
