"""Folders of images and single images as videos; finding videos; writing pictures."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from tests.video.clips import Picture, draw
from videomamba.data.clips.transforms import to_clip
from videomamba.schema import Frames, Preprocess, VideoError, VideoMambaError
from videomamba.video.open import open_video
from videomamba.video.picture import contact_sheet, write_png


def encoded(picture: Picture, codec: str, pix_fmt: str) -> bytes:
    context = av.CodecContext.create(codec, "w")
    context.height, context.width, context.pix_fmt = *picture.shape[:2], pix_fmt
    context.time_base = 1
    frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format=pix_fmt)
    frame.pts = 0
    return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve PNG files, 1.png to 12.png."""
    for i in range(12):
        write_png(tmp_path / f"{i + 1}.png", torch.from_numpy(draw(i, (20, 30))))
    return tmp_path


class TestFolder:
    def test_natural_order(self, folder: Path) -> None:
        with open_video(folder, fps=12) as video:
            assert (video.info.num_frames, video.info.fps, video.info.duration) == (12, 12, 1)
            assert (video.info.height, video.info.width, video.info.codec) == (20, 30, "png")
            frames = video.frames([11, 0, 1, 1])
        for row, index in enumerate([11, 0, 1, 1]):
            np.testing.assert_array_equal(frames.data[row].numpy(), draw(index, (20, 30)))
        assert frames.timestamps == pytest.approx((11 / 12, 0, 1 / 12, 1 / 12))

    def test_read_only_when_asked(self, folder: Path) -> None:
        (folder / "5.png").write_bytes(b"no image")
        with open_video(folder) as video:
            assert len(video.frames([0, 3, 5])) == 3
            with pytest.raises(VideoError, match=r"5\.png: this image cannot be read .*; replace it"):
                video.frames([4])

    def test_cut_image(self, folder: Path) -> None:
        content = encoded(draw(0, (20, 30)), "png", "rgb24")
        (folder / "5.png").write_bytes(content[: len(content) // 2])
        with open_video(folder) as video, pytest.raises(VideoError, match=r"5\.png"):
            video.frames([4])

    def test_one_size(self, folder: Path) -> None:
        write_png(folder / "7.png", torch.from_numpy(draw(0, (20, 32))))
        with (
            open_video(folder) as video,
            pytest.raises(VideoError, match=r"7\.png: is 32x20 but 1\.png is 30x20; make"),
        ):
            video.frames(range(12))

    def test_other_files_are_passed_over(self, folder: Path) -> None:
        (folder / "notes.txt").write_text("not an image")
        (folder / ".hidden.png").write_bytes(b"not an image")
        with open_video(folder) as video:
            assert video.info.num_frames == 12

    def test_rate(self, folder: Path) -> None:
        with pytest.raises(ValueError, match="fps"):
            open_video(folder, fps=0)


class TestImage:
    @pytest.mark.parametrize(
        ("suffix", "codec", "pix_fmt"),
        [
            ("png", "png", "rgb24"),
            ("jpg", "mjpeg", "yuvj444p"),
            ("JPEG", "mjpeg", "yuvj420p"),
            ("bmp", "bmp", "bgr24"),
            ("webp", "libwebp", "yuv420p"),
        ],
    )
    def test_formats(self, tmp_path: Path, suffix: str, codec: str, pix_fmt: str) -> None:
        smooth = np.full((48, 64, 3), (200, 100, 50), np.uint8)
        path = tmp_path / f"%02d.{suffix}"
        path.write_bytes(encoded(smooth, codec, pix_fmt))
        with open_video(path) as video:
            assert (video.info.num_frames, video.info.fps, video.info.codec) == (1, 0.0, suffix.lower())
            shown = video.frames([0, 0]).data.numpy()
        assert np.abs(shown.astype(int) - smooth).max() <= 8

    def test_grey_and_alpha(self, tmp_path: Path) -> None:
        for pix_fmt in ("gray", "rgba", "rgb48be"):
            (tmp_path / "image.png").write_bytes(encoded(np.full((8, 8, 3), 90, np.uint8), "png", pix_fmt))
            with open_video(tmp_path / "image.png") as video:
                assert video.frames([0]).data.unique().tolist() == [90]

    @pytest.mark.parametrize(("exif", "turns"), [(1, 0), (3, 2), (6, -1), (8, 1)])
    def test_upright(self, tmp_path: Path, exif: int, turns: int) -> None:
        picture = np.zeros((48, 64, 3), np.uint8)
        picture[:24, :32] = 255
        plain = encoded(picture, "mjpeg", "yuvj444p")
        entry = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x112, 3, 1, exif, 0, 0)
        header = b"Exif\0\0" + entry
        path = tmp_path / "photo.jpg"
        path.write_bytes(plain[:2] + b"\xff\xe1" + struct.pack(">H", len(header) + 2) + header + plain[2:])
        with open_video(path) as video:
            shown = video.frames([0]).data[0].numpy()
        assert np.abs(shown.astype(int) - np.rot90(picture, turns)).max() < 40

    def test_no_image(self, tmp_path: Path) -> None:
        (tmp_path / "text.jpg").write_text("hello")
        with pytest.raises(VideoError, match=r"text\.jpg: this image cannot be read"):
            open_video(tmp_path / "text.jpg")


@pytest.fixture
def frames() -> Frames:
    return Frames(torch.from_numpy(np.stack([draw(i, (40, 60)) for i in range(5)])), tuple(range(5)), (0.0,) * 5)


class TestContactSheet:
    def test_arrangement(self, frames: Frames) -> None:
        sheet = contact_sheet(frames, columns=3)
        assert sheet.shape == (80, 180, 3)
        assert torch.equal(sheet[:40, 120:], frames.data[2])
        assert torch.equal(sheet[40:, 60:120], frames.data[4])
        assert not sheet[40:, 120:].any()
        assert contact_sheet(frames, columns=9).shape == (40, 300, 3)

    def test_shows_what_the_model_sees(self, frames: Frames) -> None:
        preprocess = Preprocess(image_size=(40, 40))
        sheet = contact_sheet(to_clip(frames, preprocess), columns=5, preprocess=preprocess)
        assert torch.equal(sheet[:, 40:80], frames.data[1, :, 10:50])

    def test_misuse(self, frames: Frames) -> None:
        with pytest.raises(ValueError, match="Preprocess"):
            contact_sheet(to_clip(frames, Preprocess()), columns=1)
        with pytest.raises(ValueError, match="columns"):
            contact_sheet(frames, columns=0)


class TestPng:
    def test_exact(self, tmp_path: Path) -> None:
        picture = torch.from_numpy(draw(3, (17, 23)))
        write_png(tmp_path / "a.png", picture.permute(1, 0, 2))
        with open_video(tmp_path / "a.png") as video:
            assert torch.equal(video.frames([0]).data[0], picture.permute(1, 0, 2))
        assert [path.name for path in tmp_path.iterdir()] == ["a.png"]

    def test_whole_or_not_at_all(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        picture = torch.from_numpy(draw(3, (17, 23)))
        write_png(tmp_path / "a.png", picture)
        before = (tmp_path / "a.png").read_bytes()
        write_bytes: Callable[[Path, bytes], int] = Path.write_bytes

        def full(self: Path, content: bytes) -> int:
            write_bytes(self, content[:10])
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "write_bytes", full)
        with pytest.raises(VideoMambaError, match=r"a\.png: cannot be written \(No space left on device\)"):
            write_png(tmp_path / "a.png", picture)
        assert (tmp_path / "a.png").read_bytes() == before
        assert len(list(tmp_path.iterdir())) == 1

    def test_misuse(self, tmp_path: Path) -> None:
        with pytest.raises(VideoMambaError, match="cannot be written"):
            write_png(tmp_path / "missing" / "a.png", torch.zeros(4, 4, 3, dtype=torch.uint8))
        for wrong in (torch.zeros(4, 4, 3), torch.zeros(3, 4, 4, dtype=torch.uint8)):
            with pytest.raises(ValueError, match="uint8"):
                write_png(tmp_path / "a.png", wrong)
