"""One walk through a video for all of its windows: each frame that any of them needs is decoded, scaled and normalised once.

Shape letters: k windows, n frames of a window, t frames of a part of the video, h height, w width.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, stack

from videomamba.data.clips.transforms import to_clip
from videomamba.data.clips.windows import Windows
from videomamba.schema import Clip, Frames, Preprocess
from videomamba.serving.ahead import ahead
from videomamba.video.base import Video

_FRAMES_AT_ONCE = 16  # decoded in one piece, where they are small enough
# glibc keeps freed blocks of less than 32 MB. Larger ones come anew from the system, page by page: at 1920x1080 pieces of
# 100 MB took 1.5 times as long to decode as pieces of 25 MB.
_BYTES_AT_ONCE = 25_000_000
_FRAMES_AHEAD = 32  # that wait, scaled, for the network

_Piece = tuple[tuple[int, ...], Tensor]  # indices of t frames, and the frames as the network sees them, (3, t, h, w)


class WindowWalk:
    """The windows of an open video and their frames.

    `duration` is from the first frame to the end of the last one in seconds, 0 for a single picture. `starts` (k,) are the
    starts of the windows, `length` the seconds of each, `frames` (k, n) the indices of their frames, `needed` these indices,
    each once, ascending.
    """

    def __init__(self, video: Video, windows: Windows) -> None:
        self._video = video
        # The last frame is shown for the mean duration of a frame.
        self.duration = float(video.timestamps[-1]) + (1 / video.info.fps if video.info.fps else 0.0)
        self.starts: NDArray[np.float64] = windows.starts(self.duration)
        self.frames: NDArray[np.int64] = windows.frames(video.timestamps, self.starts, self.duration)
        self.needed: NDArray[np.int64] = np.unique(self.frames)
        self.length = min(windows.window, self.duration)

    def keep(self, places: NDArray[np.int64]) -> None:
        """Leaves only the windows at `places`, ascending."""
        self.starts, self.frames = self.starts[places], self.frames[places]
        self.needed = np.unique(self.frames)

    def clips(
        self,
        preprocess: Preprocess,
        look: Callable[[Frames], object] = lambda frames: None,
        *,
        see: Callable[[Tensor], object] = lambda pixels: None,
        in_thread: bool = True,
    ) -> Generator[Clip, None, None]:
        """The clip of each window, in order, as soon as its last frame is there.

        `look` sees the frames as decoded, `see` as the network does: (3, t, h, w), normalised; both in order, each frame once.
        A thread decodes ahead, unless `in_thread` is off: for a caller that is such a thread itself. Raises VideoError.
        """

        info = self._video.info
        at_once = max(1, min(_FRAMES_AT_ONCE, _BYTES_AT_ONCE // (3 * info.height * info.width)))

        def read(first: int) -> _Piece:
            frames = self._video.frames(self.needed[first : first + at_once].tolist())
            look(frames)
            pixels = to_clip(frames, preprocess).data
            see(pixels)
            return frames.indices, pixels

        firsts = range(0, len(self.needed), at_once)
        if not in_thread:
            yield from self._clips(map(read, firsts))
            return
        with closing(ahead(read, firsts, waiting=max(1, _FRAMES_AHEAD // at_once))) as pieces:
            yield from self._clips(pieces)

    def _clips(self, pieces: Iterator[_Piece]) -> Iterator[Clip]:
        kept: dict[int, Tensor] = {}  # frame index -> (3, h, w)
        for indices in self.frames.tolist():
            kept = {index: pixels for index, pixels in kept.items() if index >= indices[0]}
            while indices[-1] not in kept:
                arrived, pixels = next(pieces)
                kept |= zip(arrived, pixels.unbind(1), strict=True)
            yield Clip(stack([kept[index] for index in indices], dim=1), tuple(indices), self._video.info.path)
