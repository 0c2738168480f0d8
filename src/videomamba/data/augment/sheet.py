"""Training clips as one picture, as the network sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from videomamba.data.augment.pipeline import augment_clip, check_augmentation, choose_frames
from videomamba.data.clips.masks import Grid
from videomamba.data.settings import Augmentation
from videomamba.schema import Clip, Preprocess, Symmetries, VideoSet
from videomamba.video.open import open_video
from videomamba.video.picture import contact_sheet

Masks = Callable[[Clip, np.random.Generator], NDArray[np.int64]]
"""The visible patches (v,) of a clip, as `clips.masks` counts them."""

_COVERED = 0.15
"""What remains of a covered patch; the rest is mid-grey."""


def training_sheet(
    paths: Iterable[Path],
    preprocess: Preprocess,
    augment: Augmentation,
    *,
    samples: int,
    draws: Callable[[int, int], np.random.Generator],
    masks: Masks | None = None,
    grid: Grid | None = None,
) -> Tensor:
    """`samples` rows for each video: augmented training clips, frames from left to right; (rows, columns, 3) uint8 RGB.

    `draws(video, row)` is the generator of a row. Every symmetry is allowed, because the videos have no class here; mixing
    is not shown. With `masks`, which get the generator after the augmentation, the masked patches of `grid` are covered with
    grey. Raises VideoMambaError for impossible settings, VideoError for a video that cannot be read.
    """
    if (masks is None) != (grid is None):
        raise ValueError("masks need the grid of their patches, and a grid is for masks")
    anything = VideoSet("sheet", (), ("any",), Symmetries(mirror=(0,), upside_down=(0,), backwards=(0,)))
    check_augmentation(augment, anything)
    rows = []
    for i, path in enumerate(paths):
        with open_video(path) as video:
            for sample in range(samples):
                generator = draws(i, sample)
                info = video.info
                chosen = choose_frames(info.num_frames, preprocess, augment, generator, spacing=info.spacing)
                clip = augment_clip(video.frames(chosen), None, preprocess, augment, anything.symmetries, generator)[0]
                if masks is not None and grid is not None:
                    clip = covered(clip, masks(clip, generator), grid, preprocess)
                rows.append(clip.data)
    return contact_sheet(Clip(torch.cat(rows, 1)), columns=preprocess.num_frames, preprocess=preprocess)


def covered(clip: Clip, visible: NDArray[np.int64], grid: Grid, preprocess: Preprocess) -> Clip:
    """The clip with all but its `visible` patches almost grey. Raises ValueError unless `grid` divides it evenly."""
    _, t, height, width = clip.data.shape
    if any(side % patches for side, patches in zip((t, height, width), grid, strict=True)):
        raise ValueError(f"a clip of {t}x{height}x{width} has no grid of {'x'.join(map(str, grid))} patches")
    seen = torch.zeros(grid, dtype=torch.bool)
    seen.view(-1)[torch.from_numpy(visible)] = True
    for dimension, side in enumerate((t, height, width)):
        seen = seen.repeat_interleave(side // grid[dimension], dim=dimension)
    mean, std = (torch.tensor(values).view(3, 1, 1, 1) for values in (preprocess.mean, preprocess.std))
    hidden = torch.lerp((0.5 - mean) / std, clip.data, _COVERED)
    return Clip(torch.where(seen, clip.data, hidden), clip.indices, clip.path)
