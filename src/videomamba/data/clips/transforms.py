"""From frames to test clips: resize, crop, normalise. Deterministic, with one record of settings.

Frames are scaled once: `covering` makes `Covering` frames, and only those can be cropped. Training uses the same functions
to resize and normalise.

Shape letters: t frames, h height, w width.
"""

from __future__ import annotations

from typing import NewType

import torch
import torch.nn.functional as F
from torch import Tensor

from videomamba.schema import Clip, Frames, Preprocess

Covering = NewType("Covering", Frames)
"""Frames scaled to just cover the area that a `Preprocess` crops from, or stretched to it."""


def to_clip(frames: Frames, preprocess: Preprocess, *, crop: int = 0, num_crops: int = 1) -> Clip:
    """`crop_clip` of the scaled frames, for frames of any size; raises the same errors."""
    return crop_clip(covering(frames, preprocess), preprocess, crop=crop, num_crops=num_crops)


def crop_clip(frames: Covering, preprocess: Preprocess, *, crop: int = 0, num_crops: int = 1) -> Clip:
    """Crop view `crop` of `num_crops` and normalise: (3, t, h, w) float32, contiguous.

    One crop is the centre. Several crops are spread evenly along the dimension with more to spare (left, centre, right of a
    wide picture; top, middle, bottom of a tall one) and centred along the other, as in the original multi-crop test.

    Raises ValueError when `crop` is not in [0, num_crops), or there are no frames, or they have another size.
    """
    if not 0 <= crop < num_crops:
        raise ValueError(f"crop {crop} of {num_crops}: count from 0")
    if len(frames) == 0:
        raise ValueError(f"{frames.path}: no frames to make a clip from")
    height, width = preprocess.image_size
    size = frames.data.shape[1], frames.data.shape[2]
    if size != cover_size(size, preprocess):
        raise ValueError(f"{frames.path}: pictures of {size[0]}x{size[1]} are not scaled to cover {height}x{width}")
    pictures = frames.data.permute(0, 3, 1, 2)
    excess = pictures.shape[2] - height, pictures.shape[3] - width
    top, left = crop_offset(excess, crop, num_crops)
    window = pictures[:, :, top : top + height, left : left + width]
    return Clip(normalise(window, preprocess), frames.indices, frames.path)


def covering(frames: Frames, preprocess: Preprocess) -> Covering:
    """The frames scaled to the `cover_size` of `preprocess`; frames of that size are not changed."""
    height, width = frames.data.shape[1:3]
    scaled = resize(frames.data.permute(0, 3, 1, 2), cover_size((height, width), preprocess), preprocess)
    return Covering(Frames(scaled.permute(0, 2, 3, 1).contiguous(), frames.indices, frames.timestamps, frames.path))


def cover_size(size: tuple[int, int], preprocess: Preprocess) -> tuple[int, int]:
    """(height, width) of a picture of `size` scaled to just cover int(image_size / crop_ratio), keeping its aspect.

    For a square target the short side becomes the target, the long side int(target * long / short). With the `resize`
    "stretch" it is the target itself.
    """
    height, width = size
    target_h, target_w = (int(side / preprocess.crop_ratio) for side in preprocess.image_size)
    if preprocess.resize == "stretch":
        return target_h, target_w
    if target_w * height >= target_h * width:
        return target_w * height // width, target_w
    return target_h, target_h * width // height


def crop_offset(excess: tuple[int, int], crop: int, num_crops: int) -> tuple[int, int]:
    """(top, left) of a crop; `excess` is the number of rows and columns to spare.

    Centred: round(excess / 2), halves to even. Spread: int(crop * excess / (num_crops - 1)), along rows if equal.
    """
    rows, columns = excess
    top, left = round(rows / 2), round(columns / 2)
    if num_crops > 1 and rows >= columns:
        top = int(crop * (rows / (num_crops - 1)))
    elif num_crops > 1:
        left = int(crop * (columns / (num_crops - 1)))
    return top, left


def resize(pictures: Tensor, size: tuple[int, int], preprocess: Preprocess) -> Tensor:
    """(t, 3, h, w) uint8 in channels-last memory -> the same at `size`. Pixels are areas (align_corners=False)."""
    if pictures.shape[2:] == size:
        return pictures
    if preprocess.antialias:
        return F.interpolate(pictures, size, mode=preprocess.interpolation, align_corners=False, antialias=True)
    # As in OpenCV: exact weights, one rounding (the uint8 kernel rounds after each axis). One picture at a time, because
    # float pictures at full size are large; slices keep the channels-last memory, which is twice as fast.
    resized = torch.empty((len(pictures), *size, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    for t in range(len(pictures)):
        source = pictures[t : t + 1].float()
        exact = F.interpolate(source, size, mode=preprocess.interpolation, align_corners=False)
        resized[t : t + 1] = exact.round_().clamp_(0, 255)
    return resized


def normalise(window: Tensor, preprocess: Preprocess) -> Tensor:
    """(t, 3, h, w) uint8 -> (3, t, h, w) float32, (x / 255 - mean) / std."""
    mean, std = (torch.tensor(values).mul_(255).view(3, 1, 1, 1) for values in (preprocess.mean, preprocess.std))
    data = window.transpose(0, 1).to(torch.float32, memory_format=torch.contiguous_format)
    return data.sub_(mean).div_(std)
