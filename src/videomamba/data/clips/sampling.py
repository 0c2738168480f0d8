"""The choice of the frames of a clip: arithmetic on V (frames of the video) and n (frames of the clip), no file.

The first four families are those of the original data pipelines. Every function accepts any V >= 1 and returns n indices in
[0, V - 1] that do not decrease; a video shorter than its clip repeats frames.

    uniform  n points of one grid over the complete video (Kinetics-400, Breakfast, COIN, LVU)
    tsn      one frame of each of n equal segments (Something-Something V2, masked pre-training)
    segments one frame of each of n segments with whole borders (videos with texts)
    dense    every r-th frame of one stretch of W = n r frames
    window   the middles of n equal parts of one stretch of `clip_seconds` (camera motion), as in timelines

`train` draws from a generator; `test` returns clip k of K, shifted copies of one pattern. A single test clip (K = 1) is the
validation clip, in the middle. `round` is to the nearest, halves to even; truncation is towards zero.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from videomamba.data.clips.windows import ROUNDED_TIMES
from videomamba.schema import Preprocess

Indices = tuple[int, ...]


def train_clip(
    preprocess: Preprocess, num_frames: int, generator: np.random.Generator, *, spacing: float = 0.0
) -> Indices:
    """A random clip of a video with `num_frames` frames, with the sampling of `preprocess`.

    `spacing` is the time between two frames in seconds, 0 where it is unknown: then a window is the complete video.
    """
    if preprocess.sampling == "uniform":
        return uniform_train(num_frames, preprocess.num_frames, generator)
    if preprocess.sampling == "tsn":
        return tsn_train(num_frames, preprocess.num_frames, generator)
    if preprocess.sampling == "segments":
        return segments_train(num_frames, preprocess.num_frames, generator)
    if preprocess.sampling == "window":
        return window_train(num_frames, preprocess.num_frames, _width(preprocess, num_frames, spacing), generator)
    return dense_train(num_frames, preprocess.num_frames, preprocess.sampling_rate, generator)


def evaluation_clips(
    preprocess: Preprocess, num_frames: int, num_clips: int = 1, *, spacing: float = 0.0
) -> list[Indices]:
    """The `num_clips` test clips of a video with `num_frames` frames; a single one is the validation clip.

    `spacing` is that of `train_clip`.
    """
    if num_clips < 1:
        raise ValueError(f"num_clips must be at least 1, got {num_clips}")
    n = preprocess.num_frames
    if preprocess.sampling == "uniform":
        return [uniform_test(num_frames, n, clip, num_clips) for clip in range(num_clips)]
    if preprocess.sampling == "tsn":
        return [tsn_test(num_frames, n, clip, num_clips) for clip in range(num_clips)]
    if preprocess.sampling == "segments":
        return [segments_test(num_frames, n, clip, num_clips) for clip in range(num_clips)]
    if preprocess.sampling == "window":
        width = _width(preprocess, num_frames, spacing)
        return [window_test(num_frames, n, width, clip, num_clips) for clip in range(num_clips)]
    return [dense_test(num_frames, n, preprocess.sampling_rate, clip, num_clips) for clip in range(num_clips)]


def at_rate(timestamps: NDArray[np.float64], fps: float | None) -> Indices:
    """The frames on screen at 0, 1 / fps, 2 / fps, ... seconds, each at most once; every frame if fps is None.

    `timestamps` (V,) are the seconds of the video's frames from the first one. A rate above the video's own takes every
    frame. Raises ValueError for a rate that is not above 0.
    """
    if fps is None:
        return tuple(range(len(timestamps)))
    if not fps > 0:
        raise ValueError(f"fps must be above 0, got {fps}")
    mean = timestamps[-1] / max(len(timestamps) - 1, 1)
    borders = np.append(timestamps, timestamps[-1] + max(mean, 1 / fps if len(timestamps) == 1 else 0.0))
    # The first moment at or after each border. A frame is taken if a moment is between its borders.
    moments = np.ceil((borders - ROUNDED_TIMES) * fps)
    return tuple(int(index) for index in np.flatnonzero(moments[1:] > moments[:-1]))


def uniform_train(num_frames: int, n: int, generator: np.random.Generator) -> Indices:
    """One random frame in each of n segments, ends included: neighbours share an end, so indices may repeat."""
    _check(num_frames, n)
    ends = np.round((num_frames - 1) / n * np.arange(n + 1)).astype(np.int64)
    return _within(generator.integers(ends[:-1], ends[1:], endpoint=True), num_frames)


def uniform_test(num_frames: int, n: int, clip: int, num_clips: int) -> Indices:
    """round(seg i) + int(seg / (K + 1) (k + 1)) with seg = (V - 1) / n: the grid of the segments, shifted evenly.

    The division comes first, as in the original: where the shift is a whole number, rounding may make it one frame less, and
    the published accuracies were measured on those frames.
    """
    _check(num_frames, n, clip, num_clips)
    segment = (num_frames - 1) / n
    shift = int(segment / (num_clips + 1) * (clip + 1))
    return _within(np.round(segment * np.arange(n)).astype(np.int64) + shift, num_frames)


def tsn_train(num_frames: int, n: int, generator: np.random.Generator) -> Indices:
    """One random frame in each of n segments of V // n frames. V < n: in each of n segments of V / n frames.

    The second case spreads a short video evenly over the clip; the original code repeats its first frame n times.
    """
    _check(num_frames, n)
    length = num_frames // n
    if length:
        return _within(np.arange(n) * length + generator.integers(0, length, size=n), num_frames)
    return _within((np.arange(n) + generator.random(n)) * (num_frames / n), num_frames)


def tsn_test(num_frames: int, n: int, clip: int, num_clips: int) -> Indices:
    """int(t (i + k / K)) with t = V / n: clip 0 starts the segments, the others follow evenly. K = 1: int(t / 2 + t i).

    For K = 2 both readers of the original (video files, folders of frames) agree with this. For K = 1 they test on the
    starts of the segments and validate on the middles; here one clip is always the middle. For K > 2 the original's video
    reader cuts the K = 2 grid into clips of a part of the video; this follows its frame reader.
    """
    _check(num_frames, n, clip, num_clips)
    step = num_frames / n
    shift = step / 2 if num_clips == 1 else clip * step / num_clips
    return _within(shift + step * np.arange(n), num_frames)


def segments_train(num_frames: int, n: int, generator: np.random.Generator) -> Indices:
    """One random frame of each segment of `segments_test`. V < n: every frame, then the last one repeated.

    The original never takes the last frame of a segment, by mistake.
    """
    _check(num_frames, n)
    first, last = _segments(num_frames, n)
    return _filled(generator.integers(first, last, endpoint=True), num_frames, n)


def segments_test(num_frames: int, n: int, clip: int, num_clips: int) -> Indices:
    """Frame first + int((last - first) (k + 1) / (K + 1)) of each of n segments, whose borders are int(i V / n).

    V < n: every frame, then the last one repeated. K = 1 is the middle frame of each segment, as in the original, which has
    no other test clips.
    """
    _check(num_frames, n, clip, num_clips)
    first, last = _segments(num_frames, n)
    return _filled(first + (last - first) * (clip + 1) // (num_clips + 1), num_frames, n)


def dense_train(num_frames: int, n: int, rate: int, generator: np.random.Generator) -> Indices:
    """n frames of a random stretch of W = n r frames. V <= W: about every r-th frame, then the last one repeated."""
    _check(num_frames, n, rate=rate)
    if num_frames <= n * rate:
        return _dense_short(num_frames, n, rate)
    return _stretch(int(generator.integers(n * rate, num_frames)) - n * rate, num_frames, n, rate)


def dense_test(num_frames: int, n: int, rate: int, clip: int, num_clips: int) -> Indices:
    """Every r-th frame from int(k (V - W) / (K - 1)) on, the last one repeated at the end. K = 1: the middle.

    The middle clip is the original's validation clip, with the frames linspace(start, start + W, n), start (V - W) // 2:
    the original's own start is negative for short videos, and its test divides by K - 1.
    """
    _check(num_frames, n, clip, num_clips, rate)
    width = n * rate
    if num_clips == 1:
        if num_frames <= width:
            return _dense_short(num_frames, n, rate)
        return _stretch((num_frames - width) // 2, num_frames, n, rate)
    start = int(clip * max((num_frames - width) / (num_clips - 1), 0.0))
    taken = np.arange(start, min(start + width, num_frames), rate)
    return _within(np.append(taken, np.full(n - len(taken), taken[-1])), num_frames)


def window_train(num_frames: int, n: int, width: float, generator: np.random.Generator) -> Indices:
    """The middles of n equal parts of a random stretch of `width` frames, which need not be whole."""
    _check(num_frames, n)
    return _middles(generator.random() * (num_frames - width), num_frames, n, width)


def window_test(num_frames: int, n: int, width: float, clip: int, num_clips: int) -> Indices:
    """The same of the stretch that starts at k (V - width) / (K - 1). K = 1: in the middle."""
    _check(num_frames, n, clip, num_clips)
    place = 0.5 if num_clips == 1 else clip / (num_clips - 1)
    return _middles(place * (num_frames - width), num_frames, n, width)


def _width(preprocess: Preprocess, num_frames: int, spacing: float) -> float:
    """The frames in `clip_seconds`, at most those of the video."""
    if preprocess.clip_seconds is None or not spacing > 0:
        return num_frames
    return min(preprocess.clip_seconds / spacing, num_frames)


def _middles(start: float, num_frames: int, n: int, width: float) -> Indices:
    return _within(start + (np.arange(n) + 0.5) * (width / n), num_frames)


def _segments(num_frames: int, n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first and the last frame of min(n, V) segments."""
    borders = np.linspace(0, num_frames, min(n, num_frames) + 1).astype(np.int64)
    return borders[:-1], borders[1:] - 1


def _filled(places: NDArray[np.int64], num_frames: int, n: int) -> Indices:
    return _within(np.append(places, np.full(n - len(places), places[-1])), num_frames)


def _stretch(start: int, num_frames: int, n: int, rate: int) -> Indices:
    end = start + n * rate
    return _within(np.clip(np.linspace(start, end, n), start, end - 1), num_frames)


def _dense_short(num_frames: int, n: int, rate: int) -> Indices:
    spread = np.linspace(0, num_frames, num_frames // rate)
    return _within(np.append(spread, np.full(n - len(spread), num_frames)), num_frames)


def _within(places: NDArray[np.integer | np.floating], num_frames: int) -> Indices:
    return tuple(int(place) for place in np.minimum(places.astype(np.int64), num_frames - 1))


def _check(num_frames: int, n: int, clip: int = 0, num_clips: int = 1, rate: int = 1) -> None:
    if num_frames < 1 or n < 1 or rate < 1:
        raise ValueError(f"need at least one frame, got a video of {num_frames}, a clip of {n}, a rate of {rate}")
    if not 0 <= clip < num_clips:
        raise ValueError(f"clip {clip} of {num_clips}: count from 0")
