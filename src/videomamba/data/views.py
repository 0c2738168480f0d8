"""The views of a video that a test looks at: clips in time by crops in space."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from videomamba.data.sampling import evaluation_clips
from videomamba.data.transforms import covering, to_clip
from videomamba.schema import Clip, Frames, Preprocess


def read_views(
    read: Callable[[Sequence[int]], Frames], num_frames: int, preprocess: Preprocess, *, clips: int, crops: int
) -> list[Clip]:
    """`clips` x `crops` views (3, t, h, w), clips outermost, of a video with `num_frames` frames that `read` gives by index.

    The video is asked once, for all frames, and each is scaled once. Raises what `read` raises.
    """
    chosen = evaluation_clips(preprocess, num_frames, clips)
    frames = read([index for clip in chosen for index in clip])
    n = preprocess.num_frames
    scaled = [covering(frames.part(i * n, (i + 1) * n), preprocess) for i in range(clips)]
    return [to_clip(clip, preprocess, crop=crop, num_crops=crops) for clip in scaled for crop in range(crops)]
