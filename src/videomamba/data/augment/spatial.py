"""The spatial changes of a training clip: random crops, symmetries with their labels, erasing.

Pictures are (t, h, w, 3) uint8 RGB. Shape letters: t frames, h height, w width.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from videomamba.data.clips.transforms import cover_size, crop_offset, resize
from videomamba.data.settings import Augmentation
from videomamba.schema import Preprocess, Symmetries, VideoMambaError

_CROP_TRIES = 10
_SCALES = (1, 0.875, 0.75, 0.66)
_SNAP = 2
_ANCHORS = (
    *((0, 0), (0, 4), (4, 0), (4, 4), (2, 2)),
    *((2, 0), (2, 4), (4, 2), (0, 2)),
    *((1, 1), (1, 3), (3, 1), (3, 3)),
)  # (rows, columns) in quarters of the space around the box
_ERASE_TRIES = 100
_ERASE_AREA = (0.02, 1 / 3)
_ERASE_ASPECT = (0.3, 1 / 0.3)


class Box(NamedTuple):
    top: int
    left: int
    height: int
    width: int

    def of(self, pictures: Tensor) -> Tensor:
        """The part of (t, h, w, 3), contiguous."""
        inside = pictures[:, self.top : self.top + self.height, self.left : self.left + self.width]
        return inside.contiguous()


def crop(
    pictures: Tensor, preprocess: Preprocess, augmentation: Augmentation, generator: np.random.Generator
) -> Tensor:
    """The same part of each picture at `preprocess.image_size`; (t, height, width, 3) contiguous. "centre" draws nothing."""
    size, target = (pictures.shape[1], pictures.shape[2]), preprocess.image_size
    if augmentation.crop in ("shift", "centre"):
        cover = cover_size(size, preprocess)
        excess = cover[0] - target[0], cover[1] - target[1]
        centred = augmentation.crop == "centre"
        box = Box(*crop_offset(excess, 0, 1), *target) if centred else place_box(cover, target, generator)
        return box.of(_resized(pictures, cover, preprocess))
    if augmentation.crop == "multiscale":
        box = scale_box(size, target, generator)
    else:
        box = area_box(size, augmentation.crop_area, augmentation.crop_aspect, generator)
    return _resized(box.of(pictures), target, preprocess)


def scale_box(size: tuple[int, int], target: tuple[int, int], generator: np.random.Generator) -> Box:
    """The multi-scale crop of masked pretraining: one of ten sizes at one of thirteen places of (height, width).

    The largest box with the aspect of `target`, times 1, 0.875, 0.75 or 0.66 along each side, the two at most one step apart.
    A side that differs from the target by at most 2 pixels becomes the target's, so that nothing is resized for it. The box
    is at a corner, the centre, the middle of an edge, or between centre and corner. The original has square targets only,
    and its box may exceed a picture that is smaller by a pixel than the target; here it does not.
    """
    (height, width), (rows, columns) = size, target
    largest = (
        (height, height * columns // rows) if height * columns <= width * rows else (width * rows // columns, width)
    )
    pairs = [(i, j) for i in range(len(_SCALES)) for j in range(len(_SCALES)) if abs(i - j) <= 1]
    chosen = pairs[int(generator.integers(len(pairs)))]
    anchor = _ANCHORS[int(generator.integers(len(_ANCHORS)))]
    inner = []
    for side, most, wanted, scale in zip(largest, size, target, chosen, strict=True):
        scaled = max(int(side * _SCALES[scale]), 1)
        inner.append(wanted if abs(scaled - wanted) <= _SNAP and wanted <= most else scaled)
    top, left = (quarters * ((outer - side) // 4) for quarters, outer, side in zip(anchor, size, inner, strict=True))
    return Box(top, left, inner[0], inner[1])


def area_box(
    size: tuple[int, int], area: tuple[float, float], aspect: tuple[float, float], generator: np.random.Generator
) -> Box:
    """A box with a uniform share `area` of (height, width) and a log-uniform `aspect` width / height.

    A box that does not fit is drawn again; after ten tries it is the largest centred box with an allowed aspect.
    """
    height, width = size
    for _ in range(_CROP_TRIES):
        drawn = _box_size(size, area, aspect, generator)
        if min(drawn) > 0 and drawn[0] <= height and drawn[1] <= width:
            return place_box(size, drawn, generator)
    clamped = min(max(width / height, aspect[0]), aspect[1])
    inner = min(max(round(width / clamped), 1), height), min(max(round(height * clamped), 1), width)
    return Box((height - inner[0]) // 2, (width - inner[1]) // 2, *inner)


def place_box(size: tuple[int, int], inner: tuple[int, int], generator: np.random.Generator) -> Box:
    """A box of size `inner` at a uniform random place inside `size`."""
    top, left = (int(generator.integers(s - i + 1)) for s, i in zip(size, inner, strict=True))
    return Box(top, left, *inner)


class Turn(NamedTuple):
    """A symmetry: the reversed dimension of (t, h, w, 3), and the new class of each class."""

    dimension: int
    labels: tuple[int, ...]


def allowed_turns(augmentation: Augmentation, symmetries: Symmetries) -> tuple[Turn, ...]:
    """The symmetries, each applied to half of the clips. Raises VideoMambaError when the new class is unknown."""
    wanted = (
        ("flip on", augmentation.flip == "on", 2, symmetries.mirror, "mirrored"),
        ("flip_vertical", augmentation.flip_vertical, 1, symmetries.upside_down, "turned upside down"),
        ("reverse", augmentation.reverse, 0, symmetries.backwards, "played backwards"),
    )
    turns = []
    for option, on, dimension, labels, how in wanted:
        if on and labels is None:
            raise VideoMambaError(
                f"augment.{option}: the data set does not define the class or texts of a video that is {how}; switch it off"
            )
        if labels is not None and (on or (dimension == 2 and augmentation.flip == "auto")):
            turns.append(Turn(dimension, labels))
    return tuple(turns)


def erase(clip: Tensor, generator: np.random.Generator) -> None:
    """Fill one box of all pictures of `clip` (3, t, h, w) float, normalised, with noise N(0, 1), in place.

    A picture that is too small for a box is not changed.
    """
    size = clip.shape[2], clip.shape[3]
    for _ in range(_ERASE_TRIES):
        height, width = _box_size(size, _ERASE_AREA, _ERASE_ASPECT, generator)
        if 0 < height < size[0] and 0 < width < size[1]:
            top, left, _, _ = place_box(size, (height, width), generator)
            noise = generator.standard_normal((*clip.shape[:2], height, width), np.float32)
            clip[:, :, top : top + height, left : left + width] = torch.from_numpy(noise)
            return


def _box_size(
    size: tuple[int, int], area: tuple[float, float], aspect: tuple[float, float], generator: np.random.Generator
) -> tuple[int, int]:
    drawn = generator.uniform(*area) * size[0] * size[1]
    ratio = math.exp(generator.uniform(math.log(aspect[0]), math.log(aspect[1])))
    return round(math.sqrt(drawn / ratio)), round(math.sqrt(drawn * ratio))


def _resized(pictures: Tensor, size: tuple[int, int], preprocess: Preprocess) -> Tensor:
    return resize(pictures.permute(0, 3, 1, 2), size, preprocess).permute(0, 2, 3, 1).contiguous()
