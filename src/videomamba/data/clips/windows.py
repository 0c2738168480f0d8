"""Windows of time over a video: when they begin, and which frames they show. Arithmetic on seconds, no file.

A window is seen through n frames, those on screen in the middles of its n equal parts. All windows of a video take these
moments from one clock: where the stride is a multiple of window / n, overlapping windows share their frames.

One engine serves timelines of files (all times are known), live streams (pictures arrive one by one) and data sets whose
long videos are cut into windows. Their times differ in one thing, the `tolerance`: a frame that begins at most so many
seconds after a moment counts as the frame of that moment.

Shape letters: k windows, n frames of a window, V frames of a video.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from videomamba.schema import Preprocess, VideoMambaError

EXACT_TIMES = 1e-6
"""Seconds: what rounding adds to sums of fractions. More would change the frames of ordinary files: at 29.97 frames a second
one frame in 33 begins less than a millisecond after a moment that still belongs to the frame before it."""

ROUNDED_TIMES = 1e-3
"""Seconds: Matroska and others round times to milliseconds, so that a picture may arrive with a time just after its own."""

Rest = Literal["move_back", "shorten"]
"""What is done with the end of a video that no whole window covers."""

_MOST_WINDOWS = 5_000_000  # more comes from a mistyped stride


def shown(timestamps: ArrayLike, moments: ArrayLike, tolerance: float) -> NDArray[np.int64]:
    """The index of the frame on screen at each of `moments` (seconds, any shape): the last that begins by then.

    `timestamps` (V,) are the seconds at which frames begin, ascending. -1 before the first frame.
    """
    return np.searchsorted(timestamps, np.asarray(moments) + tolerance, side="right").astype(np.int64) - 1


@dataclass(frozen=True)
class Windows:
    """Window k is the time from k stride to k stride + window seconds, seen through `num_frames` frames.

    Raises VideoMambaError for a window or stride that is not a length of time.
    """

    window: float
    stride: float
    num_frames: int = 1
    tolerance: float = EXACT_TIMES

    def __post_init__(self) -> None:
        for name in ("window", "stride"):
            seconds = getattr(self, name)
            if not (math.isfinite(seconds) and seconds > 2 * self.tolerance):
                raise VideoMambaError(f"{name} {seconds:g}: give a length in seconds above 0, such as 2")

    @classmethod
    def for_model(
        cls, preprocess: Preprocess, *, window: float | None, stride: float | None, tolerance: float = EXACT_TIMES
    ) -> Self:
        """The windows of a model: `window` None is the length of its training clips, `stride` None is half a window.

        Raises VideoMambaError when no window is given and the length of the training clips is not known.
        """
        window = preprocess.clip_seconds if window is None else window
        if window is None:
            raise VideoMambaError(
                "window: the model does not say how many seconds its training clips covered; give a length "
                "(--window 4, or window=4 in Python)"
            )
        return cls(window, window / 2 if stride is None else stride, preprocess.num_frames, tolerance)

    def starts(self, duration: float, rest: Rest = "move_back") -> NDArray[np.float64]:
        """When the windows of a video of `duration` seconds begin, (k,): 0, stride, 2 stride, ...

        A video that is not longer than a window is one window. For longer ones `rest` is the policy at the end:

        - "move_back": only whole windows; where they leave a rest, one more ends with the video.
        - "shorten": the original's reader of long videos. Windows begin before int(duration); the last ones end with the
          video, as long as half a window is left.

        Raises VideoMambaError when there are more than five million windows.
        """
        if (duration - self.window) / self.stride > _MOST_WINDOWS:
            raise VideoMambaError(
                f"stride {self.stride:g}: gives more than {_MOST_WINDOWS} windows; choose a longer one"
            )
        if rest == "shorten":
            if duration < self.window:
                return np.zeros(1)
            starts = np.arange(max(-(-int(duration) // self.stride), 1)) * np.float64(self.stride)
            kept: NDArray[np.float64] = starts[(duration - starts >= self.window / 2) | (starts == 0)]
            return kept
        left = duration - self.window
        if left <= self.tolerance:
            return np.zeros(1)
        starts = np.arange(self.last_over(duration) + 1) * np.float64(self.stride)
        return starts if left - starts[-1] <= self.tolerance else np.append(starts, left)

    def spans(self, duration: float, rest: Rest) -> list[tuple[float, float]]:
        """(start, end) in seconds of the windows that begin at `starts(duration, rest)`."""
        return [(start, min(start + self.window, duration)) for start in self.starts(duration, rest).tolist()]

    def frames(
        self, timestamps: NDArray[np.float64], starts: NDArray[np.float64], duration: float
    ) -> NDArray[np.int64]:
        """The frames of the windows that begin at `starts` (k,) in a video of `duration` seconds: (k, n) indices.

        `timestamps` (V,) are the seconds at which the frames of the video begin.
        """
        moments = starts[:, None] + self._middles(min(self.window, duration))
        return np.clip(shown(timestamps, moments, self.tolerance), 0, len(timestamps) - 1)

    def span(self, k: int) -> tuple[float, float]:
        """(start, end) of window k of a stream, in seconds."""
        return k * self.stride, k * self.stride + self.window

    def last_over(self, time: float) -> int:
        """The last window that is over when the video or stream has reached `time`; negative where none is."""
        return math.ceil((time + self.tolerance - self.window) / self.stride) - 1

    @property
    def capacity(self) -> int:
        """The most pictures of a stream that are wanted within one window and one stride: so many hold the newest window."""
        return (self.num_frames + 1) * (math.ceil(self.window / self.stride) + 2)

    def wants(self, start: float, stop: float) -> bool:
        """Whether a window shows, or ends with, the picture that is on screen from `start` to `stop`."""
        offsets = self._stream_offsets()
        k = np.maximum(0, np.ceil((start - self.tolerance - offsets) / self.stride))
        return bool((k * self.stride + offsets < stop - self.tolerance).any())

    def pick(self, k: int, starts: Sequence[float], stops: Sequence[float]) -> list[int] | None:
        """Which of the pictures on screen from `starts` to `stops` (ascending) window k shows, n indices, and which ends it.

        None where one of them is missing.
        """
        moments = k * self.stride + self._stream_offsets()
        places = shown(starts, moments, self.tolerance)
        if (places < 0).any() or (moments + self.tolerance >= np.asarray(stops)[places]).any():
            return None
        return [int(place) for place in places]

    def _middles(self, window: float) -> NDArray[np.float64]:
        return (np.arange(self.num_frames) + 0.5) * np.float64(window / self.num_frames)

    def _stream_offsets(self) -> NDArray[np.float64]:
        # The last picture of a window is known to be the last only when the next one has come.
        return np.append(self._middles(self.window), self.window - 2 * self.tolerance)
