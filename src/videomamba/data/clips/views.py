"""The views of a video in a test: clips in time by crops in space."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from videomamba.data.clips.sampling import evaluation_clips
from videomamba.data.clips.transforms import Covering, covering, crop_clip
from videomamba.schema import Clip, Frames, Preprocess, Views
from videomamba.video.base import Video

AT_ONCE = 16
"""Pictures that are in memory at their full size: 100 MB of them at 1920x1080."""


def video_views(video: Video, preprocess: Preprocess, views: Views = Views()) -> Iterator[Clip]:
    """The `iter_views` of an open video."""
    info = video.info
    return iter_views(video.frames, info.num_frames, preprocess, views, spacing=info.spacing)


def iter_views(
    read: Callable[[Sequence[int]], Frames],
    num_frames: int,
    preprocess: Preprocess,
    views: Views,
    *,
    spacing: float = 0.0,
) -> Iterator[Clip]:
    """The views (3, t, h, w), clips outermost, of a video with `num_frames` frames; `read` returns frames by index.

    `spacing` is the time between two frames in seconds, 0 where it is unknown.

    All clips are read before the first view, in one pass: each picture is read and scaled once, in ascending parts of at
    most `AT_ONCE`, and only the scaled picture is kept. Each view is made when it is requested. Raises the errors of `read`.
    """
    chosen = evaluation_clips(preprocess, num_frames, views.clips, spacing=spacing)
    wanted = sorted({index for clip in chosen for index in clip})
    first = covering(read(wanted[:AT_ONCE]), preprocess)
    data = first.data.new_empty((len(wanted), *first.data.shape[1:]))
    data[: len(first)] = first.data
    indices, times = first.indices, first.timestamps
    for start in range(AT_ONCE, len(wanted), AT_ONCE):
        part = covering(read(wanted[start : start + AT_ONCE]), preprocess)
        data[start : start + len(part)] = part.data
        indices, times = indices + part.indices, times + part.timestamps
    row_of = {index: row for row, index in enumerate(wanted)}
    for clip in chosen:
        rows = [row_of[index] for index in clip]
        seen = Frames(data[rows], tuple(indices[row] for row in rows), tuple(times[row] for row in rows), first.path)
        for crop in range(views.crops):
            yield crop_clip(Covering(seen), preprocess, crop=crop, num_crops=views.crops)
