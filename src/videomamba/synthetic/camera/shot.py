"""A shot: a camera path placed over a source, and its pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch

from videomamba.synthetic.camera.sampling import sampled
from videomamba.synthetic.camera.sources import Pool, Source, scaled
from videomamba.synthetic.camera.trajectory import Float, Path, Poses, draw_path

_SHARPEST = 0.5  # pixels of the source for a pixel of the clip: more than twofold enlargement is blurred
_ENOUGH = 0.12  # share of cells with detail, below which a motion can hardly be seen
_TRIES = 6


@dataclass(frozen=True)
class Shot:
    """`path` seen with `scale` pixels of the source for a pixel of the clip, its origin at `x`, `y` of the source."""

    source: Source
    path: Path
    scale: float
    x: float
    y: float
    start: float  # seconds of footage before the clip

    def box(self, time: float, width: int, height: int) -> tuple[float, float, float, float]:
        """(left, top, right, bottom) in pixels of the source, of what is seen at `time` seconds."""
        x, y = self.path.at(np.array([time])).corners(width, height)
        across, down = self.x + self.scale * x, self.y + self.scale * y
        return float(across.min()), float(down.min()), float(across.max()), float(down.max())

    def render(self, times: Float, *, height: int, width: int) -> torch.Tensor:
        """(t, 3, h, w) float32 in 0..255: the means over the moments `times` (t, k) of each frame."""
        count, blur = times.shape
        poses = self.path.at(times.ravel())
        scales = (self.scale * np.exp(-poses.zoom)).reshape(count, blur).mean(1)
        levels = np.maximum(0, np.floor(2 * np.log2(np.maximum(scales, 1e-3)))).astype(int)
        frames = self.source.indices(self.start + times.mean(1))
        parts = []
        for level, group in groupby(range(count), key=levels.__getitem__):
            rows = list(group)
            inside = slice(rows[0] * blur, (rows[-1] + 1) * blur)
            some = Poses(poses.x[inside], poses.y[inside], poses.zoom[inside], poses.angle[inside])
            parts.append(self._sample(some, [frames[i] for i in rows], 2 ** (-level / 2), blur, (height, width)))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _sample(self, poses: Poses, frames: list[int], factor: float, blur: int, size: tuple[int, int]) -> torch.Tensor:
        """(t, 3, h, w) of frames that are sampled from the source made smaller by `factor`."""
        height, width = size
        x, y = poses.corners(width, height)
        rows, columns = self.source.size
        left, top = (max(0, int(o + self.scale * low.min()) - 2) for o, low in ((self.x, x), (self.y, y)))
        right = min(columns, int(self.x + self.scale * x.max()) + 3)
        bottom = min(rows, int(self.y + self.scale * y.max()) + 3)
        wanted = sorted(set(frames))
        crop = scaled(self.source.frames[wanted][:, top:bottom, left:right], factor)
        planes = crop.permute(0, 3, 1, 2).float()
        if len(wanted) > 1:
            planes = planes[[wanted.index(frame) for frame in frames]]
        zoom = self.scale * np.exp(-poses.zoom)
        cos, sin = zoom * np.cos(poses.angle), zoom * np.sin(poses.angle)
        across, down = 2 / (right - left), 2 / (bottom - top)
        affine = np.empty((len(poses.x), 2, 3))
        affine[:, 0, 0], affine[:, 0, 1] = across * cos, -across * sin
        affine[:, 1, 0], affine[:, 1, 1] = down * sin, down * cos
        affine[:, 0, 2] = across * (self.x + self.scale * poses.x - left) - 1
        affine[:, 1, 2] = down * (self.y + self.scale * poses.y - top) - 1
        maps = affine.reshape(len(frames), blur, 2, 3)
        return sampled(planes, maps, height=height, width=width, blur=blur, border=True)


def draw_shot(
    motion: str,
    rng: np.random.Generator,
    pool: Pool,
    *,
    seconds: float,
    height: int,
    width: int,
    footage_share: float = 0.5,
    source: Source | None = None,
) -> Shot:
    """A shot of the class `motion` whose view stays inside its source, in a place with enough detail to see the motion.

    `source` None: a random one of the pool. Raises VideoError for a source that cannot be read.
    """
    best: tuple[float, Shot] | None = None
    for _ in range(_TRIES):
        shot = _placed(motion, rng, source or pool.draw(rng, footage_share), seconds, height, width)
        across, down = shot.source.detail(shot.box(seconds / 2, width, height))
        detail = {"pan": across, "tilt": down}.get(motion.partition("_")[0], min(across, down))
        if best is None or detail > best[0]:
            best = (detail, shot)
        if detail > _ENOUGH:
            break
    if best is None:
        raise AssertionError
    return best[1]


def _placed(motion: str, rng: np.random.Generator, source: Source, seconds: float, height: int, width: int) -> Shot:
    calm = 1.0
    while True:
        path = draw_path(motion, rng, seconds=seconds, width=width, height=height, calm=calm)
        left, top, right, bottom = path.box(width, height)
        rows, columns = source.size
        largest = min((columns - 1) / (right - left), (rows - 1) / (bottom - top))
        sharpest = _SHARPEST * math.exp(float(path.poses.zoom.max()))
        if largest >= sharpest or calm < 0.1:
            break
        calm *= 0.75
    scale = largest * math.exp(rng.uniform(math.log(max(0.3, min(1.0, sharpest / largest))), 0))
    x = 0.5 - scale * left + rng.random() * (columns - 1 - scale * (right - left))
    y = 0.5 - scale * top + rng.random() * (rows - 1 - scale * (bottom - top))
    return Shot(source, path, scale, x, y, rng.uniform(0, 60))
