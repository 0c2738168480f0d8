"""How many seconds a clip of a data set covers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from videomamba.data.sets.durations import usual_clip_seconds
from videomamba.schema import ClassLabel, Preprocess, VideoRecord
from videomamba.video.encode import write_video
from videomamba.video.picture import write_png


def test_the_median_of_what_can_be_opened(tmp_path: Path) -> None:
    for frames in (10, 15, 40):
        write_video(tmp_path / f"{frames}.mp4", np.zeros((frames, 16, 16, 3), np.uint8), fps=5)
    write_png(tmp_path / "image.png", torch.zeros(8, 8, 3, dtype=torch.uint8))
    paths = [str(tmp_path / name) for name in ("10.mp4", "15.mp4", "40.mp4", "image.png", "absent.mp4")]
    records = [VideoRecord(path, ClassLabel(0)) for path in paths]
    assert usual_clip_seconds(Preprocess(), records) == 3.0
    assert usual_clip_seconds(Preprocess(), records[:1] * 30 + records[2:3] * 70) == 8.0  # seen all over the data set
    assert usual_clip_seconds(Preprocess(), records[3:]) is None is usual_clip_seconds(Preprocess(), [])
    dense = Preprocess(num_frames=4, sampling="dense", sampling_rate=2)  # 8 frames of 5 a second
    assert usual_clip_seconds(dense, records) == 1.6
    assert usual_clip_seconds(dense.model_copy(update={"sampling_rate": 3}), records[:1]) == 2.0  # all of a short video
    assert usual_clip_seconds(dense, [VideoRecord(paths[0], ClassLabel(0), span=(0.0, 1.0))]) == 1.0
    assert usual_clip_seconds(dense, records[3:]) is None
    assert usual_clip_seconds(Preprocess(), [VideoRecord("never_opened.mp4", ClassLabel(0), span=(1.0, 5.5))]) == 4.5
