"""A file that was cut short is an error, or still the whole video: never a shorter one in silence."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import av
import pytest

from tests.video.clips import RECIPES, Picture, Recipe, encode
from tests.video.made import KINDS
from tests.video.making import repack
from tests.video.reference import read_in_order
from tests.video.test_differential import differences
from videomamba.schema import VideoError
from videomamba.video.open import open_video

# The names of kinds, and what the error says. AVI may give other reasons: its index, too, is at the end.
CUT = {
    "h264.mkv": "cut short",
    "hevc open gop": "cut short",
    "vp9.webm": "cut short",
    "vp8.webm": "cut short",
    "av1.webm": "cut short",
    "palette png.mov": "cut short|not a readable video",
    "h264.mp4": "cut short|not a readable video",  # without its index, which is at the end, there is nothing to read
    "index first mp4": "cut short",
    "fragmented mp4": "cut short",
    "h264.avi": ".",
    "mpeg4.avi": ".",
    "mjpeg.avi": ".",
}
PARTS = (0.3, 0.5, 0.65, 0.8, 0.9, 0.97)

Whole = Callable[[str], tuple[Path, list[Picture], list[int]]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """whole(name) is the file of a kind, its pictures, and the places at which their packets begin; last, the end of them."""

    @cache
    def make(name: str) -> tuple[Path, list[Picture], list[int]]:
        path = KINDS[name].make(tmp_path_factory.mktemp("whole"))
        with av.open(str(path)) as container:
            packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
        places = sorted([place for place, _ in packets] + [max(place + size for place, size in packets)])
        return path, read_in_order(path), places

    return make


@pytest.mark.parametrize("name", CUT)
class TestCut:
    @pytest.mark.parametrize("part", PARTS)
    def test_within_the_pictures(self, whole: Whole, tmp_path: Path, name: str, part: float) -> None:
        source, _, (start, *_, end) = whole(name)
        path = tmp_path / f"cut{source.suffix}"
        path.write_bytes(source.read_bytes()[: start + int((end - start) * part)])
        with pytest.raises(VideoError, match=CUT[name]) as caught, open_video(path) as video:
            video.frames(range(video.info.num_frames))
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)

    def test_between_two_pictures(self, whole: Whole, tmp_path: Path, name: str) -> None:
        source, _, places = whole(name)
        path = tmp_path / f"cut{source.suffix}"
        for place in places[10:-1:6]:
            path.write_bytes(source.read_bytes()[:place])
            with pytest.raises(VideoError, match=CUT[name]), open_video(path) as video:
                video.frames(range(video.info.num_frames))

    def test_after_the_pictures(self, whole: Whole, tmp_path: Path, name: str) -> None:
        source, truth, places = whole(name)
        content = source.read_bytes()
        for length in {len(content) - 1, (len(content) + places[-1]) // 2}:
            path = tmp_path / f"cut{source.suffix}"
            path.write_bytes(content[:length])
            try:
                with open_video(path) as video:
                    assert video.info.num_frames == len(truth)
                    assert differences(video, truth, list(range(len(truth)))) == []
            except VideoError as error:
                assert "\n" not in str(error)


@pytest.mark.parametrize("name", ["live mkv", "live webm"])
def test_a_file_of_unknown_size_ends_where_it_ends(whole: Whole, name: str) -> None:
    path, truth, _ = whole(name)
    with open_video(path) as video:
        assert differences(video, truth, list(range(len(truth)))) == []


@pytest.mark.parametrize("name", ["h264.mp4", "h264.mkv", "vp9.webm", "h264.avi", "index first mp4"])
def test_more_bytes_at_the_end_are_harmless(whole: Whole, tmp_path: Path, name: str) -> None:
    """Download programs pad files with zeros."""
    source, truth, _ = whole(name)
    path = tmp_path / f"padded{source.suffix}"
    path.write_bytes(source.read_bytes() + bytes(1000))
    with open_video(path) as video:
        assert video.info.num_frames == len(truth)
        assert differences(video, truth, list(range(len(truth)))) == []


def test_digital_video_that_ends_within_a_frame(tmp_path: Path) -> None:
    """FFmpeg makes up the rest of the last frame."""
    recipe = Recipe(".dv", "dvvideo", frames=3, size=(576, 720), pix_fmt="yuv420p")
    path = encode(tmp_path / "whole.dv", recipe)
    with open_video(path) as video:
        assert video.info.num_frames == 3
    cut = tmp_path / "cut.dv"
    cut.write_bytes(path.read_bytes()[:-70000])
    with pytest.raises(VideoError, match=r"cut\.dv: cut short"):
        open_video(cut)


def test_a_second_part_of_another_codec_is_not_passed_over(tmp_path: Path) -> None:
    first = encode(tmp_path / "first.ts", RECIPES["mpeg2.ts"])
    second = repack(encode(tmp_path / "hevc.mp4", RECIPES["hevc.mp4"]), tmp_path / "second.ts")
    path = tmp_path / "both.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    with pytest.raises(VideoError, match=r"both\.ts: "), open_video(path) as video:
        video.frames(range(video.info.num_frames))
