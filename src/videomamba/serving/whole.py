"""A whole video in one pass: one answer for all of it, one embedding for each moment.

Frames are decoded, scaled and embedded some at a time, ahead of the network, and their pixels forgotten. What grows with
the video is the residual stream of `models.long`, and what it keeps beside.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from videomamba.data.clips.sampling import at_rate
from videomamba.data.clips.transforms import to_clip
from videomamba.models.videomamba import VideoMamba
from videomamba.models.whole import Keep, LongPass
from videomamba.schema import Clip, Preprocess, VideoError, VideoMambaError
from videomamba.serving.ahead import ahead
from videomamba.video.base import Video
from videomamba.video.open import open_video

Stages = Callable[[str, int, int], None]
"""(stage, done, total): "frames" while the video is read, then "tokens" while the network runs."""

PIXEL_BYTES = 2**26
"""Decoded pictures that are held at once, twice: one lot is decoded while the other is embedded."""
MOST_FRAMES = 16
"""In one such lot."""


@dataclass(frozen=True)
class Whole:
    """One pass through a video. T time steps (of one tubelet of frames each), d the width of the network.

    frames (T, d) fp32: an embedding for each step, the mean of its patch tokens; timestamps (T,) float64: seconds of the
    first frame of each. features (d,) and logits (classes,), the features again where there is no head, are of the whole.
    `tokens` is the length of the sequence, `note` says what was done to the temporal positions, `seconds` how long it took.
    """

    path: str
    num_frames: int
    tokens: int
    frames: Tensor
    timestamps: Tensor
    features: Tensor
    logits: Tensor
    note: str
    seconds: float


def look_at_whole(
    model: VideoMamba,
    preprocess: Preprocess,
    path: str | Path,
    *,
    fps: float | None = None,
    stream: torch.dtype = torch.float32,
    keep: Keep = "direction",
    folder: Path | None = None,
    progress: Stages | None = None,
) -> Whole:
    """The video at `path` in one pass through `model`, `fps` frames a second, or all of them.

    A rate above the video's own takes every frame once. A last tubelet that would not be full repeats the last frame.
    `stream`, `keep` and `folder` say where memory goes, see `models.long.LongPass`.

    Raises VideoError when the file cannot be read, VideoMambaError when the pass does not fit the network or `folder`.
    """
    started = time.perf_counter()
    report = progress or (lambda stage, done, total: None)
    with open_video(path) as video:
        indices = at_rate(video.timestamps, fps)
        indices += indices[-1:] * (-len(indices) % model.config.tubelet_size)
        try:
            long = LongPass(model, len(indices), stream=stream, keep=keep, folder=folder)
        except ValueError as error:
            raise VideoMambaError(f"{path}: {error}") from None
        except MemoryError as error:
            advice = "look at fewer frames a second, keep states only, or give a folder for a file"
            raise VideoError(path, f"{error}; {advice}") from None
        done = 0
        for clip in _read_ahead(video, indices, preprocess, model.config.tubelet_size):
            long.push(clip.data)
            done += len(clip.indices)
            report("frames", done, len(indices))
        first = [video.timestamps[index] for index in indices[:: model.config.tubelet_size]]
    passed = long.run(lambda done, total: report("tokens", done, total))
    timestamps = torch.tensor(first, dtype=torch.float64)
    seconds = time.perf_counter() - started
    return Whole(
        str(path),
        num_frames=len(indices),
        tokens=long.length,
        frames=passed.frames,
        timestamps=timestamps,
        features=passed.features,
        logits=passed.logits,
        note=long.note,
        seconds=seconds,
    )


def _read_ahead(video: Video, indices: tuple[int, ...], preprocess: Preprocess, tubelet: int) -> Iterator[Clip]:
    """The pictures at `indices`, scaled, some tubelets at a time; the next are decoded while these are used."""
    fits = PIXEL_BYTES // (3 * video.info.height * video.info.width)
    lot = max(min(fits, MOST_FRAMES) // tubelet, 1) * tubelet
    lots = [indices[i : i + lot] for i in range(0, len(indices), lot)]

    def read(lot: tuple[int, ...]) -> Clip:
        return to_clip(video.frames(lot), preprocess)

    return ahead(read, lots)
