"""The colour operations of RandAugment: each function applies one change to all pictures and returns a new tensor.

Pictures are (t, h, w, 3) uint8 RGB, contiguous. The arithmetic is Pillow's (ImageOps, ImageEnhance), with its truncations,
because the published weights were trained with it. As in Pillow, AutoContrast, Equalize and Contrast depend on each picture.

Shape letters: t frames, h height, w width.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Levels = NDArray[Any]  # (256,): the new value of each level, before it is clamped and truncated

_LEVELS = np.arange(256)


def invert(pictures: Tensor) -> Tensor:
    """The negative."""
    return _look_up(pictures, 255 - _LEVELS)


def posterize(pictures: Tensor, bits: int) -> Tensor:
    """Keep the `bits` highest of 8."""
    return _look_up(pictures, _LEVELS & (0xFF00 >> bits))


def solarize(pictures: Tensor, threshold: int) -> Tensor:
    """Invert the levels from `threshold` on."""
    return _look_up(pictures, np.where(threshold > _LEVELS, _LEVELS, 255 - _LEVELS))


def solarize_add(pictures: Tensor, added: int) -> Tensor:
    """Add to the levels below 128."""
    return _look_up(pictures, np.where(_LEVELS < 128, _LEVELS + added, _LEVELS))


def auto_contrast(pictures: Tensor) -> Tensor:
    """Stretch each channel of each picture to the full range."""
    t, h, w, _ = pictures.shape
    rows = pictures.view(t, h, w * 3)  # reduce over rows first: the inner loop is then long and vectorised
    low, high = (f(f(rows, 1).view(t, w, 3), 1).tolist() for f in (torch.amin, torch.amax))
    ends = zip(low, high, strict=True)
    return _look_up_each(_planes(pictures), [[_stretch(*pair) for pair in zip(*of, strict=True)] for of in ends])


def equalize(pictures: Tensor) -> Tensor:
    """Level the histogram of each channel of each picture."""
    planes = _planes(pictures)
    counts = [[torch.bincount(plane, minlength=256).numpy() for plane in picture] for picture in planes.flatten(2)]
    return _look_up_each(planes, [[_levelled(count) for count in picture] for picture in counts])


def brightness(pictures: Tensor, factor: float) -> Tensor:
    """Away from black (factor > 1) or towards it."""
    return _look_up(pictures, _blend(0, factor))


def contrast(pictures: Tensor, factor: float) -> Tensor:
    """Away from each picture's mean grey or towards it."""
    means = [int(float(_grey(picture.float()).mean(dtype=torch.float64)) + 0.5) for picture in _planes(pictures)]
    return torch.stack([_look_up(picture, _blend(m, factor)) for picture, m in zip(pictures, means, strict=True)])


def color(pictures: Tensor, factor: float) -> Tensor:
    """Away from grey or towards it: saturation."""
    planes, changed = _planes(pictures), np.empty(pictures.shape, np.uint8)
    for picture, target in zip(planes, changed, strict=True):  # one at a time: its floats stay in the cache
        exact = picture.float()
        grey = _grey(exact)
        levels = exact.sub_(grey).mul_(factor).add_(grey).clamp_(0, 255).numpy().astype(np.uint8)
        _interleave(levels, target)
    return torch.from_numpy(changed)


def sharpness(pictures: Tensor, factor: float) -> Tensor:
    """Away from a 3x3 smoothing (weights 1, centre 5, over 13) or towards it. The outermost pixels do not change."""
    changed = pictures.clone()
    if min(pictures.shape[1:3]) < 3:
        return changed
    for picture, target in zip(pictures, changed, strict=True):
        exact = picture.to(torch.int16)  # the sums are at most 13 x 255
        rows = exact[:-2] + exact[1:-1] + exact[2:]
        inner = exact[1:-1, 1:-1]
        total = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] + 4 * inner
        smooth = total.float().mul_(1 / 13).round_()  # thirteenths are never halves
        target[1:-1, 1:-1] = inner.float().sub_(smooth).mul_(factor).add_(smooth).clamp_(0, 255)
    return changed


def _planes(pictures: Tensor) -> Tensor:
    """(t, h, w, 3) -> (t, 3, h, w), contiguous."""
    return pictures.permute(0, 3, 1, 2).contiguous()


def _interleave(planes: Iterable[NDArray[np.uint8]], target: NDArray[np.uint8]) -> None:
    """Planes (3, h, w) into `target` (h, w, 3). NumPy is several times as fast as PyTorch at a stride of three bytes."""
    for channel, plane in enumerate(planes):
        target[..., channel] = plane


def _grey(planes: Tensor) -> Tensor:
    """(3, h, w) float32 -> (h, w) float32, integer levels. Pillow's weights in 1/65536; sums below 2**24 are exact."""
    red, green, blue = planes
    weighted = (red * 19595).add_(green * 38470).add_(blue * 7471)
    return torch.floor(weighted.add_(0x8000).div_(0x10000))


def _blend(ground: int, factor: float) -> Levels:
    return np.float32(factor) * (_LEVELS - ground).astype(np.float32) + np.float32(ground)


def _stretch(low: int, high: int) -> Levels:
    if high <= low:
        return _LEVELS
    scale = 255.0 / (high - low)
    return _LEVELS * scale - low * scale


def _levelled(count: NDArray[np.int64]) -> Levels:
    """Pillow counts in steps of 1/255 of the pixels below the highest occurring level, starting at half a step."""
    occurring = np.flatnonzero(count)
    step = int(count.sum() - count[occurring[-1]]) // 255
    if step == 0:
        return _LEVELS
    below = np.cumsum(count) - count
    return (below + step // 2) // step


def _look_up(pictures: Tensor, table: Levels) -> Tensor:
    """Every level through one table, clamped and truncated. bytes.translate is several times as fast as indexing."""
    becomes = np.clip(table, 0, 255).astype(np.uint8)
    levels = bytearray(pictures.numpy()).translate(becomes.tobytes())
    return torch.frombuffer(levels, dtype=torch.uint8).view(pictures.shape)


def _look_up_each(planes: Tensor, tables: Sequence[Sequence[Levels]]) -> Tensor:
    """(t, 3, h, w) -> (t, h, w, 3): each channel of each picture through its own table, `tables[t][channel]`."""
    t, channels, h, w = planes.shape
    changed = np.empty((t, h, w, channels), np.uint8)
    for picture, target, of_channel in zip(planes, changed, tables, strict=True):
        pairs = zip(picture, of_channel, strict=True)
        _interleave((_look_up(plane, table).numpy() for plane, table in pairs), target)
    return torch.from_numpy(changed)
