"""The frames that one record of a data set means: of a whole video, a span of one, a listed folder of frames, an image."""

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
    """What sampling needs: how many frames there are to choose from, and the chosen ones."""

    @property
    def num_frames(self) -> int: ...

    def frames(self, indices: Sequence[int]) -> Frames: ...


@dataclass(frozen=True)
class OpenRecord:
    """An open video of which frames `first` ... `first + num_frames - 1` are the record's."""

    video: Video
    first: int
    num_frames: int

    def frames(self, indices: Sequence[int]) -> Frames:
        """The pictures at `indices`, counted from the record's first one; `Frames.indices` counts from the video's.

        Raises ValueError for an index outside [0, num_frames); VideoError when one of them cannot be decoded.
        """
        outside = [i for i in indices if not 0 <= i < self.num_frames]
        if outside:
            raise ValueError(f"{self.video.info.path}: frame {outside[0]} of a record with {self.num_frames} frames")
        return self.video.frames([self.first + i for i in indices])


@contextmanager
def open_record(record: VideoRecord, *, threads: int | None = None) -> Iterator[OpenRecord]:
    """Open the video of a record; `threads` decode it (None: as `open_video` chooses).

    A span (start, end) in seconds becomes the frames that are shown from start to end, both included, and ends where the
    video ends: for a constant rate that is int(start * fps) to int(end * fps), as the original cuts its windows. Frames
    that a list counts are opened by their names, without listing the folder.

    Raises VideoError when the video cannot be opened, a listed frame is missing or the span lies outside of the video;
    VideoMambaError for a frame name that is not a template of a number.
    """
    if record.num_frames is not None and record.frame_name is not None:
        video: Video = _listed_frames(record, record.num_frames, record.frame_name)
    else:
        video = open_video(record.path, threads=threads)
    with video:
        first, last = _range(record, video)
        try:
            yield OpenRecord(video, first, last - first + 1)
        except VideoError as error:
            raise _missing_frame(record, error) or error from None


def _listed_frames(record: VideoRecord, num_frames: int, frame_name: str) -> Video:
    folder = Path(record.path)
    try:
        images = [folder / frame_name.format(i) for i in range(1, num_frames + 1)]
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        raise VideoMambaError(
            f"frame_name {frame_name!r}: must hold one place for a number, for example img_{{:05}}.jpg"
        ) from None
    if not images:
        raise VideoError(
            record.path, f"has 0 frames according to {record.origin or 'its list'}; fix that line or remove it"
        )
    try:
        return ImageVideo(folder, images, fps=1.0)
    except VideoError as error:
        raise _missing_frame(record, error) or error from None


def _missing_frame(record: VideoRecord, error: VideoError) -> VideoError | None:
    if record.num_frames is None or Path(error.path).exists():
        return None
    source = record.origin or "its list"
    return VideoError(
        error.path, f"no such frame, one of {record.num_frames} according to {source}; fix it or add the file"
    )


def _range(record: VideoRecord, video: Video) -> tuple[int, int]:
    """The first and the last frame of the record."""
    last = video.info.num_frames - 1
    if record.span is None:
        return 0, last
    if isinstance(video, ImageVideo):
        raise VideoError(record.path, "has a span in seconds, but images have no times; give a video file or no span")
    start, end = record.span
    if start >= max(video.info.duration, EXACT_TIMES):
        lasts = f"outside of the video, which lasts {video.info.duration:.2f} s"
        raise VideoError(record.path, f"the span {start:g} to {end:g} s is {lasts}; fix the list")
    begin, finish = shown(video.timestamps, record.span, EXACT_TIMES).tolist()
    return max(begin, 0), max(finish, 0)
