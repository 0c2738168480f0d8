"""Windows of time over a video: their starts and their frames. Arithmetic on seconds, no file.

A window shows n frames: those on screen in the middle of its n equal parts. If the stride is a multiple of window / n,
overlapping windows share frames.

One engine serves timelines of files (all times are known), live streams (pictures arrive one by one) and data sets whose
long videos are cut into windows. They differ only in the `tolerance`: a frame that starts at most this many seconds after a
moment counts as the frame of that moment.

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
"""Seconds: the rounding error of sums of fractions. A larger value would change the frames of ordinary files: at 29.97 fps
one frame in 33 starts less than a millisecond after a moment that belongs to the frame before it."""

ROUNDED_TIMES = 1e-3
"""Seconds: Matroska and other formats round times to milliseconds, so that a picture may have a time just after its own."""

Rest = Literal["move_back", "shorten"]
"""The policy for the end of a video that no complete window covers."""

_MOST_WINDOWS = 5_000_000  # more means a mistyped stride


def shown(timestamps: ArrayLike, moments: ArrayLike, tolerance: float) -> NDArray[np.int64]:
    """The index of the frame on screen at each of `moments` (seconds, any shape); -1 before the first frame.

    `timestamps` (V,) are the seconds at which frames start, ascending.
    """
    return np.searchsorted(timestamps, np.asarray(moments) + tolerance, side="right").astype(np.int64) - 1


@dataclass(frozen=True)
class Windows:
    """Window k is the time from k stride to k stride + window seconds, shown by `num_frames` frames.

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

        Raises VideoMambaError when no window is given and the length of the training clips is unknown.
        """
        window = preprocess.clip_seconds if window is None else window
        if window is None:
            raise VideoMambaError(
                "window: the model does not say how many seconds its training clips cover; give a length "
                "(--window 4, or window=4 in Python)"
            )
        return cls(window, window / 2 if stride is None else stride, preprocess.num_frames, tolerance)

    def starts(self, duration: float, rest: Rest = "move_back") -> NDArray[np.float64]:
        """The starts (k,) of the windows of a video of `duration` seconds: 0, stride, 2 stride, ...

        A video that is not longer than a window is one window. For longer videos `rest` is the policy at the end:

        - "move_back": only complete windows; a last window ends with the video if they leave a rest.
        - "shorten": as in the original's reader of long videos. Windows start before int(duration); the last ones end with
          the video, as long as half a window is left.

        Raises VideoMambaError when there are more than five million windows.
        """
        if (duration - self.window) / self.stride > _MOST_WINDOWS:
            raise VideoMambaError(f"stride {self.stride:g}: gives over {_MOST_WINDOWS} windows; choose a longer stride")
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
        """(start, end) in seconds of the windows that start at `starts(duration, rest)`."""
        return [(start, min(start + self.window, duration)) for start in self.starts(duration, rest).tolist()]

    def frames(
        self, timestamps: NDArray[np.float64], starts: NDArray[np.float64], duration: float
    ) -> NDArray[np.int64]:
        """The frames of the windows that start at `starts` (k,) in a video of `duration` seconds: (k, n) indices.

        `timestamps` (V,) are the seconds at which the frames of the video start.
        """
        moments = starts[:, None] + self._middles(min(self.window, duration))
        return np.clip(shown(timestamps, moments, self.tolerance), 0, len(timestamps) - 1)

    def span(self, k: int) -> tuple[float, float]:
        """(start, end) of window k of a stream, in seconds."""
        return k * self.stride, k * self.stride + self.window

    def last_over(self, time: float) -> int:
        """The last window that has ended when the video or stream reaches `time`; negative if none has."""
        return math.ceil((time + self.tolerance - self.window) / self.stride) - 1

    @property
    def capacity(self) -> int:
        """The most pictures of a stream needed within one window and one stride: this many hold the newest window."""
        return (self.num_frames + 1) * (math.ceil(self.window / self.stride) + 2)

    def wants(self, start: float, stop: float) -> bool:
        """Whether a window shows, or ends with, the picture on screen from `start` to `stop`."""
        offsets = self._stream_offsets()
        k = np.maximum(0, np.ceil((start - self.tolerance - offsets) / self.stride))
        return bool((k * self.stride + offsets < stop - self.tolerance).any())

    def pick(self, k: int, starts: Sequence[float], stops: Sequence[float]) -> list[int] | None:
        """The indices of the n pictures that window k shows and of the one that ends it; None if one is missing.

        The pictures are on screen from `starts` to `stops`, ascending.
        """
        moments = k * self.stride + self._stream_offsets()
        places = shown(starts, moments, self.tolerance)
        if (places < 0).any() or (moments + self.tolerance >= np.asarray(stops)[places]).any():
            return None
        return [int(place) for place in places]

    def _middles(self, window: float) -> NDArray[np.float64]:
        return (np.arange(self.num_frames) + 0.5) * np.float64(window / self.num_frames)

    def _stream_offsets(self) -> NDArray[np.float64]:
        # The last picture of a window is known to be the last only after the next one has arrived.
        return np.append(self._middles(self.window), self.window - 2 * self.tolerance)
