"""Whatever the kind of file, the pictures are those of a plain sequential decode, however they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest

from tests.video.clips import Picture
from tests.video.made import KINDS, table
from tests.video.making import number_in
from tests.video.reference import read_in_order
from videomamba.video.base import Video
from videomamba.video.open import open_video

Made = Callable[[str], tuple[Path, list[Picture]]]
# PyAV 18.0 does not tell FFmpeg the rate of copied packets: it refuses MXF, and MP4 loses the last picture.
NEED_A_RATE = {
    *("h264.mxf", "copied h264.mp4", "copied mpeg4.mp4", "copied hevc.mp4", "equal h264.mp4", "equal h264 b.mp4"),
    *("equal last, no b", "pause mp4", "uneven mp4", "fields in one packet.mp4"),
}
PAGE = Path(__file__).parents[2] / "docs" / "decoding_tests.md"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """made(name) is the file of a kind, made once, and its upright pictures, the plain decode of which is checked."""

    @cache
    def make(name: str) -> tuple[Path, list[Picture]]:
        if name in NEED_A_RATE and av.__version__.startswith("18.0."):
            pytest.skip(f"PyAV {av.__version__} cannot write this file")
        kind = KINDS[name]
        path = kind.make(tmp_path_factory.mktemp("made"))
        stored = read_in_order(path, kind.track)
        assert [number_in(picture) for picture in stored] == list(kind.shows)
        return path, [kind.upright(picture) for picture in stored]

    return make


def differences(video: Video, truth: list[Picture], indices: list[int]) -> list[str]:
    """One line for each picture that is not the right one, with the one that came instead."""
    got = video.frames(indices).data.numpy()
    lines = []
    for index, picture in zip(indices, got, strict=True):
        if np.array_equal(picture, truth[index]):
            continue
        if picture.shape != truth[index].shape:
            lines.append(f"picture {index} is {picture.shape}, not {truth[index].shape}")
            continue
        same = [other for other, right in enumerate(truth) if np.array_equal(picture, right)]
        distance = [np.abs(picture.astype(int) - right).mean() for right in truth]
        near = int(np.argmin(distance))
        instead = (
            f"picture {same[0]}" if same else f"none of the file's, nearest {near} by {distance[near]:.1f} a pixel"
        )
        lines.append(f"instead of picture {index} came {instead}")
    return lines


@pytest.mark.parametrize("name", KINDS)
class TestMade:
    def test_pictures(self, made: Made, name: str) -> None:
        path, truth = made(name)
        with open_video(path) as video:
            assert video.info.num_frames == len(truth)
            assert (video.info.height, video.info.width) == truth[0].shape[:2]
            everything = list(range(len(truth)))
            assert differences(video, truth, everything) == []
            assert differences(video, truth, everything[::-1]) == []

    def test_random_access(self, made: Made, name: str) -> None:
        path, truth = made(name)
        random = np.random.default_rng(len(truth))
        with open_video(path, threads=2) as video:
            for count in (1, 1, 3, 8, 1, 2):
                assert differences(video, truth, random.integers(0, len(truth), count).tolist()) == []
            for index in range(len(truth) - 1, -1, -7):
                assert differences(video, truth, [index]) == []
        for index in {len(truth) - 1, int(random.integers(len(truth)))}:
            with open_video(path) as video:
                assert differences(video, truth, [index]) == []

    def test_times(self, made: Made, name: str) -> None:
        path, truth = made(name)
        with open_video(path) as video:
            times, info = video.timestamps, video.info
        assert times.shape == (len(truth),)
        assert times[0] == 0
        steps = np.diff(times)
        assert (steps >= 0).all(), times[:-1][steps < 0]
        last = times[-1]
        assert last <= info.duration <= last + max(steps, default=0) + 1e-6
        seconds = KINDS[name].seconds
        if seconds is not None:
            np.testing.assert_allclose(times, seconds, rtol=0, atol=KINDS[name].slack)


def test_the_page_lists_every_kind() -> None:
    listed = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    assert listed[1:] == table(), "copy the output of `python -m tests.video.made` into docs/decoding_tests.md"


def test_kinds_differ() -> None:
    assert len({kind.description for kind in KINDS.values()}) == len(KINDS) >= 60
