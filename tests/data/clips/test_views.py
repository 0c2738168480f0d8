"""The views of a test: the same pixels however they are read, each picture decoded once, few at their full size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from videomamba.data.clips import views
from videomamba.data.clips.sampling import evaluation_clips
from videomamba.data.clips.transforms import to_clip
from videomamba.data.clips.views import AT_ONCE, iter_views
from videomamba.schema import Frames, Preprocess, VideoError, Views
from videomamba.video.open import open_video
from videomamba.video.pyav import PyavVideo


def settings(num_frames: int = 16, **fields: object) -> Preprocess:
    return Preprocess.model_validate({"num_frames": num_frames, "image_size": (32, 32), **fields})


@pytest.mark.parametrize(
    ("name", "antialias", "at_once"),
    [("h264.mp4", True, 1), ("h264.mp4", False, 64), ("h264.avi", False, 5), ("vp9.webm", True, 5)],
)
def test_parts_give_the_bits_of_the_whole(
    clip: Callable[[str], Path], name: str, antialias: bool, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Videos of 64x48 with 30 frames, of which two clips of 16 share some."""
    preprocess = settings(antialias=antialias)
    monkeypatch.setattr(views, "AT_ONCE", at_once)
    with open_video(clip(name)) as video:
        found = list(iter_views(video.frames, 30, preprocess, Views(2, 3)))
    with open_video(clip(name)) as video:
        expected = [
            to_clip(video.frames(chosen), preprocess, crop=crop, num_crops=3)
            for chosen in evaluation_clips(preprocess, 30, 2)
            for crop in range(3)
        ]
    assert len(found) == 6 and not torch.equal(found[0].data, found[3].data)
    for view, whole in zip(found, expected, strict=True):
        assert torch.equal(view.data, whole.data)
        assert (view.indices, view.path) == (whole.indices, whole.path)


def test_pictures_are_decoded_once_in_one_walk_and_few_at_a_time(
    clip: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[int]] = []
    begun: list[int] = []
    begin = PyavVideo._begin

    def watched(self: PyavVideo, threads: int, start: int, *, fresh: bool = False) -> object:
        begun.append(start)
        return begin(self, threads, start, fresh=fresh)

    with open_video(clip("h264.mp4")) as video:
        monkeypatch.setattr(PyavVideo, "_begin", watched)

        def read(indices: Sequence[int]) -> Frames:
            asked.append(list(indices))
            return video.frames(indices)

        assert len(list(iter_views(read, 30, settings(), Views(4, 3)))) == 12
    pictures = [index for part in asked for index in part]
    assert pictures == sorted(set(pictures)) and len(pictures) > AT_ONCE
    assert max(map(len, asked)) <= AT_ONCE
    assert begun == sorted(set(begun)), "the walk went on from part to part, to key frames at most"


def test_a_short_video_repeats_its_pictures(clip: Callable[[str], Path]) -> None:
    with open_video(clip("h264 one frame")) as video:
        (view,) = iter_views(video.frames, 1, settings(4), Views())
    assert view.indices == (0, 0, 0, 0) and torch.equal(view.data[:, 0], view.data[:, 3])


def test_an_error_comes_before_the_first_view() -> None:
    def broken(indices: Sequence[int]) -> Frames:
        if indices[0] > 0:
            raise VideoError("a.mp4", "is damaged")
        return Frames(torch.zeros(len(indices), 40, 40, 3, dtype=torch.uint8), tuple(indices), (0.0,) * len(indices))

    with pytest.raises(VideoError, match=r"a\.mp4: is damaged"):
        next(iter_views(broken, 100, settings(32), Views(4, 3)))
