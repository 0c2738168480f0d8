"""Thumbnails are small, and a sheet shows them all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from videomamba.serving.search.moments import Moment
from videomamba.serving.search.sheet import MOST_BYTES, thumbnail, write_sheet
from videomamba.video.open import open_video
from videomamba.video.picture import decode_jpeg


@pytest.mark.parametrize(
    ("size", "small"), [((480, 640), (96, 128)), ((1080, 1920), (72, 128)), ((60, 20), (60, 20)), ((2, 4000), (2, 128))]
)
def test_a_thumbnail_fits_and_keeps_the_aspect(size: tuple[int, int], small: tuple[int, int]) -> None:
    picture = torch.full((*size, 3), 200, dtype=torch.uint8)
    picture[:, : size[1] // 2] = torch.tensor([30, 90, 160], dtype=torch.uint8)
    data = thumbnail(picture)
    assert data == thumbnail(picture)
    found = decode_jpeg(data)
    assert tuple(found.shape) == (*small, 3)
    assert (found[0, 0].int() - picture[0, 0].int()).abs().max() < 12


def test_noise_is_compressed_more() -> None:
    noise = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8))
    assert len(thumbnail(noise)) <= MOST_BYTES


def test_a_sheet_has_a_tile_for_each_moment(tmp_path: Path) -> None:
    picture = torch.full((48, 64, 3), 255, dtype=torch.uint8)
    moments = [Moment(f"{'long/' * 30}clip{i}.mp4", i, i + 2, 0.5, 9.0, thumbnail(picture)) for i in range(7)]
    write_sheet(tmp_path / "sheet.png", moments)
    with open_video(tmp_path / "sheet.png") as image:
        sheet = image.frames([0]).data[0]
    height, width = sheet.shape[0] // 2, sheet.shape[1] // 5
    bright = (sheet.float().mean(-1) > 200).view(2, height, 5, width)[:, :192].float().mean((1, 3)) > 0.5
    assert bright.tolist() == [[True] * 5, [True, True, False, False, False]]
    with pytest.raises(ValueError, match="at least one moment"):
        write_sheet(tmp_path / "none.png", [])
