"""Windows of time: when they begin, which frames they show; files, streams and data sets by one engine."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videomamba.data.clips.windows import EXACT_TIMES, ROUNDED_TIMES, Windows, shown
from videomamba.schema import Preprocess, VideoMambaError


@pytest.mark.parametrize(
    ("duration", "window", "stride", "expected"),
    [
        (6.0, 2.0, 1.0, [0, 1, 2, 3, 4]),
        (6.4, 2.0, 1.0, [0, 1, 2, 3, 4, pytest.approx(4.4)]),  # the last one is moved back
        (5.999999999, 2.0, 1.0, [0, 1, 2, 3, 4]),  # the end is rounded
        (7.0, 2.0, 3.0, [0, 3, 5]),
        (1.3, 2.0, 1.0, [0]),  # no longer than a window
        (2.0, 2.0, 1.0, [0]),
        (0.0, 2.0, 1.0, [0]),
    ],
)
def test_windows_of_a_file(duration: float, window: float, stride: float, expected: list[float]) -> None:
    assert Windows(window, stride).starts(duration).tolist() == expected


@pytest.mark.parametrize(
    ("duration", "window", "stride", "expected"),
    [
        (30, 60, 16, [(0, 30)]),
        (60, 60, 16, [(0, 60), (16, 60)]),  # 16: 44 s are left; 32: 28 s are less than half a window
        (62.5, 60, 16, [(0, 60), (16, 62.5), (32, 62.5)]),
        (100, 60, 16, [(0, 60), (16, 76), (32, 92), (48, 100), (64, 100)]),
        (0.4, 60, 16, [(0, 0.4)]),
        (0.8, 0.5, 0.25, [(0, 0.5)]),  # the original starts none at or after int(duration)
        (2.0, 0.5, 0.5, [(0, 0.5), (0.5, 1), (1, 1.5), (1.5, 2)]),
    ],
)
def test_windows_of_a_data_set_are_those_of_the_original(
    duration: float, window: float, stride: float, expected: list[tuple[float, float]]
) -> None:
    assert Windows(window, stride).spans(duration, "shorten") == expected


@pytest.mark.parametrize(
    ("window", "stride", "message"),
    [
        (0.0, 1.0, "window 0: give"),
        (2.0, -1.0, "stride -1: give"),
        (float("nan"), 1.0, "window nan"),
        (2.0, 1e-5, "stride 1e-05: gives over 5000000 windows"),
    ],
)
def test_lengths_that_make_no_sense(window: float, stride: float, message: str) -> None:
    for rest in ("move_back", "shorten"):
        with pytest.raises(VideoMambaError, match=message):
            Windows(window, stride).starts(600.0, rest)


def test_a_window_of_a_file_shows_the_middles_of_its_parts() -> None:
    timestamps = np.arange(48) / 16
    frames = Windows(2.0, 1.0, 8).frames(timestamps, np.array([0.0, 1.0]), 3.0)
    assert frames[0].tolist() == [2, 6, 10, 14, 18, 22, 26, 30]
    assert (frames[1] - frames[0]).tolist() == [16] * 8
    # Frames are shown when their time says so, not at an average rate.
    uneven = np.array([0.0, 0.1, 0.2, 1.7, 1.8, 1.9])
    assert Windows(2.0, 1.0, 4).frames(uneven, np.zeros(1), 2.0).tolist() == [[2, 2, 2, 3]]
    assert Windows(2.0, 1.0, 3).frames(np.zeros(1), np.zeros(1), 0.0).tolist() == [[0, 0, 0]]


def test_one_tolerance_would_not_do_for_files_and_streams() -> None:
    """Frames of 29.97 a second: a millisecond more shows others. Times in milliseconds: a millisecond less does."""
    exact = np.arange(3000) * 1001 / 30000
    moments = Windows(2.0, 1.0, 8).starts(100.0)[:, None] + (np.arange(8) + 0.5) / 4
    assert (shown(exact, moments, EXACT_TIMES) != shown(exact, moments, ROUNDED_TIMES)).any()
    film = np.arange(300) / 12
    stream = np.round(film, 3)
    assert (shown(stream, film, ROUNDED_TIMES) == np.arange(300)).all()
    assert (shown(stream, film, EXACT_TIMES) != np.arange(300)).any()


@settings(max_examples=50, deadline=None)
@given(
    window=st.floats(0.05, 20),
    ratio=st.floats(0.1, 3),
    num_frames=st.integers(1, 16),
    fps=st.sampled_from([1.0, 7.0, 23.976, 25.0, 60.0]),
)
def test_wanted_pictures_of_a_stream_fit_and_complete_every_window(
    window: float, ratio: float, num_frames: int, fps: float
) -> None:
    windows = Windows(window, window * ratio, num_frames, ROUNDED_TIMES)
    pictures = [(i / fps, (i + 1) / fps) for i in range(int((2 * window + 3 * windows.stride) * fps) + 2)]
    wanted = [picture for picture in pictures if windows.wants(*picture)]
    over = windows.last_over(pictures[-1][1])
    assert over >= 0
    newest = wanted[-windows.capacity :]
    starts, stops = zip(*newest, strict=True)
    picked = windows.pick(over, starts, stops)
    assert picked is not None and len(picked) == num_frames + 1
    assert windows.span(over)[1] <= stops[picked[-1]] + 2e-3
    # Where nothing is missing, a stream shows what a file with the same times shows.
    times = np.array([start for start, _ in pictures])
    filed = windows.frames(times, np.array([windows.span(over)[0]]), np.inf)[0]
    assert [pictures[i][0] for i in filed] == [starts[place] for place in picked[:-1]]
    span = windows.window + windows.stride
    for start, _ in wanted:
        assert sum(start - span < other <= start for other, _ in wanted) <= windows.capacity


def test_a_missing_picture_is_missed() -> None:
    windows = Windows(2.0, 1.0, 4, ROUNDED_TIMES)
    starts = [0.1 * i for i in range(21)]
    assert windows.pick(0, starts, [start + 0.1 for start in starts]) == [2, 7, 12, 17, 19]
    del starts[12]
    assert windows.pick(0, starts, [start + 0.1 for start in starts]) is None
    assert windows.pick(0, [], []) is None and windows.last_over(1.9) == -1


def test_windows_follow_the_clips_that_the_model_was_trained_on() -> None:
    known = Preprocess(num_frames=4, clip_seconds=3.0)
    assert Windows.for_model(known, window=None, stride=None) == Windows(3.0, 1.5, 4)
    assert Windows.for_model(known, window=5.0, stride=1.0) == Windows(5.0, 1.0, 4)
    assert Windows.for_model(Preprocess(), window=5.0, stride=None) == Windows(5.0, 2.5, 8)
    with pytest.raises(VideoMambaError, match=r"window: the model does not say .*--window 4"):
        Windows.for_model(Preprocess(), window=None, stride=1.0)
