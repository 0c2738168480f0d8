"""Training clips as one picture, as the network sees them."""

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
    """`samples` rows for each video: augmented training clips, frames from left to right; (rows, columns, 3) uint8 RGB.

    `draws(video, row)` is the generator of a row. Every symmetry is allowed, because the videos have no class here; mixing
    is not shown. Raises VideoMambaError for impossible settings, VideoError for a video that cannot be read.
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
