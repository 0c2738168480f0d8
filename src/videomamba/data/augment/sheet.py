"""Training clips as one picture, to see what the network sees."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from videomamba.data.augment.pipeline import augment_clip, check_augmentation
from videomamba.data.clips.sampling import train_clip
from videomamba.data.settings import Augmentation
from videomamba.schema import Clip, Preprocess, Symmetries, VideoSet
from videomamba.video.open import open_video
from videomamba.video.picture import contact_sheet


def training_sheet(
    paths: Iterable[Path],
    preprocess: Preprocess,
    augment: Augmentation,
    *,
    samples: int,
    draws: Callable[[int, int], np.random.Generator],
) -> Tensor:
    """A row for each of `samples` clips of each video, augmented as in training, frames from left to right.

    (rows, columns, 3) uint8 RGB. `draws(video, row)` gives the generator of a row. The videos have no class here, so every
    symmetry can be shown; mixing needs a batch and is not shown. Raises VideoMambaError for an augmentation that is
    impossible, VideoError for a video that cannot be read.
    """
    anything = VideoSet("sheet", (), ("any",), Symmetries(mirror=(0,), upside_down=(0,), backwards=(0,)))
    check_augmentation(augment, anything)
    rows = []
    for i, path in enumerate(paths):
        with open_video(path) as video:
            for sample in range(samples):
                generator = draws(i, sample)
                frames = video.frames(train_clip(preprocess, video.info.num_frames, generator))
                rows.append(augment_clip(frames, None, preprocess, augment, anything.symmetries, generator)[0].data)
    return contact_sheet(Clip(torch.cat(rows, 1)), columns=preprocess.num_frames, preprocess=preprocess)
