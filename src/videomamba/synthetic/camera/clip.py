"""A clip of one class: everything of it is drawn from its seed, then rendered."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray

from videomamba.synthetic.camera.finish import Light, add_noise, add_overlays, draw_light
from videomamba.synthetic.camera.motions import EDITS, MOTIONS
from videomamba.synthetic.camera.objects import Thing, draw_things
from videomamba.synthetic.camera.shot import Shot, draw_shot
from videomamba.synthetic.camera.sources import POOL_CLIPS, Pool, Source, Sources
from videomamba.synthetic.camera.trajectory import Float

_RATES = (10, 12, 15, 24, 25, 30)
_ASPECTS = {16 / 9: 8, 4 / 3: 5, 3 / 2: 2, 1.0: 1, 2.39: 1, 3 / 4: 1, 9 / 16: 3}  # width / height: how often
_SECONDS = (1.2, 1.5)
_SHORT_SIDE = (120, 240)
_CAMERA = tuple(name for name in MOTIONS if name not in EDITS)


@dataclass(frozen=True)
class Shape:
    """The size, rate and quality of a clip; None: drawn for each."""

    height: int | None = None
    width: int | None = None
    fps: int | None = None
    crf: int | None = None


@dataclass(frozen=True)
class CameraClip:
    """`frames` (t, h, w, 3) uint8 RGB; `gop`: frames from one key frame to the next."""

    frames: NDArray[np.uint8]
    fps: Fraction
    crf: int
    gop: int


@dataclass(frozen=True)
class _Scene:
    """A shot with what is in front of it and how it is lit."""

    shot: Shot
    things: list[Thing]
    light: Light

    def render(self, times: Float, *, height: int, width: int) -> torch.Tensor:
        canvas = self.shot.render(times, height=height, width=width)
        for thing in self.things:
            thing.add_to(canvas, self.shot.path, times)
        return canvas

    def brightness(self, time: float, *, height: int, width: int) -> float:
        return float(self.shot.source.patch(self.shot.box(time, width, height)).mean())


def render_camera_clip(
    label: int, seed: int, sources: Sources, *, shape: Shape = Shape(), footage_share: float = 0.5
) -> CameraClip:
    """The clip of class `label` and `seed`: one window of 1.2 to 1.5 s. Equal arguments give equal frames.

    Seeds in one block of 8 share a pool of sources. Raises ValueError for an unknown class or a negative seed; VideoError for
    a source that cannot be read.
    """
    if not 0 <= label < len(MOTIONS):
        raise ValueError(f"label: {label} is not in 0..{len(MOTIONS) - 1}")
    if seed < 0:
        raise ValueError(f"seed: {seed} is below 0")
    rng = np.random.default_rng([seed, label])
    fps, crf, gop = _coding(rng, shape)
    height, width = _size(rng, shape)
    seconds = rng.uniform(*_SECONDS)
    starts = np.arange(max(8, round(seconds * fps))) / fps
    director = _Director(rng, sources.pool(seed // POOL_CLIPS), starts, len(starts) / fps, height, width, footage_share)
    motion = MOTIONS[label]
    if motion == "cut":
        canvas = director.cut()
    elif motion == "fade":
        canvas = director.fade()
    else:
        canvas = director.camera(motion)
    add_noise(canvas, rng)
    add_overlays(canvas, rng)
    pixels = canvas.clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    return CameraClip(pixels.numpy(), Fraction(fps), crf, gop)


def _coding(rng: np.random.Generator, shape: Shape) -> tuple[int, int, int]:
    """Frames in a second, H.264 quality, frames in a group."""
    fps, crf, gop = int(rng.choice(_RATES)), int(rng.integers(18, 41)), int(rng.choice((6, 12, 25, 50, 250)))
    return shape.fps or fps, crf if shape.crf is None else shape.crf, gop


def _size(rng: np.random.Generator, shape: Shape) -> tuple[int, int]:
    """(height, width), even numbers."""
    aspect = float(rng.choice(tuple(_ASPECTS), p=np.array(tuple(_ASPECTS.values())) / sum(_ASPECTS.values())))
    short = math.exp(rng.uniform(math.log(_SHORT_SIDE[0]), math.log(_SHORT_SIDE[1])))
    height, width = short * max(1, 1 / aspect), short * max(1, aspect)
    return shape.height or 2 * round(height / 2), shape.width or 2 * round(width / 2)


@dataclass(frozen=True)
class _Director:
    """Draws the shots of a clip and puts them together; `starts` (t,) are the times of its frames."""

    rng: np.random.Generator
    pool: Pool
    starts: Float
    seconds: float
    height: int
    width: int
    footage_share: float

    def camera(self, motion: str) -> torch.Tensor:
        """One shot."""
        scene = self._scene(self._shot(motion))
        return self._lit(scene, scene.light, self._moments(scene.shot))

    def cut(self) -> torch.Tensor:
        """Two shots, the second from a frame at 12 to 88 % of the clip."""
        count = len(self.starts)
        first = min(max(1, round(self.rng.uniform(0.12, 0.88) * count)), count - 1)
        before = self._scene(self._shot(self._any_motion()))
        after = self._another(before)
        times = [self._moments(scene.shot) for scene in (before, after)]
        return torch.cat(
            (self._lit(before, before.light, times[0], 0, first), self._lit(after, after.light, times[1], first, count))
        )

    def fade(self) -> torch.Tensor:
        """From or to black or white, or from one shot to another: 0.3 to 1.2 s, mostly inside the clip."""
        kind = self.rng.choice(("in", "out", "cross"))
        length = self.rng.uniform(0.3, min(1.2, 0.9 * self.seconds))
        first = self.rng.uniform(-0.2 * length, self.seconds - 0.8 * length)
        progress = np.clip((self.starts - first) / length, 0, 1)
        if self.rng.random() < 0.3:
            progress = progress * progress * (3 - 2 * progress)
        scene = self._scene(self._shot(self._any_motion()), steady=True)
        times = self._moments(scene.shot)
        if kind != "cross":
            opacity = progress if kind == "in" else 1 - progress
            grey = scene.brightness(self.seconds / 2, height=self.height, width=self.width)
            white = grey < 70 or (grey < 170 and self.rng.random() < 0.25)
            light = scene.light.faded(opacity, self.rng.uniform(238, 255) if white else self.rng.uniform(0, 14))
            return self._lit(scene, light, times)
        other = self._another(scene, steady=True)
        return self._crossed(scene, other, progress)

    def _crossed(self, scene: _Scene, other: _Scene, progress: Float) -> torch.Tensor:
        count = len(self.starts)
        last, first = int((progress < 1).sum()), int((progress <= 0).sum())  # the second shot begins at `first`
        canvas = torch.empty((count, 3, self.height, self.width))
        if last:
            canvas[:last] = self._lit(scene, scene.light, self._moments(scene.shot), 0, last)
        if first < count:
            later = self._lit(other, other.light, self._moments(other.shot), first, count)
            share = torch.from_numpy(progress[first:last].astype(np.float32))[:, None, None, None]
            both = last - first
            canvas[first:last] = canvas[first:last] * (1 - share) + later[:both] * share
            canvas[last:] = later[both:]
        return canvas

    def _scene(self, shot: Shot, *, steady: bool = False) -> _Scene:
        things = draw_things(self.rng, self.pool, shot.path, seconds=self.seconds, height=self.height, width=self.width)
        return _Scene(shot, things, draw_light(self.rng, self.starts, steady=steady))

    def _shot(self, motion: str, source: Source | None = None) -> Shot:
        return draw_shot(
            motion,
            self.rng,
            self.pool,
            seconds=self.seconds,
            height=self.height,
            width=self.width,
            footage_share=self.footage_share,
            source=source,
        )

    def _another(self, scene: _Scene, *, steady: bool = False) -> _Scene:
        """Another scene that looks different: of another source, or of another place or scale of the same one."""
        mine = _thumbnail(scene.shot, self.seconds / 2, self.width, self.height)
        same = self.rng.random() < 0.25
        best: tuple[float, Shot] | None = None
        for _ in range(6):
            shot = self._shot(self._any_motion(), scene.shot.source if same else None)
            other = _thumbnail(shot, self.seconds / 2, self.width, self.height)
            difference = float(np.abs(other - mine).mean())
            if best is None or difference > best[0]:
                best = (difference, shot)
            if difference > 28:
                break
        if best is None:
            raise AssertionError
        return self._scene(best[1], steady=steady)

    def _any_motion(self) -> str:
        return "static" if self.rng.random() < 0.5 else str(self.rng.choice(_CAMERA[1:]))

    def _moments(self, shot: Shot) -> Float:
        """(t, k) the moments whose mean a frame is: more than one, with motion blur, in half of the shots."""
        blurred, share, most = self.rng.random() < 0.5, self.rng.uniform(0.3, 0.9), int(self.rng.integers(2, 5))
        count = most if blurred else 1
        frame = self.starts[1] - self.starts[0]
        if blurred:  # where nothing moves by more than a pixel, one moment shows the same
            corners = shot.path.at(self.starts).corners(self.width, self.height)
            fastest = max(float(np.abs(np.diff(places, axis=0)).max()) for places in corners)
            count = 1 if fastest * share < 1.2 else count
        offsets = (np.arange(count) - (count - 1) / 2) / count * share * frame
        moments: Float = self.starts[:, None] + offsets
        return moments

    def _lit(self, scene: _Scene, light: Light, times: Float, first: int = 0, last: int | None = None) -> torch.Tensor:
        canvas = scene.render(times[first:last], height=self.height, width=self.width)
        Light(light.gain[first:last], light.lift[first:last]).apply(canvas)
        return canvas.clamp_(0, 255)


def _thumbnail(shot: Shot, time: float, width: int, height: int) -> NDArray[np.float32]:
    """(12, 12) grey: the picture in coarse cells."""
    patch = shot.source.patch(shot.box(time, width, height))
    rows, columns = (np.linspace(0, side - 1, 12).astype(int) for side in patch.shape)
    cells: NDArray[np.float32] = patch[np.ix_(rows, columns)]
    return cells
