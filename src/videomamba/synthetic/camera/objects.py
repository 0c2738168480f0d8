"""Objects in front of the background: blobs cut out of other sources that move on their own paths."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from videomamba.synthetic.camera.sampling import sampled
from videomamba.synthetic.camera.sources import Pool, Source
from videomamba.synthetic.camera.trajectory import Float, Path, Poses


@dataclass(frozen=True)
class Thing:
    """An object of `radius` pixels that is at `place` (x, y) of the screen at `moment` seconds.

    `nearness` says how the camera moves it: 0 not at all, it is attached to the screen; 1 like the background; above 1
    faster, because it is nearer. It also moves by itself with `velocity` (x, y) in pixels in a second and swings by `swing`.
    """

    patch: torch.Tensor  # (4, side, side): red, green, blue in 0..255 times the opacity, and the opacity
    radius: float
    place: tuple[float, float]
    moment: float
    nearness: float
    velocity: tuple[float, float] = (0.0, 0.0)
    swing: tuple[float, float, float] = (0.0, 1.0, 0.0)  # amplitude in pixels, periods in a second, phase

    def add_to(self, canvas: torch.Tensor, path: Path, times: Float) -> None:
        """Draws it on `canvas` (t, 3, h, w), the means over the moments `times` (t, k)."""
        count, blur = times.shape
        height, width = canvas.shape[2:]
        x, y, size, angle = self._course(path, times.ravel())
        reach = size.reshape(count, blur).max(1) * 1.02 + 2
        across, down = x.reshape(count, blur), y.reshape(count, blur)
        spread = max(float(np.ptp(across, axis=1).max()), float(np.ptp(down, axis=1).max())) if blur > 1 else 0.0
        half = min(math.ceil(float(np.max(reach)) + spread / 2) + 1, 2 * max(height, width))
        left = np.floor(across.mean(1) + width / 2).astype(int) - half
        top = np.floor(down.mean(1) + height / 2).astype(int) - half
        seen = [i for i in range(count) if -2 * half < left[i] < width and -2 * half < top[i] < height]
        if not seen:
            return
        # Only the part of the box that is in the picture in some frame is computed.
        low = (max(0, -int(top[seen].max())), max(0, -int(left[seen].max())))
        high = (min(2 * half, height - int(top[seen].min())), min(2 * half, width - int(left[seen].min())))
        rows, columns = high[0] - low[0], high[1] - low[1]
        if rows < 1 or columns < 1:
            return
        picked = np.array([i * blur + j for i in seen for j in range(blur)])
        cos, sin = np.cos(angle[picked]) / size[picked], np.sin(angle[picked]) / size[picked]
        frame = np.repeat(np.array(seen), blur)
        # The middle of the computed part, seen from the middle of the object.
        dx = left[frame] + low[1] + columns / 2 - width / 2 - x[picked]
        dy = top[frame] + low[0] + rows / 2 - height / 2 - y[picked]
        affine = np.empty((len(picked), 2, 3))
        affine[:, 0, 0], affine[:, 0, 1], affine[:, 0, 2] = cos, sin, cos * dx + sin * dy
        affine[:, 1, 0], affine[:, 1, 1], affine[:, 1, 2] = -sin, cos, cos * dy - sin * dx
        maps = affine.reshape(len(seen), blur, 2, 3)
        drawn = sampled(self.patch[None], maps, height=rows, width=columns, blur=blur, border=False)
        for k, i in enumerate(seen):
            r, c = int(top[i]) + low[0], int(left[i]) + low[1]
            r0, c0, r1, c1 = max(r, 0), max(c, 0), min(r + rows, height), min(c + columns, width)
            if r1 > r0 and c1 > c0:
                part = drawn[k, :, r0 - r : r1 - r, c0 - c : c1 - c]
                canvas[i, :, r0:r1, c0:c1].mul_(1 - part[3]).add_(part[:3])

    def _course(self, path: Path, times: Float) -> tuple[Float, Float, Float, Float]:
        """x and y from the middle of the screen, radius, angle, each (t,)."""
        here, there = self._nearer(path.at(times)), self._nearer(path.at(np.array([self.moment])))
        turn, grown = there.angle, np.exp(-there.zoom)
        own = times - self.moment
        swing = self.swing[0] * np.sin(2 * math.pi * (self.swing[1] * own + self.swing[2]))
        qx, qy = self.place[0] + self.velocity[0] * own, self.place[1] + self.velocity[1] * own + swing
        # To the picture from the screen at the moment, and back to the screen at `times`.
        wx = there.x + grown * (np.cos(turn) * qx - np.sin(turn) * qy) - here.x
        wy = there.y + grown * (np.sin(turn) * qx + np.cos(turn) * qy) - here.y
        scale, cos, sin = np.exp(here.zoom), np.cos(here.angle), np.sin(here.angle)
        x, y = scale * (cos * wx + sin * wy), scale * (cos * wy - sin * wx)
        return x, y, self.radius * np.exp(here.zoom - there.zoom), there.angle - here.angle

    def _nearer(self, poses: Poses) -> Poses:
        near = self.nearness
        return Poses(near * poses.x, near * poses.y, near * poses.zoom, min(near, 1.0) * poses.angle)


def draw_things(
    rng: np.random.Generator, pool: Pool, path: Path, *, seconds: float, height: int, width: int
) -> list[Thing]:
    """Up to three objects, in a third of clips a layer in front that moves faster, in an eighth something that rushes by."""
    side, things = min(height, width), []
    area = height * width

    def somewhere() -> tuple[float, float]:
        return rng.uniform(-0.5, 0.5) * width, rng.uniform(-0.5, 0.5) * height

    for _ in range(int(rng.choice((0, 0, 1, 1, 2, 3)))):
        radius = math.sqrt(area * math.exp(rng.uniform(math.log(0.008), math.log(0.25))) / math.pi)
        speed, course = rng.uniform(0, 0.5) ** 1.5 * side, rng.uniform(0, 2 * math.pi)
        velocity = (speed * math.cos(course), speed * math.sin(course)) if rng.random() < 0.8 else (0.0, 0.0)
        swing = (rng.uniform(0, 0.04) * side, rng.uniform(0.5, 2.5), rng.random())
        nearness = 1.0 if rng.random() < 0.75 else 0.0
        moment = rng.uniform(0, seconds)
        things.append(Thing(_patch(rng, pool, radius), radius, somewhere(), moment, nearness, velocity, swing))
    if rng.random() < 1 / 3:
        nearness = rng.uniform(1.25, 2.2)
        for _ in range(int(rng.integers(1, 4))):
            radius = rng.uniform(0.1, 0.32) * side
            things.append(Thing(_patch(rng, pool, radius), radius, somewhere(), rng.uniform(0, seconds), nearness))
    if rng.random() < 1 / 8:
        radius, course = rng.uniform(0.25, 0.6) * side, rng.uniform(0, 2 * math.pi)
        speed = (width + 2 * radius) / rng.uniform(0.25, 0.7)
        velocity = (speed * math.cos(course), speed * math.sin(course))
        place = (rng.uniform(-0.2, 0.2) * width, rng.uniform(-0.2, 0.2) * height)
        things.append(Thing(_patch(rng, pool, radius), radius, place, rng.uniform(0.1, 0.9) * seconds, 0.0, velocity))
    return things


def _patch(rng: np.random.Generator, pool: Pool, radius: float) -> torch.Tensor:
    """A blob with a soft edge, cut out of a random source, or of one colour."""
    side = int(min(max(16, 2 * radius), 256))
    axis = (np.arange(side, dtype=np.float32) + 0.5) * (2 / side) - 1
    around, distance = np.arctan2(axis[:, None], axis[None]), np.hypot(axis[:, None], axis[None])
    if rng.random() < 0.25:  # a box or a bar
        tall, wide = rng.uniform(0.25, 0.95, 2)
        distance = np.maximum(np.abs(axis[:, None]) / tall, np.abs(axis[None]) / wide)
        edge = np.full_like(distance, 0.9)
    else:
        edge = np.full_like(distance, 0.7)
        for waves in range(2, 7):
            edge += rng.uniform(-0.25, 0.25) / waves * np.cos(waves * around + rng.uniform(0, 2 * math.pi))
    soft = rng.uniform(1.5, 5) / side
    opacity = torch.from_numpy(np.clip((np.minimum(edge, 0.97) - distance) / soft, 0, 1).astype(np.float32))
    colours = _cut(rng, pool.draw(rng, 0.3), side) if rng.random() < 0.8 else _plain(rng, side)
    return torch.cat((colours * opacity, opacity[None]))


def _cut(rng: np.random.Generator, source: Source, side: int) -> torch.Tensor:
    rows, columns = source.size
    taken = min(int(side * rng.uniform(1.0, 2.0)), rows, columns)
    top, left = int(rng.integers(rows - taken + 1)), int(rng.integers(columns - taken + 1))
    frame = source.frames[int(rng.integers(len(source.frames))), top : top + taken, left : left + taken]
    planes = F.interpolate(frame.permute(2, 0, 1)[None], size=(side, side), mode="bilinear", antialias=True)[0].float()
    gain, lift = rng.uniform(0.6, 1.3), rng.uniform(-20, 20)
    return (planes * gain + lift).clamp_(0, 255)


def _plain(rng: np.random.Generator, side: int) -> torch.Tensor:
    colour = torch.from_numpy(rng.uniform(10, 245, 3).astype(np.float32))
    shade = torch.linspace(rng.uniform(0.7, 1.1), rng.uniform(0.7, 1.1), side)
    shaded: torch.Tensor = (colour[:, None] * shade).clamp(0, 255)
    return shaded[:, :, None].expand(3, side, side)
