"""The processor makes the clips that the network was trained on, from files and from frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor

from videomamba.export.transformers import VideoMambaImageProcessor
from videomamba.schema import Preprocess
from videomamba.serving.predictor import Predictor
from videomamba.video.open import open_video


def test_a_file_gives_the_clip_of_predict(folder: Path, bundle: Path, clips: Path) -> None:
    processor = AutoImageProcessor.from_pretrained(folder)
    assert type(processor) is VideoMambaImageProcessor
    predictor = Predictor.from_pretrained(bundle)
    paths = [clips / "clip0.mp4", str(clips / "clip1.mp4")]
    found = processor(paths).pixel_values
    assert found.shape == (2, 4, 3, 32, 48) and found.dtype == torch.float32
    for clip, path in zip(found, paths, strict=True):
        assert torch.equal(clip.transpose(0, 1), predictor.clips(path)[0].data)
    assert processor(paths[0]).pixel_values.shape == (1, 4, 3, 32, 48)
    assert isinstance(processor(paths[0], return_tensors="np").pixel_values, np.ndarray)


def test_frames_are_used_as_they_are_or_chosen_as_from_a_file(folder: Path, clips: Path) -> None:
    processor = AutoImageProcessor.from_pretrained(folder)
    with open_video(clips / "clip0.mp4") as video:
        every = video.frames(range(video.info.num_frames)).data
    expected = processor(clips / "clip0.mp4").pixel_values
    for frames in (every, every.permute(0, 3, 1, 2), every.numpy(), list(every.numpy()), [every], every[None]):
        assert torch.equal(processor(frames, do_sample_frames=True, fps=8).pixel_values, expected)
    four = every[:4]
    pictures = [Image.fromarray(picture.numpy()) for picture in four]
    assert torch.equal(processor(pictures).pixel_values, processor(four).pixel_values)
    for frames, reason in (
        (every, "12 frames for a clip of 4; give that many, or choose them .* do_sample_frames=True"),
        (four.float(), r"must be uint8 .*, got float32 \(4, 64, 80, 3\)"),
        (four[..., :2], r"got uint8 \(4, 64, 80, 2\)"),
        ([four[0].numpy(), four[0, :32].numpy()], "the frames of a video have one size"),
        ([], "no videos given"),
    ):
        with pytest.raises(ValueError, match=reason):
            processor(frames)


def test_it_is_saved_with_all_settings(tmp_path: Path) -> None:
    clip = Preprocess(num_frames=3, image_size=(32, 48), sampling="window", clip_seconds=1.5, resize="stretch")
    VideoMambaImageProcessor(clip).save_pretrained(tmp_path)
    assert VideoMambaImageProcessor.from_pretrained(tmp_path).clip == clip
    with pytest.raises(ValueError, match="sampling"):
        VideoMambaImageProcessor({"sampling": "first"})
