"""Photographs and footage that a virtual camera moves over, opened and scaled once for each process.

Clips of neighbouring seeds share a pool of a few sources, so that few are in memory at a time and each is opened seldom.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from videomamba.schema import VideoError, VideoMambaError
from videomamba.video.find import is_system_name, search_videos
from videomamba.video.open import IMAGE_SUFFIXES, existing, natural_order, open_video
from videomamba.video.rgb import RgbWriter, read_image

_LONG_SIDE = 1600  # of a picture in memory
_SHORT_SIDE = 480  # of footage in memory
_LEAST_SIDE = 128
_SECONDS = 4.0  # of footage in memory
_RATE = 30.0  # the most pictures of a second of footage in memory
_BYTES = 100_000_000  # the most memory of a piece of footage
_CELLS = 160  # of the long side, for `Source.detail`
_IN_POOL = (24, 4)  # pictures and pieces of footage
POOL_CLIPS = 8
"""Clips of a class that share a pool."""


@dataclass(frozen=True)
class Source:
    """A picture or a piece of footage: `frames` (t, h, w, 3) uint8, one for a picture; `fps` 0 for a picture.

    `grey` (rows, columns) is the first frame in coarse cells of `cell` pixels.
    """

    frames: torch.Tensor
    fps: float
    grey: NDArray[np.float32]
    cell: float

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.frames.shape[1], self.frames.shape[2]

    def indices(self, times: NDArray[np.float64]) -> list[int]:
        """The frames at `times` in seconds; footage is played to its end and back."""
        last = len(self.frames) - 1
        if last == 0:
            return [0] * len(times)
        place = np.rint(times * self.fps).astype(np.int64) % (2 * last)
        return [int(index) for index in np.where(place > last, 2 * last - place, place)]

    def detail(self, box: tuple[float, float, float, float]) -> tuple[float, float]:
        """The share of cells in `box` (left, top, right, bottom in pixels) that differ from the next across, and down."""
        patch = self.patch(box)
        if min(patch.shape) < 3:
            return 0.0, 0.0
        across, down = np.abs(np.diff(patch, axis=1)) > 5, np.abs(np.diff(patch, axis=0)) > 5
        return float(across.mean()), float(down.mean())

    def patch(self, box: tuple[float, float, float, float]) -> NDArray[np.float32]:
        """The cells in `box`."""
        left, top, right, bottom = (round(max(0.0, side) / self.cell) for side in box)
        return self.grey[top : max(bottom, top + 1), left : max(right, left + 1)]


@dataclass(frozen=True)
class Pool:
    """The sources of a few clips: pictures, and pieces of footage by their start as a share of the file."""

    pictures: tuple[Path, ...]
    footage: tuple[tuple[Path, float], ...]

    def draw(self, rng: np.random.Generator, footage_share: float) -> Source:
        """A random source. Raises VideoError when it cannot be read."""
        moving = rng.random() < footage_share and bool(self.footage)
        place = rng.random()
        if moving or not self.pictures:
            return open_footage(*self.footage[int(place * len(self.footage))])
        return open_picture(self.pictures[int(place * len(self.pictures))])


@dataclass(frozen=True)
class Sources:
    """The files of pictures and of footage, sorted; `names` are those that settings record."""

    pictures: tuple[Path, ...]
    footage: tuple[Path, ...]
    picture_names: tuple[str, ...]
    footage_names: tuple[str, ...]

    @classmethod
    def find(cls, pictures: Sequence[Path], footage: Sequence[Path] = ()) -> Sources:
        """The pictures and videos in the given folders, at any depth; a file stands for itself.

        Raises VideoMambaError for a folder that is missing or holds none, and where there are no pictures.
        """
        if not pictures:
            raise VideoMambaError("pictures: none are given; name at least one folder of photographs")
        found = [(file, name) for folder in pictures for file, name in _pictures(folder)]
        films = [(file, _name(file, Path(top))) for top in footage for file in search_videos(top).videos]
        return cls(
            tuple(file for file, _ in found),
            tuple(file for file, _ in films),
            tuple(name for _, name in found),
            tuple(name for _, name in films),
        )

    def check(self) -> None:
        """Reads every source once. Raises VideoError for the first that cannot be used."""
        for path in self.pictures:
            open_picture(path)
        for path in self.footage:
            open_footage(path, 0.0)

    def pool(self, number: int) -> Pool:
        """The sources of pool `number`. Together, successive pools use every source equally often."""
        starts = np.random.default_rng([number, 1]).random(_IN_POOL[1]).tolist()
        films = _dealt(self.footage, number, _IN_POOL[1])
        return Pool(_dealt(self.pictures, number, _IN_POOL[0]), tuple(zip(films, starts, strict=False)))


def _dealt(files: tuple[Path, ...], number: int, count: int) -> tuple[Path, ...]:
    """`count` files, at most all, from a pack that is shuffled each time it is used up."""
    count = min(count, len(files))
    dealt = []
    for place in range(number * count, (number + 1) * count):
        shuffle, i = divmod(place, len(files))
        dealt.append(files[int(np.random.default_rng([shuffle, len(files)]).permutation(len(files))[i])])
    return tuple(dealt)


def _pictures(top: Path) -> list[tuple[Path, str]]:
    top = existing(top)
    if top.is_file():
        return [(top, top.name)]
    files = [file for file in top.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file()]
    files = [file for file in files if not any(is_system_name(part) for part in file.relative_to(top).parts)]
    if not files:
        endings = ", ".join(sorted(IMAGE_SUFFIXES))
        raise VideoMambaError(f"{top}: no pictures in this folder; files ending in {endings} count")
    return [(file, _name(file, top)) for file in sorted(files, key=natural_order)]


def _name(file: Path, top: Path) -> str:
    return file.relative_to(top).as_posix() if file != top else file.name


@functools.lru_cache(maxsize=_IN_POOL[0])
def open_picture(path: Path) -> Source:
    """The picture, its long side at most 1600 pixels. Raises VideoError when it cannot be read or is too small."""
    frame, orientation = read_image(path)
    height, width = orientation.size(frame)
    _check_size(path, height, width)
    pixels = torch.empty((height, width, 3), dtype=torch.uint8)
    RgbWriter().write(frame, orientation, pixels)
    return as_source(scaled(pixels[None], min(1.0, _LONG_SIDE / max(height, width))), 0.0)


@functools.lru_cache(maxsize=_IN_POOL[1])
def open_footage(path: Path, start: float) -> Source:
    """Four seconds of the video from the share `start` of the rest; short side at most 480 pixels.

    Raises VideoError when it cannot be read, is too small or is only one picture.
    """
    with open_video(path, threads=1) as video:
        info, times = video.info, video.timestamps
        _check_size(path, info.height, info.width)
        if info.num_frames < 2 or info.fps <= 0:
            raise VideoError(path, "has only one picture; put it among the pictures")
        fps = min(info.fps, _RATE)
        first = start * max(0.0, float(times[-1]) - _SECONDS)
        moments = np.arange(first, min(first + _SECONDS, float(times[-1]) + 0.5 / fps), 1 / fps)
        wanted = np.unique(np.clip(np.searchsorted(times, moments), 0, len(times) - 1)).tolist()
        factor = min(1.0, _SHORT_SIDE / min(info.height, info.width))
        factor = min(factor, math.sqrt(_BYTES / (3 * len(wanted) * info.height * info.width)))
        pieces = [scaled(video.frames(wanted[i : i + 8]).data, factor) for i in range(0, len(wanted), 8)]
    return as_source(torch.cat(pieces), fps)


def _check_size(path: Path, height: int, width: int) -> None:
    if min(height, width) < _LEAST_SIDE:
        raise VideoError(path, f"is only {width}x{height}; a camera needs at least {_LEAST_SIDE} pixels, remove it")


def scaled(frames: torch.Tensor, factor: float) -> torch.Tensor:
    """(t, h, w, 3) uint8 frames smaller by `factor`, antialiased."""
    if factor >= 1:
        return frames
    size = tuple(max(2, round(factor * side)) for side in frames.shape[1:3])
    planes = F.interpolate(frames.permute(0, 3, 1, 2), size=size, mode="bilinear", antialias=True)
    return planes.permute(0, 2, 3, 1).contiguous()


def as_source(frames: torch.Tensor, fps: float) -> Source:
    """The frames (t, h, w, 3) uint8 as a source; `fps` 0 for a picture."""
    cell = max(2.0, max(frames.shape[1:3]) / _CELLS)
    coarse = scaled(frames[:1], 1 / cell)[0].float()
    grey = (coarse @ torch.tensor([0.3, 0.59, 0.11])).numpy()
    return Source(frames, fps, grey, cell)
