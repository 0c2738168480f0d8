"""The thumbnails of an index, and the best moments of a search as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from videomamba.video.picture import decode_jpeg, encode_jpeg, write_png

if TYPE_CHECKING:
    from videomamba.serving.search.moments import Moment

THUMBNAIL = 96, 128
"""The largest height and width of a thumbnail; another aspect is kept."""
MOST_BYTES = 8192
"""Of a thumbnail: one that is larger is compressed more."""

_QUALITIES = 5, 10, 20, 31
_TILE, _CAPTION = (2 * THUMBNAIL[0], 2 * THUMBNAIL[1]), 32  # pixels: the picture, and two lines below it
_MARGIN, _COLUMNS = 4, 5
_LETTERS, _LONGEST = 12, 36  # pixels of a letter, letters of a path


def thumbnail(picture: Tensor) -> bytes:
    """A JPEG of `picture` (h, w, 3) uint8 RGB, at most THUMBNAIL in size and about MOST_BYTES long."""
    height, width = picture.shape[:2]
    scale = min(THUMBNAIL[0] / height, THUMBNAIL[1] / width, 1.0)
    size = tuple(max(round(side * scale / 2) * 2, 2) for side in (height, width))
    small = F.interpolate(picture.permute(2, 0, 1)[None].float(), size, mode="area")[0].round().to(torch.uint8)
    for quality in _QUALITIES:
        data = encode_jpeg(small.permute(1, 2, 0), quality=quality)
        if len(data) <= MOST_BYTES:
            break
    return data


def write_sheet(path: str | Path, moments: Sequence[Moment]) -> None:
    """Writes the thumbnails of `moments` as a PNG, best first, each with its file, times and score below it.

    Raises VideoMambaError where matplotlib is not installed or the file cannot be written; ValueError without moments.
    """
    if not moments:
        raise ValueError("a sheet needs at least one moment")
    tiles = [_tile(moment) for moment in moments]
    columns = min(_COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    height, width = tiles[0].shape[:2]
    sheet = np.zeros((rows * height, columns * width, 3), np.uint8)
    for number, tile in enumerate(tiles):
        top, left = number // columns * height, number % columns * width
        sheet[top : top + height, left : left + width] = tile
    write_png(path, torch.from_numpy(sheet))


def _tile(moment: Moment) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    from videomamba.evaluation.lettering import lettering

    height, width = _TILE
    tile = np.zeros((height + _CAPTION + _MARGIN, width + _MARGIN, 3), np.uint8)
    picture = decode_jpeg(moment.thumbnail)
    scale = min(height / picture.shape[0], width / picture.shape[1])
    size = [max(1, min(most, round(side * scale))) for side, most in zip(picture.shape[:2], _TILE, strict=True)]
    large = F.interpolate(picture.permute(2, 0, 1)[None].float(), size, mode="bilinear", align_corners=False)[0]
    top, left = (height - size[0]) // 2, (width - size[1]) // 2
    tile[top : top + size[0], left : left + size[1]] = large.permute(1, 2, 0).round().clamp(0, 255).byte().numpy()
    name = moment.path if len(moment.path) <= _LONGEST else f"...{moment.path[-_LONGEST:]}"  # the end tells more
    written = lettering(f"{name}\n{moment.start:.1f} to {moment.end:.1f} s, {moment.score:.3f}", _LETTERS)
    written = written[:_CAPTION, :width]
    tile[height : height + written.shape[0], : written.shape[1]] = written[..., None]
    return tile
