"""Cached frames: resized frames of the video, written completely or not at all, and decoded once."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.video.clips import read_plainly
from videomamba.data.loading import cache
from videomamba.data.loading.cache import FrameCache
from videomamba.data.loading.dataset import EvaluationBatch, EvaluationClips
from videomamba.data.loading.record_video import open_record
from videomamba.data.settings import DataSettings
from videomamba.schema import Preprocess, VideoError, VideoMambaError, VideoRecord, Views


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths that were decoded."""
    paths: list[str] = []

    def count(record: VideoRecord, *, threads: int | None = None) -> object:
        paths.append(record.path)
        return open_record(record, threads=threads)

    monkeypatch.setattr(cache, "open_record", count)
    return paths


def test_kept_frames_are_those_of_the_video(clip: Callable[[str], Path], tmp_path: Path, opened: list[str]) -> None:
    path = clip("h264.mp4")
    pictures = read_plainly(path)
    kept = FrameCache(tmp_path / "new" / "cache", num_frames=10, size=256)
    for _ in range(2):
        with kept.open(VideoRecord(str(path))) as source:
            assert source.num_frames == 10
            frames = source.frames([9, 0, 0])
        assert frames.indices == (28, 1, 1)  # middles of ten parts of three
        assert frames.timestamps == pytest.approx((28 / 25, 1 / 25, 1 / 25))
        assert frames.path == str(path)
        expected = np.stack([pictures[28], pictures[1], pictures[1]])
        assert np.array_equal(frames.data.numpy(), expected)  # never enlarged
    assert opened == [str(path)]


def test_short_videos_are_kept_whole_and_repeat_frames(clip: Callable[[str], Path], tmp_path: Path) -> None:
    record = VideoRecord(str(clip("h264.mp4")), span=(0.4, 0.48))
    with FrameCache(tmp_path, num_frames=32, size=256).open(record) as source:
        assert source.num_frames == 3
    settings = {"preprocess": Preprocess(num_frames=8, image_size=(32, 32)), "views": Views()}
    plain = EvaluationClips(**settings, data=DataSettings())[[(0, record)]]
    kept = EvaluationClips(**settings, data=DataSettings(cache=tmp_path))[[(0, record)]]
    assert isinstance(plain, EvaluationBatch)
    assert isinstance(kept, EvaluationBatch)
    assert plain.video.shape[2] == 8
    assert torch.equal(plain.video, kept.video)


def test_frames_only_shrink(clip: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = VideoRecord(str(clip("h264.mp4")))
    with FrameCache(tmp_path, num_frames=7, size=24).open(record) as source:
        small = source.frames(range(7))
    assert tuple(small.data.shape) == (7, 24, 32, 3)
    with open_record(record) as video:
        full = video.frames(small.indices).data.float()
    halves = full.view(7, 24, 2, 32, 2, 3).mean((2, 4))
    assert float((small.data.float() - halves).abs().mean()) < 4
    monkeypatch.setattr(cache, "AT_ONCE", 3)
    with FrameCache(tmp_path / "parts", num_frames=7, size=24).open(record) as source:
        assert torch.equal(source.frames(range(7)).data, small.data)


def test_another_span_date_or_setting_is_another_file(
    clip: Callable[[str], Path], tmp_path: Path, opened: list[str]
) -> None:
    path = tmp_path / "video.mp4"
    path.write_bytes(clip("h264.mp4").read_bytes())
    record = VideoRecord(str(path))
    cases = [
        (FrameCache(tmp_path, num_frames=4, size=32), record),
        (FrameCache(tmp_path, num_frames=5, size=32), record),
        (FrameCache(tmp_path, num_frames=4, size=16), record),
        (
            FrameCache(tmp_path, num_frames=4, size=32),
            VideoRecord(str(path), span=(0.0, 0.5)),
        ),
    ]
    for count, (kept, one) in enumerate(cases, 1):
        for _ in range(2):
            with kept.open(one):
                assert len(opened) == count
    os.utime(path, (1, 1))
    with cases[0][0].open(record):
        assert len(opened) == len(cases) + 1
    assert len(list(tmp_path.rglob("*.npy"))) == len(cases) + 1


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", b"rubbish"])
def test_a_damaged_file_is_made_again(
    clip: Callable[[str], Path], tmp_path: Path, opened: list[str], damage: bytes
) -> None:
    kept, record = (
        FrameCache(tmp_path, num_frames=4, size=16),
        VideoRecord(str(clip("h264.mp4"))),
    )
    with kept.open(record) as source:
        expected = source.frames(range(4)).data
    (file,) = tmp_path.rglob("*.npy")
    file.write_bytes(damage)
    with kept.open(record) as source:
        assert torch.equal(source.frames(range(4)).data, expected)
    assert len(opened) == 2


def test_a_full_disk_is_one_line_and_leaves_nothing(
    clip: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(self: Path, content: memoryview) -> int:
        with self.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    record = VideoRecord(str(clip("h264.mp4")))
    clips = EvaluationClips(
        preprocess=Preprocess(num_frames=2, image_size=(16, 16)), views=Views(), data=DataSettings(cache=tmp_path)
    )
    error = clips[[(0, record)]]
    assert isinstance(error, VideoMambaError)
    assert not isinstance(error, VideoError)
    told = str(error)
    assert told.startswith(f"{tmp_path}{os.sep}")
    assert told.endswith(".npy: cannot be written (No space left on device); free space or choose another folder")
    assert not [entry for entry in tmp_path.rglob("*") if entry.is_file()]


def test_a_folder_that_cannot_be(clip: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    kept = FrameCache(tmp_path / "file" / "cache", num_frames=2, size=16)
    message = r"file.cache.*: cannot be created \(Not a directory\); choose another folder with data\.cache"
    with (
        pytest.raises(VideoMambaError, match=message),
        kept.open(VideoRecord(str(clip("h264.mp4")))),
    ):
        pass


def test_a_video_that_cannot_be_read_is_not_kept(tmp_path: Path) -> None:
    kept = FrameCache(tmp_path / "cache", num_frames=4, size=16)
    absent, broken = (VideoRecord(str(tmp_path / name)) for name in ("absent.mp4", "broken.mp4"))
    with pytest.raises(VideoError, match=r"absent.mp4: no such file"), kept.open(absent):
        pass
    (tmp_path / "broken.mp4").write_text("not a video")
    with pytest.raises(VideoError, match="not a readable video"), kept.open(broken):
        pass
    assert not list((tmp_path / "cache").rglob("*"))
