"""Frame sampling: the formulas by their own check values, and what must hold for any video."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from videomamba.data.clips import sampling
from videomamba.data.clips.sampling import (
    at_rate,
    dense_test,
    dense_train,
    evaluation_clips,
    segments_test,
    segments_train,
    train_clip,
    tsn_test,
    tsn_train,
    uniform_test,
    uniform_train,
)
from videomamba.data.clips.windows import Windows
from videomamba.schema import Preprocess

lengths = st.integers(1, 5000) | st.integers(1, 20)
clip_sizes = st.integers(1, 64)
clip_counts = st.integers(1, 12)
rates = st.integers(1, 9)
seeds = st.integers(0, 2**32 - 1)
spacings = st.floats(0, 2)
schemes = st.sampled_from(["uniform", "tsn", "segments", "dense", "window"])


def check(indices: tuple[int, ...], num_frames: int, n: int) -> None:
    assert len(indices) == n
    assert all(type(i) is int and 0 <= i < num_frames for i in indices)
    assert all(a <= b for a, b in pairwise(indices))


class TestAnyVideo:
    @given(schemes, lengths, clip_sizes, rates, spacings, seeds)
    def test_train(self, scheme: str, num_frames: int, n: int, rate: int, spacing: float, seed: int) -> None:
        preprocess = Preprocess(sampling=scheme, num_frames=n, sampling_rate=rate, clip_seconds=1.5)
        indices = train_clip(preprocess, num_frames, np.random.default_rng(seed), spacing=spacing)
        check(indices, num_frames, n)
        assert indices == train_clip(preprocess, num_frames, np.random.default_rng(seed), spacing=spacing)

    @given(schemes, lengths, clip_sizes, rates, spacings, clip_counts)
    def test_test(self, scheme: str, num_frames: int, n: int, rate: int, spacing: float, clips: int) -> None:
        preprocess = Preprocess(sampling=scheme, num_frames=n, sampling_rate=rate, clip_seconds=1.5)
        found = evaluation_clips(preprocess, num_frames, clips, spacing=spacing)
        assert len(found) == clips
        for indices in found:
            check(indices, num_frames, n)
        assert all(a <= b for early, late in pairwise(found) for a, b in zip(early, late, strict=True))

    @given(clip_sizes)
    def test_a_clip_as_long_as_the_video_is_the_video(self, n: int) -> None:
        assert tsn_test(n, n, 0, 1) == tsn_train(n, n, np.random.default_rng(0)) == tuple(range(n))


class TestWindow:
    PREPROCESS = Preprocess(sampling="window", num_frames=4, clip_seconds=2.0)

    def test_a_clip_is_the_middle_window_and_several_are_spread_over_the_video(self) -> None:
        """100 frames of 10 a second: a window has 20, whose quarters have their middles at 2.5, 7.5, ..."""
        assert evaluation_clips(self.PREPROCESS, 100, spacing=0.1) == [(42, 47, 52, 57)]
        assert evaluation_clips(self.PREPROCESS, 100, 3, spacing=0.1) == [
            (2, 7, 12, 17),
            (42, 47, 52, 57),
            (82, 87, 92, 97),
        ]

    def test_a_shorter_video_and_one_without_times_are_one_window(self) -> None:
        for spacing in (0.1, 0.0):
            assert evaluation_clips(self.PREPROCESS, 8, spacing=spacing) == [(1, 3, 5, 7)]
        assert evaluation_clips(self.PREPROCESS, 80) == [(10, 30, 50, 70)]

    def test_training_takes_all_places_with_the_same_steps(self) -> None:
        generator = np.random.default_rng(0)
        clips = [train_clip(self.PREPROCESS, 100, generator, spacing=0.1) for _ in range(4000)]
        assert {clip[-1] - clip[0] for clip in clips} == {15}
        assert {clip[0] for clip in clips} == set(range(2, 83))

    @given(st.integers(1, 300), st.floats(0.01, 0.5))
    def test_frames_are_those_of_a_timeline(self, num_frames: int, spacing: float) -> None:
        """At a constant rate: the middle window of `Windows`, except where a moment is at the border of two frames."""
        duration = num_frames * spacing
        window = min(2.0, duration)
        windows = Windows(2.0, 1.0, 4)
        (seen,) = windows.frames(np.arange(num_frames) * spacing, np.array([(duration - window) / 2]), duration)
        (found,) = evaluation_clips(self.PREPROCESS, num_frames, spacing=spacing)
        assert all(abs(a - b) <= 1 for a, b in zip(seen.tolist(), found, strict=True))


class TestUniform:
    def test_values(self) -> None:
        assert uniform_test(300, 8, 0, 4) == (7, 44, 82, 119, 157, 194, 231, 269)
        assert uniform_test(300, 8, 3, 4) == (29, 66, 104, 141, 179, 216, 253, 291)
        assert evaluation_clips(Preprocess(num_frames=8), 300) == [(18, 55, 93, 130, 168, 205, 242, 280)]

    def test_the_shift_is_rounded_as_the_original_rounds_it(self) -> None:
        """Where the shift is a whole number, the original's order of operations can fall just below it."""
        differ = 0
        for num_frames in range(1, 700):
            for n in (8, 12, 24):
                seg = max(0, (num_frames - 1) / n)
                for clips in (2, 3, 4, 10):
                    for k in range(clips):
                        shift = int(seg / (clips + 1) * (k + 1))
                        differ += shift != int(seg * (k + 1) / (clips + 1))
                        assert uniform_test(num_frames, n, k, clips)[0] == shift
        assert differ  # so that the order of operations is tested

    def test_halves_go_to_even(self) -> None:
        assert uniform_test(13, 8, 0, 1) == (0, 2, 3, 4, 6, 8, 9, 10)  # 1.5 i: 0 1.5 3 4.5 6 7.5 9 10.5

    @given(lengths, clip_sizes, seeds)
    def test_train_stays_in_its_segment(self, num_frames: int, n: int, seed: int) -> None:
        ends = [round((num_frames - 1) / n * i) for i in range(n + 1)]
        indices = uniform_train(num_frames, n, np.random.default_rng(seed))
        assert all(low <= i <= high for low, i, high in zip(ends, indices, ends[1:], strict=False))

    def test_train_reaches_both_ends(self) -> None:
        random = np.random.default_rng(0)
        drawn = np.array([uniform_train(17, 4, random) for _ in range(500)])
        assert drawn.min(axis=0).tolist() == [0, 4, 8, 12]
        assert drawn.max(axis=0).tolist() == [4, 8, 12, 16]

    def test_short_video_repeats(self) -> None:
        assert uniform_test(1, 4, 0, 1) == (0, 0, 0, 0)
        assert uniform_test(3, 8, 0, 1) == (0, 0, 0, 1, 1, 1, 2, 2)


def merged_and_dealt(num_frames: int, n: int, num_clips: int) -> list[tuple[int, ...]]:
    """The frame reader's way: the points of all clips merged, sorted and dealt out in turn."""
    step = num_frames / n
    points = sorted(int(s * step / num_clips + step * i) for s in range(num_clips) for i in range(n))
    return [tuple(points[clip::num_clips]) for clip in range(num_clips)]


class TestTsn:
    def test_values(self) -> None:
        preprocess = Preprocess(num_frames=8, sampling="tsn")
        assert evaluation_clips(preprocess, 45) == [(2, 8, 14, 19, 25, 30, 36, 42)]
        assert evaluation_clips(preprocess, 45, 2) == [(0, 5, 11, 16, 22, 28, 33, 39), (2, 8, 14, 19, 25, 30, 36, 42)]

    @given(lengths, clip_sizes, st.integers(2, 8))
    def test_is_what_merging_and_dealing_gives(self, num_frames: int, n: int, num_clips: int) -> None:
        preprocess = Preprocess(num_frames=n, sampling="tsn")
        assert evaluation_clips(preprocess, num_frames, num_clips) == merged_and_dealt(num_frames, n, num_clips)

    @given(st.integers(8, 500), seeds)
    def test_train_draws_in_whole_segments(self, num_frames: int, seed: int) -> None:
        whole = num_frames // 8
        indices = tsn_train(num_frames, 8, np.random.default_rng(seed))
        assert all(i * whole <= index < (i + 1) * whole for i, index in enumerate(indices))

    def test_short_video_is_spread_over_the_clip(self) -> None:
        indices = tsn_train(4, 8, np.random.default_rng(0))
        assert indices == (0, 0, 1, 1, 2, 2, 3, 3)
        assert tsn_test(4, 8, 0, 1) == (0, 0, 1, 1, 2, 2, 3, 3)


class TestSegments:
    def test_the_middle_frames_of_the_original(self) -> None:
        preprocess = Preprocess(num_frames=8, sampling="segments")
        assert evaluation_clips(preprocess, 300) == [(18, 55, 93, 130, 168, 205, 243, 280)]
        assert segments_test(5, 8, 0, 1) == segments_train(5, 8, np.random.default_rng(0)) == (0, 1, 2, 3, 4, 4, 4, 4)

    @given(st.integers(8, 500), seeds)
    def test_train_draws_in_segments_that_fill_the_video(self, num_frames: int, seed: int) -> None:
        borders = [i * num_frames // 8 for i in range(9)]
        indices = segments_train(num_frames, 8, np.random.default_rng(seed))
        assert all(a <= index < b for (a, b), index in zip(pairwise(borders), indices, strict=True))

    def test_every_frame_of_a_segment_is_drawn(self) -> None:
        drawn = {segments_train(9, 3, np.random.default_rng(seed))[1] for seed in range(50)}
        assert drawn == {3, 4, 5}


class TestDense:
    def test_middle(self) -> None:
        preprocess = Preprocess(num_frames=4, sampling="dense", sampling_rate=4)
        assert evaluation_clips(preprocess, 116) == [(50, 55, 60, 65)]

    def test_three_clips(self) -> None:
        preprocess = Preprocess(num_frames=4, sampling="dense", sampling_rate=4)
        assert evaluation_clips(preprocess, 37, 3) == [(0, 4, 8, 12), (10, 14, 18, 22), (21, 25, 29, 33)]

    def test_short(self) -> None:
        assert dense_test(10, 4, 4, 1, 3) == (0, 4, 8, 8)
        assert dense_test(10, 4, 4, 0, 1) == (0, 9, 9, 9)
        assert dense_train(10, 4, 4, np.random.default_rng(0)) == (0, 9, 9, 9)
        assert dense_train(2, 4, 4, np.random.default_rng(0)) == (1, 1, 1, 1)

    @given(st.integers(17, 500), seeds)
    def test_train_is_one_stretch(self, num_frames: int, seed: int) -> None:
        indices = dense_train(num_frames, 4, 4, np.random.default_rng(seed))
        assert np.subtract(indices, indices[0]).tolist() == [0, 5, 10, 15]


class TestMisuse:
    def test_counts(self) -> None:
        random = np.random.default_rng(0)
        for call in (
            lambda: uniform_train(0, 8, random),
            lambda: tsn_train(5, 0, random),
            lambda: dense_train(5, 2, 0, random),
            lambda: uniform_test(0, 8, 0, 1),
        ):
            with pytest.raises(ValueError, match="at least one frame"):
                call()
        for clip in (-1, 2):
            with pytest.raises(ValueError, match="count from 0"):
                tsn_test(10, 4, clip, 2)
        with pytest.raises(ValueError, match="num_clips"):
            evaluation_clips(Preprocess(), 10, 0)

    def test_needs_no_torch(self) -> None:
        assert "torch" not in vars(sampling)


@given(
    st.lists(st.floats(0.01, 3.0), max_size=60).map(lambda gaps: np.concatenate(([0.0], np.cumsum(gaps)))),
    st.floats(0.05, 50),
)
def test_at_rate_takes_what_is_on_screen_at_each_moment(timestamps: np.ndarray, fps: float) -> None:
    taken = at_rate(timestamps, fps)
    moments = np.arange(int(timestamps[-1] * fps) + 1) / fps
    exact = set((np.searchsorted(timestamps, moments, side="right") - 1).tolist())
    near = set((np.searchsorted(timestamps, moments + 2e-3, side="right") - 1).tolist())
    late = {len(timestamps) - 1}  # which stays on screen for a while
    assert set(taken) <= exact | near | late
    assert exact & near <= set(taken)
    assert list(taken) == sorted(set(taken)) and taken[0] == 0


def test_at_rate_of_ordinary_videos() -> None:
    film = np.arange(250) / 25
    assert at_rate(film, 1) == tuple(range(0, 250, 25))
    assert at_rate(film, None) == at_rate(film, 25) == at_rate(film, 1000) == tuple(range(250))
    assert len(at_rate(np.round(np.arange(9000) / 30, 3), 1)) == 300  # as Matroska keeps time
    assert at_rate(np.zeros(1), 1) == (0,)
    with pytest.raises(ValueError, match="fps"):
        at_rate(film, 0)
