"""An explanation as a video and as a picture: relevance in colours over the frames that the model saw.

Shape letters: t frames, h, w picture, T, H, W patches along time, height and width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from videomamba.data.clips.windows import ROUNDED_TIMES, shown
from videomamba.evaluation.lettering import fitted, lettering, stamp
from videomamba.schema import Frames
from videomamba.video.encode import write_video
from videomamba.video.picture import contact_sheet, write_png

_FOR, _AGAINST = (255.0, 70.0, 0.0), (40.0, 110.0, 255.0)  # colours of what speaks for and against the class
_STRONGEST = 0.75  # share of the colour where relevance is highest
_GREY = 0.6  # share of the colours of the picture that is taken away, so that those of the map stand out
_VIDEO_HEIGHT, _TILE_HEIGHT = 320, 160  # pixels at least; clips are small
_BAR_HEIGHT, _LETTERS, _COLUMNS, _MARGIN = 40, 12, 8, 4
_PIECE = 64  # pictures that are encoded at once
_STEPS_BETWEEN = 8  # pictures of the overlay from one seen frame to the next, where the video has more


def write_overlay(
    path: str | Path,
    pictures: Tensor,
    maps: Tensor,
    times: Sequence[float],
    *,
    duration: float,
    rate: Fraction,
    caption: str,
) -> None:
    """Writes `pictures` (t, h, w, 3) uint8 with the relevance `maps` (T, H, W) over them, as H.264.

    Picture i is shown from `times[i]` seconds until the next one, the last one until `duration`; the first is also shown
    before its time. Red speaks for the class, blue against it. The video has `rate` frames a second, or less where 8 of them
    from one picture to the next are enough, but at least one a second. Raises VideoError where the file cannot be written.
    """
    large = _enlarged(heat(pictures, maps), _VIDEO_HEIGHT).numpy()
    height, width = large.shape[1:3]
    for picture, time in zip(large, times, strict=True):
        stamp(picture, fitted(f"{caption}\n{time:.2f} s", height=height, width=width))
    rate = _enough(rate, times)
    moments = np.arange(max(round(duration * rate), 1)) / float(rate)
    places = np.maximum(shown(times, moments, ROUNDED_TIMES), 0)
    write_video(path, _pieces(large, places), fps=rate)


def write_sheet(
    path: str | Path, pictures: Tensor, maps: Tensor, times: Sequence[float], shares: Tensor, *, caption: str
) -> None:
    """Writes a PNG: for each of `pictures` (t, h, w, 3) uint8 the picture, the relevance `maps` (T, H, W) over it, and a bar.

    The bar is as long as the share of the picture, `shares` (t,), compared with the largest. Raises VideoMambaError where
    the file cannot be written.
    """
    plain, coloured = (_enlarged(one, _TILE_HEIGHT).numpy() for one in (pictures, heat(pictures, maps)))
    longest = max(float(shares.max()), torch.finfo(torch.float32).tiny)
    tiles = [
        np.concatenate((one, other, _bar(share, share / longest, time, one.shape[1])))
        for one, other, share, time in zip(plain, coloured, shares.tolist(), times, strict=True)
    ]
    framed = np.pad(np.stack(tiles), ((0, 0), (0, _MARGIN), (0, _MARGIN), (0, 0)))
    frames = Frames(torch.from_numpy(framed), tuple(range(len(tiles))), tuple(times))
    sheet = contact_sheet(frames, columns=_COLUMNS).numpy()
    title = lettering(caption, _LETTERS + 4)[:, : sheet.shape[1]]
    head = np.zeros((title.shape[0], sheet.shape[1], 3), np.uint8)
    head[:, : title.shape[1]] = title[..., None]
    write_png(path, torch.from_numpy(np.concatenate((head, sheet))))


def heat(pictures: Tensor, maps: Tensor) -> Tensor:
    """(t, h, w, 3) uint8 with relevance (T, H, W) over it, of the same shape: red above 0, blue below.

    The pictures are made greyer. The strength of the colour grows evenly with the relevance, up to the largest of the clip, and
    changes smoothly from patch to patch.
    """
    frames, height, width = pictures.shape[:3]
    strength = maps / maps.abs().max().clamp(min=torch.finfo(torch.float32).tiny)
    strength = F.interpolate(strength[:, None], (height, width), mode="bilinear", align_corners=False)[:, 0]
    strength = strength.repeat_interleave(frames // len(maps), dim=0).unsqueeze(-1)
    colour = torch.where(strength > 0, torch.tensor(_FOR), torch.tensor(_AGAINST))
    pixels = pictures.float()
    grey = pixels.lerp(pixels.mean(dim=-1, keepdim=True).expand_as(pixels), _GREY)
    return torch.lerp(grey, colour, _STRONGEST * strength.abs()).round().to(torch.uint8)


def _enlarged(pictures: Tensor, height: int) -> Tensor:
    """(t, h, w, 3) uint8 -> the same at a whole multiple of its size, at least `height` pixels high, with even sides."""
    times = -(-height // pictures.shape[1])
    if times * pictures.shape[1] % 2 or times * pictures.shape[2] % 2:
        times += 1
    size = times * pictures.shape[1], times * pictures.shape[2]
    large = F.interpolate(pictures.permute(0, 3, 1, 2).float(), size, mode="bilinear", align_corners=False)
    return large.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _enough(rate: Fraction, times: Sequence[float]) -> Fraction:
    """`rate`, or less where that tells the pictures at `times` apart."""
    steps = np.diff(times)
    steps = steps[steps > 0]
    if not len(steps):
        return rate
    return min(rate, max(Fraction(_STEPS_BETWEEN / float(steps.min())).limit_denominator(1001), Fraction(1)))


def _pieces(pictures: NDArray[np.uint8], places: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
    for first in range(0, len(places), _PIECE):
        yield pictures[places[first : first + _PIECE]]


def _bar(share: float, length: float, time: float, width: int) -> NDArray[np.uint8]:
    """A bar of `length`, 0 to 1, with the time and the share below it: (h, width, 3)."""
    letters = lettering(f"{time:.2f} s  {100 * share:.0f} %", _LETTERS)[:, :width]
    area = np.zeros((_BAR_HEIGHT + letters.shape[0], width, 3), np.uint8)
    area[_BAR_HEIGHT - round(length * (_BAR_HEIGHT - _MARGIN)) : _BAR_HEIGHT, _MARGIN : width - _MARGIN] = _FOR
    area[_BAR_HEIGHT:, : letters.shape[1]] = letters[..., None]
    return area
