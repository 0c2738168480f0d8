"""What happens to the light and to the finished picture: exposure, flashes, noise, letter boxes, logos."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch

from videomamba.synthetic.camera.trajectory import Float

_TILE = 512


@dataclass(frozen=True)
class Light:
    """Frame i of a clip is multiplied by `gain[i]` (t, 3) and raised by `lift[i]` (t, 3)."""

    gain: Float
    lift: Float

    def apply(self, canvas: torch.Tensor) -> None:
        """Changes `canvas` (t, 3, h, w) in place."""
        gain, lift = (torch.from_numpy(part.astype(np.float32))[:, :, None, None] for part in (self.gain, self.lift))
        canvas.mul_(gain).add_(lift)

    def faded(self, opacity: Float, colour: float) -> Light:
        """The same light behind a plain `colour`, with the opacity (t,) of the picture."""
        seen = opacity[:, None]
        return Light(self.gain * seen, self.lift * seen + colour * (1 - seen))


def draw_light(rng: np.random.Generator, times: Float, *, steady: bool = False) -> Light:
    """Contrast, tint, drifting exposure and flicker; a twelfth has a flash. `steady`: only the first two."""
    contrast, middle = rng.uniform(0.75, 1.2), rng.uniform(-18, 18)
    tint = 1 + rng.normal(0, 0.04, 3)
    exposure = np.zeros(len(times)) if steady else _exposure(rng, times)
    gain = contrast * np.exp(exposure)[:, None] * tint
    lift = np.full_like(gain, 128 * (1 - contrast) + middle) * np.exp(exposure)[:, None]
    if not steady and rng.random() < 1 / 12:
        first = int(rng.integers(len(times)))
        some = slice(first, first + int(rng.integers(1, 3)))
        gain[some] *= rng.uniform(1.0, 1.8)
        lift[some] += rng.uniform(40, 160)
    return Light(gain, lift)


def _exposure(rng: np.random.Generator, times: Float) -> Float:
    seconds = max(float(times[-1]), 0.1)
    exposure = np.zeros(len(times))
    if rng.random() < 0.5:
        exposure += rng.uniform(-0.25, 0.25) * (times / seconds - 0.5)
    if rng.random() < 0.4:
        exposure += rng.uniform(0, 0.1) * np.sin(2 * math.pi * (rng.uniform(0.3, 9) * times + rng.random()))
    if rng.random() < 0.3:
        exposure += rng.normal(0, rng.uniform(0, 0.05), len(times))
    return exposure


def add_noise(canvas: torch.Tensor, rng: np.random.Generator) -> None:
    """Noise of a sensor on `canvas` (t, 3, h, w), in place; none in a third of clips."""
    strength = max(0.0, rng.uniform(-4, 8))
    corners = rng.integers(0, _TILE, (len(canvas), 2))
    if strength == 0:
        return
    height, width = canvas.shape[2:]
    tile = strength * _noise_tile(math.ceil(height / _TILE) + 1, math.ceil(width / _TILE) + 1)
    for frame, (top, left) in zip(canvas, corners, strict=True):
        frame.add_(tile[top : top + height, left : left + width])


@functools.lru_cache(maxsize=2)
def _noise_tile(rows: int, columns: int) -> torch.Tensor:
    tile = np.random.default_rng(0).standard_normal((_TILE, _TILE), dtype=np.float32)
    return torch.from_numpy(np.tile(tile, (rows, columns)))


def add_overlays(canvas: torch.Tensor, rng: np.random.Generator) -> None:
    """What is put over a finished film, in place: a logo or a line of text in a tenth, black bars in 15 %."""
    height, width = canvas.shape[2:]
    if rng.random() < 0.1:
        _write(canvas, rng)
    if rng.random() < 0.15:
        share = rng.uniform(0.05, 0.14)
        if rng.random() < 0.6:
            bar = round(share * height)
            canvas[:, :, :bar] = canvas[:, :, height - bar :] = 0
        else:
            bar = round(share * width)
            canvas[:, :, :, :bar] = canvas[:, :, :, width - bar :] = 0


def _write(canvas: torch.Tensor, rng: np.random.Generator) -> None:
    """Something like letters, on a plate or without."""
    height, width = canvas.shape[2:]
    letters, lines = int(rng.integers(3, 18)), int(rng.integers(1, 3))
    cells = np.zeros((lines * 7 - 2, letters * 4 - 1), np.float32)
    for line in range(lines):
        for letter in range(letters):
            cells[line * 7 : line * 7 + 5, letter * 4 : letter * 4 + 3] = rng.random((5, 3)) < 0.6
    size = max(1, round(rng.uniform(0.008, 0.02) * height))
    ink = torch.from_numpy(np.kron(cells, np.ones((size, size), np.float32)))[: height - 2, : width - 2]
    rows, columns = ink.shape
    left = int(rng.uniform(0.03, 0.97) * (width - columns))
    top = int(rng.choice((0.06, 0.85, 0.92)) * (height - rows))
    place = canvas[:, :, top : top + rows, left : left + columns]
    if rng.random() < 0.4:
        place.mul_(rng.uniform(0.2, 0.7))
    opacity = rng.uniform(0.5, 1)
    place.mul_(1 - opacity * ink).add_(opacity * ink * (250.0 if rng.random() < 0.8 else 10.0))
