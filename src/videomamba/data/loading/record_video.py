"""The frames of one record of a data set: a complete video, a span of one, a listed folder of frames, or an image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from videomamba.data.clips.windows import EXACT_TIMES, shown
from videomamba.schema import Frames, VideoError, VideoMambaError, VideoRecord
from videomamba.video.base import Video
from videomamba.video.images import ImageVideo
from videomamba.video.open import open_video


class FrameSource(Protocol):
    """The input of sampling: the number of frames, their mean distance in time, and the frames at chosen indices."""

    @property
    def num_frames(self) -> int: ...

    @property
    def spacing(self) -> float:
        """Seconds between two frames, 0 where it is unknown."""
        ...

    def frames(self, indices: Sequence[int]) -> Frames: ...


@dataclass(frozen=True)
class OpenRecord:
    """An open video; the frames of the record are `first` ... `first + num_frames - 1`."""

    video: Video
    first: int
    num_frames: int

    @property
    def spacing(self) -> float:
        return self.video.info.spacing

    def frames(self, indices: Sequence[int]) -> Frames:
        """The pictures at `indices` of the record; `Frames.indices` are their places in the video.

        Raises ValueError for an index outside [0, num_frames); VideoError when one of them cannot be decoded.
        """
        outside = [i for i in indices if not 0 <= i < self.num_frames]
        if outside:
            raise ValueError(f"{self.video.info.path}: frame {outside[0]} of a record with {self.num_frames} frames")
        return self.video.frames([self.first + i for i in indices])


@contextmanager
def open_record(record: VideoRecord, *, threads: int | None = None) -> Iterator[OpenRecord]:
    """Open the video of a record; `threads` decode it (None: as `open_video` chooses).

    A span (start, end) in seconds becomes the frames shown from start to end, both included, at most to the end of the
    video: for a constant rate int(start * fps) to int(end * fps), as the original cuts its windows. If a list states the
    number of frames, they are opened by their names, without listing the folder.

    Raises VideoError when the video cannot be opened, a listed frame is missing or the span is outside the video;
    VideoMambaError for a frame name without one place for a number.
    """
    try:
        with _open(record, threads) as video:
            first, last = _range(record, video)
            yield OpenRecord(video, first, last - first + 1)
    except VideoError as error:
        if not record.num_frames or Path(error.path).exists():
            raise
        missing = f"no such frame, one of {record.num_frames} according to {record.origin or 'its list'}"
        raise VideoError(error.path, f"{missing}; fix it or add the file") from None


def _open(record: VideoRecord, threads: int | None) -> Video:
    if record.num_frames is None or record.frame_name is None:
        return open_video(record.path, threads=threads)
    if record.num_frames == 0:
        source = record.origin or "its list"
        raise VideoError(record.path, f"has 0 frames according to {source}; fix that line or remove it")
    folder = Path(record.path)
    return ImageVideo(folder, [folder / name for name in frame_names(record.frame_name, record.num_frames)], fps=1.0)


def frame_names(frame_name: str, count: int) -> list[str]:
    """The names of frames 1 to `count`. Raises VideoMambaError unless `frame_name` has one place for a number."""
    try:
        names = [frame_name.format(i) for i in range(1, count + 1)]
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        names = []
    if len(set(names)) != count:
        raise VideoMambaError(f"frame_name: {frame_name!r} needs one place for a number, for example img_{{:05}}.jpg")
    return names


def _range(record: VideoRecord, video: Video) -> tuple[int, int]:
    """The first and last frame of the record."""
    last = video.info.num_frames - 1
    if record.span is None:
        return 0, last
    if isinstance(video, ImageVideo):
        raise VideoError(record.path, "has a span in seconds, but images have no times; use a video file or no span")
    start, end = record.span
    if start >= max(video.info.duration, EXACT_TIMES):
        lasts = f"outside the video, which lasts {video.info.duration:.2f} s"
        raise VideoError(record.path, f"the span {start:g} to {end:g} s is {lasts}; fix the list")
    begin, finish = shown(video.timestamps, record.span, EXACT_TIMES).tolist()
    return max(begin, 0), max(finish, 0)
