"""An explanation as a video and as a picture: relevance in colours over the frames that the model saw.

Shape letters: t frames, h, w picture, T, H, W patches along time, height and width.
"""

from __future__ import annotations

from collections.abc import Iterator
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
from videomamba.serving.explain.answer import Explanation
from videomamba.video.encode import write_video
from videomamba.video.picture import contact_sheet, write_png

_FOR, _AGAINST = (255.0, 70.0, 0.0), (40.0, 110.0, 255.0)  # colours of what speaks for and against the class
_STRONGEST = 0.75  # share of the colour where relevance is highest
_GREY = 0.6  # share of the colours of the picture that is taken away, so that those of the map stand out
_VIDEO_HEIGHT, _TILE_HEIGHT = 320, 160  # pixels at least; clips are small
_BAR_HEIGHT, _LETTERS, _COLUMNS, _MARGIN = 40, 12, 8, 4
_PIECE = 64  # pictures that are encoded at once
_STEPS_BETWEEN = 8  # pictures of the overlay from one seen frame to the next, where the video has more


def write_overlay(path: str | Path, found: Explanation) -> None:
    """Writes the frames that the model saw, each until the next one, with the relevance over them, as H.264.

    Red speaks for the class, blue against it. Where the video has more than 8 frames from one to the next, there are 8 of
    them, but at least one a second. Raises VideoError where the file cannot be written.
    """
    pictures = _enlarged(heat(found.pictures, found.maps), _VIDEO_HEIGHT).numpy()
    height, width = pictures.shape[1:3]
    for picture, time in zip(pictures, found.times, strict=True):
        stamp(picture, fitted(f"{_caption(found)}\n{time:.2f} s", height=height, width=width))
    rate = _rate(found)
    moments = np.arange(max(round(found.duration * rate), 1)) / float(rate)
    places = np.maximum(shown(found.times, moments, ROUNDED_TIMES), 0)
    write_video(path, _pieces(pictures, places), fps=rate)


def write_sheet(path: str | Path, found: Explanation) -> None:
    """Writes a PNG: for each frame that the model saw its picture, the relevance over it, and a bar of its share.

    Raises VideoMambaError where the file cannot be written.
    """
    plain, coloured = (
        _enlarged(pictures, _TILE_HEIGHT).numpy() for pictures in (found.pictures, heat(found.pictures, found.maps))
    )
    shares = found.frames.numpy()
    longest = max(float(shares.max()), np.finfo(np.float32).tiny)
    tiles = [
        np.concatenate((one, other, _bar(share, share / longest, time, one.shape[1])))
        for one, other, share, time in zip(plain, coloured, shares, found.times, strict=True)
    ]
    framed = np.pad(np.stack(tiles), ((0, 0), (0, _MARGIN), (0, _MARGIN), (0, 0)))
    frames = Frames(torch.from_numpy(framed), found.indices, found.times, found.path)
    sheet = contact_sheet(frames, columns=_COLUMNS).numpy()
    title = lettering(f"{Path(found.path).name}: {_caption(found)}", _LETTERS + 4)[:, : sheet.shape[1]]
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


def _caption(found: Explanation) -> str:
    return f"{found.label} {100 * found.score:.1f} %, {found.method}" + (f", {found.model}" if found.model else "")


def _enlarged(pictures: Tensor, height: int) -> Tensor:
    """(t, h, w, 3) uint8 -> the same at a whole multiple of its size, at least `height` pixels high, with even sides."""
    times = -(-height // pictures.shape[1])
    if times * pictures.shape[1] % 2 or times * pictures.shape[2] % 2:
        times += 1
    size = times * pictures.shape[1], times * pictures.shape[2]
    large = F.interpolate(pictures.permute(0, 3, 1, 2).float(), size, mode="bilinear", align_corners=False)
    return large.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _rate(found: Explanation) -> Fraction:
    """Frames a second of the overlay: those of the video, or as many as tell the frames that the model saw apart."""
    steps = [after - before for before, after in zip(found.times, found.times[1:], strict=False) if after > before]
    if not steps:
        return found.rate
    enough = max(Fraction(_STEPS_BETWEEN / min(steps)).limit_denominator(1001), Fraction(1))
    return min(found.rate, enough)


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
