"""write_video: the right frames, the same bytes every time, and nothing left behind when it fails."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from videomamba.schema import VideoError
from videomamba.synthetic.dataset import render_clip
from videomamba.video.encode import write_video


def decode(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(np.float64) - b) ** 2)))


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize("fps", [16, 5, Fraction(30000, 1001)])
def test_decodes_to_the_frames_that_went_in(tmp_path: Path, codec: str, fps: Fraction | int) -> None:
    frames = render_clip(0, 1, num_frames=11, height=96, width=128)
    write_video(tmp_path / "clip.mp4", frames, fps=fps, codec=codec)
    decoded = decode(tmp_path / "clip.mp4")
    assert decoded.shape == frames.shape
    assert psnr(decoded, frames) > 27
    # Each frame is nearest to its own original: none was lost, doubled or moved.
    distances = np.abs(decoded[:, None].astype(np.int16) - frames[None]).mean(axis=(2, 3, 4))
    assert distances.argmin(axis=1).tolist() == list(range(11))
    with av.open(str(tmp_path / "clip.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == fps
        assert stream.frames == 11
        times = [packet.pts * packet.time_base for packet in container.demux(stream) if packet.pts is not None]
    assert sorted(times) == pytest.approx([k / fps for k in range(11)], abs=1e-3)


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_equal_frames_give_equal_bytes(tmp_path: Path, codec: str) -> None:
    frames = render_clip(12, 3)
    contents = set()
    for run in range(8 if codec == "libx264" else 3):
        path = tmp_path / f"{run}.mp4"
        write_video(path, frames, codec=codec)
        contents.add(path.read_bytes())
    assert len(contents) == 1


def test_crf_trades_size_for_fidelity(tmp_path: Path) -> None:
    frames = render_clip(2, 5, num_frames=8)
    sizes, fidelity = [], []
    for crf in (10, 23, 40):
        path = tmp_path / f"{crf}.mp4"
        write_video(path, frames, crf=crf)
        sizes.append(path.stat().st_size)
        fidelity.append(psnr(decode(path), frames))
    assert sizes == sorted(sizes, reverse=True)
    assert fidelity == sorted(fidelity, reverse=True)


@pytest.mark.parametrize(
    ("name", "size", "arguments", "message"),
    [
        ("a.mp4", (65, 64), {}, "even height and width, got 65x64"),
        ("a.mp4", (64, 65), {}, "even height and width, got 64x65"),
        ("a.mp4", (64, 64), {"codec": "mpeg4"}, "choose one of libx264, libx265"),
        ("a.mp4", (64, 64), {"crf": 52}, "crf 52 is not in 0..51"),
        ("a.nothing", (64, 64), {}, "cannot be written"),
        ("missing/a.mp4", (64, 64), {}, "cannot be written"),
    ],
)
def test_what_cannot_be_written_is_refused(
    tmp_path: Path, name: str, size: tuple[int, int], arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(VideoError, match=message) as caught:
        write_video(tmp_path / name, np.zeros((8, *size, 3), np.uint8), **arguments)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "frames",
    [np.zeros((8, 64, 64), np.uint8), np.zeros((8, 64, 64, 3), np.float32), np.zeros((0, 64, 64, 3), np.uint8)],
)
def test_frames_of_another_kind_are_a_programming_error(tmp_path: Path, frames: np.ndarray) -> None:
    with pytest.raises(ValueError, match="must be"):
        write_video(tmp_path / "a.mp4", frames)


def test_a_failure_keeps_the_file_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"before")
    with pytest.raises(VideoError):
        write_video(path, np.zeros((8, 63, 64, 3), np.uint8))
    assert path.read_bytes() == b"before"
