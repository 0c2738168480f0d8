"""The views of a video that a test looks at: clips in time by crops in space."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch

from videomamba.data.clips.sampling import evaluation_clips
from videomamba.data.clips.transforms import covering, to_clip
from videomamba.schema import Clip, Frames, Preprocess

AT_ONCE = 16
"""Pictures that are in memory at their full size: 100 MB of them at 1920x1080."""


def read_views(
    read: Callable[[Sequence[int]], Frames], num_frames: int, preprocess: Preprocess, *, clips: int, crops: int
) -> list[Clip]:
    """All that `iter_views` makes."""
    return list(iter_views(read, num_frames, preprocess, clips=clips, crops=crops))


def iter_views(
    read: Callable[[Sequence[int]], Frames], num_frames: int, preprocess: Preprocess, *, clips: int, crops: int
) -> Iterator[Clip]:
    """`clips` x `crops` views (3, t, h, w), clips outermost, of a video with `num_frames` frames that `read` gives by index.

    Before the first view all clips are read, in one walk: every picture is asked for and scaled once, in ascending parts of
    at most `AT_ONCE`, and only the scaled one is kept. Views are made as they are taken. Raises what `read` raises.
    """
    chosen = evaluation_clips(preprocess, num_frames, clips)
    wanted = sorted({index for clip in chosen for index in clip})
    scaled: dict[int, Frames] = {}
    for start in range(0, len(wanted), AT_ONCE):
        asked = wanted[start : start + AT_ONCE]
        part = covering(read(asked), preprocess)
        scaled |= {index: part.part(place, place + 1) for place, index in enumerate(asked)}
    for clip in chosen:
        frames = _joined([scaled[index] for index in clip])
        yield from (to_clip(frames, preprocess, crop=crop, num_crops=crops) for crop in range(crops))


def _joined(parts: Sequence[Frames]) -> Frames:
    return Frames(
        torch.cat([part.data for part in parts]),
        tuple(index for part in parts for index in part.indices),
        tuple(time for part in parts for time in part.timestamps),
        parts[0].path,
    )
