"""What happens when in a film of any length: the classes of windows that slide over it.

Every window is looked at by itself, from its first frame to its last and back: a bidirectional network has seen the end of
a window in all its states, so the states of one window are of no use to the next. What neighbouring windows do share is
frames. A window of W seconds is sampled in the middles of its n equal parts, as the whole of a short video would be, and
all windows take these moments from one clock that starts with the film: where the stride is a multiple of W / n, the
moments of overlapping windows coincide. Every frame that any window needs is then decoded, scaled and normalised once, in
one walk through the file.

Shape letters: k windows, n frames of a window, t frames of a part of the film, h height, w width.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from videomamba.data.clips.transforms import to_clip
from videomamba.schema import Clip, Frames, Preprocess, VideoInfo, VideoMambaError, WeightsError
from videomamba.serving.ahead import ahead
from videomamba.serving.predictor import Predictor
from videomamba.video.open import Video, open_video

_FRAMES_AT_ONCE = 16  # decoded in one piece: 100 MB of pictures at 1920x1080
_PIECES_AHEAD = 2  # that wait, scaled, for the network
_WITHIN = 1e-6  # seconds: a moment that falls on a frame's own time, but for rounding, is that frame's
_MOST_WINDOWS = 5_000_000  # more is a slip of the hand in the stride
_THUMBNAIL_HEIGHT = 72


class Thumbnail(NamedTuple):
    """A small picture (h, w, 3) uint8 RGB of the film at `time` seconds."""

    time: float
    picture: NDArray[np.uint8]


@dataclass(frozen=True, repr=False)
class Timeline:
    """`scores[i]` (k, classes) fp32 are the probabilities of the window of `window` seconds from `starts[i]` (k,) on.

    A film of less than `window` seconds has one window, which is as long as the film; `window` says what was asked for.
    `duration` is from the first frame to the end of the last one, 0 for a single picture.
    """

    video: VideoInfo
    duration: float
    labels: tuple[str, ...]
    window: float
    stride: float
    starts: NDArray[np.float64]
    scores: NDArray[np.float32]
    frames_decoded: int
    thumbnails: tuple[Thumbnail, ...] = ()

    def __repr__(self) -> str:
        return f"Timeline({self.video.path!r}, {len(self.starts)} windows of {self.window:g} s)"


def window_starts(duration: float, window: float, stride: float) -> NDArray[np.float64]:
    """Where the windows begin, (k,) seconds: 0, stride, 2 stride, ... as long as the whole window lies in the film.

    Two cases have their own policy. Where these windows leave a rest at the end, one more is taken that ends with the film
    ("the last window is moved back"), so that all windows have one length and none is filled up. A film that is not longer
    than a window is one window ("as long as the film").

    Raises VideoMambaError when window or stride is not a positive number, or there were more than five million windows.
    """
    for name, value in (("window", window), ("stride", stride)):
        if not (value > 0 and np.isfinite(value)):
            raise VideoMambaError(f"{name}: {value:g} is no length of time; give seconds above 0")
    if (duration - window) / stride > _MOST_WINDOWS:
        raise VideoMambaError(f"stride: {stride:g} s makes more than {_MOST_WINDOWS} windows; give a longer one")
    rest = duration - window
    if rest <= _WITHIN:
        return np.zeros(1)
    starts = np.arange(int((rest + _WITHIN) / stride) + 1) * np.float64(stride)
    return starts if rest - starts[-1] <= _WITHIN else np.append(starts, rest)


def window_frames(
    timestamps: NDArray[np.float64], starts: NDArray[np.float64], window: float, num_frames: int
) -> NDArray[np.int64]:
    """The frames of each window, (k, n): those in the picture in the middles of its n equal parts.

    `timestamps` (V,) are the seconds at which the frames of the film come up; `window` is at most as long as the film.
    """
    middles = (np.arange(num_frames) + 0.5) * (window / num_frames)
    shown = np.searchsorted(timestamps, starts[:, None] + middles + _WITHIN, side="right") - 1
    return np.clip(shown, 0, len(timestamps) - 1)


def timeline(
    predictor: Predictor,
    path: str | Path,
    *,
    window: float,
    stride: float,
    batch: int = 8,
    thumbnails: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Timeline:
    """Classifies windows of `window` seconds, one every `stride` seconds, over the whole film at `path`.

    The frames of a window are as many as the model takes, whatever way of sampling it was trained with. A thread decodes
    ahead of the network. Memory does not grow with the film: beside `batch` windows and a few pieces of film that wait for
    them, only the answers are kept, the table of frames, and `thumbnails` small pictures spread over the film.
    `progress(done, total)` counts windows.

    Raises VideoError when the film or a frame that is needed cannot be read, VideoMambaError for a window or a stride that
    is none, WeightsError when the model's answers are not finite.
    """
    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")
    with open_video(path) as video:
        duration = _duration(video)
        starts = window_starts(duration, window, stride)
        frames = window_frames(video.timestamps, starts, min(window, duration), predictor.preprocess.num_frames)
        needed = np.unique(frames)
        album = _Album(needed, thumbnails)
        scores = np.empty((len(starts), len(predictor.labels)), np.float32)
        done = 0
        with closing(_pieces(video, needed, predictor.preprocess, album)) as pieces:
            for clips in _in_batches(_clips(pieces, frames, video.info.path), batch):
                scores[done : done + len(clips)] = predictor.logits(clips).softmax(1).numpy()
                done += len(clips)
                if progress is not None:
                    progress(done, len(starts))
        if not np.isfinite(scores).all():
            raise WeightsError(f"{path}: the model answers with numbers that are not finite; its weights are damaged")
        return Timeline(
            video=video.info,
            duration=duration,
            labels=predictor.labels,
            window=window,
            stride=stride,
            starts=starts,
            scores=scores,
            frames_decoded=len(needed),
            thumbnails=tuple(album.pictures),
        )


def _duration(video: Video) -> float:
    """From the first frame to the moment at which the last one has been seen for as long as the others on average."""
    return float(video.timestamps[-1]) + (1 / video.info.fps if video.info.fps else 0.0)


class _Album:
    """Small pictures of frames that pass by; `number` of them, evenly spread over the `needed` frames."""

    def __init__(self, needed: NDArray[np.int64], number: int) -> None:
        places = ((np.arange(number) + 0.5) * len(needed) / max(number, 1)).astype(np.int64)
        self._wanted = set(needed[places].tolist())
        self.pictures: list[Thumbnail] = []

    def look(self, frames: Frames) -> None:
        for place, index in enumerate(frames.indices):
            if index in self._wanted:
                picture = frames.data[place].permute(2, 0, 1)[None].float()
                height = min(_THUMBNAIL_HEIGHT, picture.shape[2])
                width = max(1, round(picture.shape[3] * height / picture.shape[2]))
                small = F.interpolate(picture, (height, width), mode="area")[0].permute(1, 2, 0)
                self.pictures.append(Thumbnail(frames.timestamps[place], small.round().to(torch.uint8).numpy()))


_Piece = tuple[tuple[int, ...], Tensor]  # indices of t frames, and the frames as the network sees them, (3, t, h, w)


def _pieces(
    video: Video, needed: NDArray[np.int64], preprocess: Preprocess, album: _Album
) -> Generator[_Piece, None, None]:
    """The needed frames, ascending, piece by piece; a thread prepares the next ones. Raises what it meets there."""

    def read(first: int) -> _Piece:
        frames = video.frames(needed[first : first + _FRAMES_AT_ONCE].tolist())
        album.look(frames)
        return frames.indices, to_clip(frames, preprocess).data

    return ahead(read, range(0, len(needed), _FRAMES_AT_ONCE), waiting=_PIECES_AHEAD)


def _clips(pieces: Iterator[_Piece], frames: NDArray[np.int64], path: str) -> Iterator[Clip]:
    """The windows in order, each as soon as its last frame (n of `frames` (k, n)) has come."""
    kept: dict[int, Tensor] = {}  # frame index -> (3, h, w)
    for indices in frames.tolist():
        kept = {index: pixels for index, pixels in kept.items() if index >= indices[0]}
        while indices[-1] not in kept:
            arrived, pixels = next(pieces)
            kept |= zip(arrived, pixels.unbind(1), strict=True)
        yield Clip(torch.stack([kept[index] for index in indices], dim=1), tuple(indices), path)


def _in_batches(clips: Iterator[Clip], size: int) -> Iterator[Sequence[Clip]]:
    batch: list[Clip] = []
    for clip in clips:
        batch.append(clip)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
