"""The script without PyTorch chooses and scales the frames that the package chooses and scales."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch

from videomamba.data.clips.sampling import evaluation_clips
from videomamba.data.clips.transforms import to_clip
from videomamba.export import runner
from videomamba.schema import Frames, Preprocess


@pytest.mark.parametrize("sampling", ["uniform", "tsn", "segments", "dense", "window"])
@pytest.mark.parametrize("options", [{}, {"sampling_rate": 3, "clip_seconds": 1.3}], ids=["plain", "rate"])
def test_the_same_frames_are_chosen(sampling: str, options: Mapping[str, float]) -> None:
    preprocess = Preprocess.model_validate({"num_frames": 8, "sampling": sampling, **options})
    for count in (*range(1, 80), 301, 1000):
        (expected,) = evaluation_clips(preprocess, count, spacing=0.04)
        assert tuple(runner.frame_indices(count, 0.04, preprocess.model_dump())) == expected, count


@pytest.mark.parametrize("size", [(90, 141), (200, 67), (40, 40), (64, 96)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("resize", ["cover", "stretch"])
def test_the_pictures_are_the_same(size: tuple[int, int], interpolation: str, antialias: bool, resize: str) -> None:
    preprocess = Preprocess.model_validate(
        {
            "num_frames": 2,
            "image_size": (64, 96),
            "crop_ratio": 0.875,
            "interpolation": interpolation,
            "antialias": antialias,
            "resize": resize,
        }
    )
    pictures = np.random.default_rng(0).integers(0, 256, (2, *size, 3), dtype=np.uint8)
    expected = to_clip(Frames(torch.from_numpy(pictures), (0, 1), (0.0, 1.0)), preprocess).data.numpy()
    found = runner.to_clip(list(pictures), preprocess.model_dump())[0]
    levels = np.abs(found - expected) * 255 * np.array(preprocess.std)[:, None, None, None]
    assert levels.max() < (2.1 if antialias else 1.1)  # PyTorch scales bytes with whole numbers where it antialiases
    assert (levels > 0.1).mean() < 0.05
