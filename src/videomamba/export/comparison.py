"""The proof that an exported file computes what the network computes: both on the same clips, their largest difference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from videomamba.data.clips.sampling import evaluation_clips
from videomamba.data.clips.transforms import to_clip
from videomamba.data.clips.views import video_views
from videomamba.export.program import frames_are_free
from videomamba.models.videomamba import VideoMamba
from videomamba.schema import Clip, Frames, Preprocess, Views
from videomamba.synthetic.actions import ACTIONS
from videomamba.synthetic.dataset import render_clip
from videomamba.video.open import open_video

RENDERED = "rendered clips"
"""The source of the clips where no file is given."""
_CLIPS_OF_A_FILE = 3
_RENDERED_FRAMES, _RENDERED_SIDE = 32, 128
_FIRST_SEED = 1_900_000_000  # of no rendered data set

Run = Callable[[Tensor], Tensor]
"""An exported file, opened: video (b, 3, t, h, w) fp32 -> (b, outputs) fp32."""


@dataclass(frozen=True)
class Comparison:
    """`error` is the largest absolute difference of any output; `same_class` the share of clips with the same best output.

    `shapes` are the batches that were compared, (b, t) each.
    """

    error: float
    same_class: float
    shapes: tuple[tuple[int, int], ...]
    clips: str

    def as_dict(self) -> dict[str, object]:
        return asdict(self)

    def __str__(self) -> str:
        shapes = ", ".join(f"{batch}x{frames}" for batch, frames in self.shapes)
        return (
            f"largest difference from PyTorch {self.error:.2e}, same class for {100 * self.same_class:.0f} % "
            f"(batches of clips x frames: {shapes}; {self.clips})"
        )


def clips_for(files: Sequence[str | Path], preprocess: Preprocess) -> tuple[list[Clip], str]:
    """Three clips of each video, or of three rendered videos where there are no `files`; and a word on their source.

    Raises VideoError for a file that cannot be read.
    """
    if not files:
        return [_rendered(i, preprocess) for i in range(_CLIPS_OF_A_FILE)], RENDERED
    clips: list[Clip] = []
    for path in files:
        with open_video(path) as video:
            clips += video_views(video, preprocess, Views(_CLIPS_OF_A_FILE, 1))
    return clips, ", ".join(map(str, files))


def _rendered(number: int, preprocess: Preprocess) -> Clip:
    side, count = _RENDERED_SIDE, _RENDERED_FRAMES
    pictures = render_clip(number % len(ACTIONS), _FIRST_SEED + number, num_frames=count, height=side, width=side)
    (chosen,) = evaluation_clips(preprocess, count)
    data = torch.from_numpy(pictures)[list(chosen)]
    return to_clip(Frames(data, chosen, tuple(map(float, chosen)), RENDERED), preprocess)


@torch.inference_mode()
def compare(model: VideoMamba, run: Run, clips: Sequence[Clip], source: str) -> Comparison:
    """Runs `model` and `run` on all `clips` at once, on the first one alone and, where the network takes them, on shorter
    clips: the first half of each. An output that is not finite counts as an infinite difference."""
    every = torch.stack([clip.data for clip in clips])
    batches = [every, every[:1].contiguous()]
    if frames_are_free(model):
        tubelet = model.config.tubelet_size
        batches.append(every[:, :, : max(model.config.grid[0] // 2, 1) * tubelet].contiguous())
    error, same, total = 0.0, 0, 0
    for video in batches:
        short = torch.full((len(video),), video.shape[2]) if video.shape[2] < model.config.num_frames else None
        expected, found = model(video, short).float(), run(video)
        if found.shape != expected.shape:
            raise RuntimeError(f"the exported network returns {tuple(found.shape)} instead of {tuple(expected.shape)}")
        difference = (found - expected).abs().max().item()
        error = max(error, difference if difference == difference else float("inf"))
        same += int((found.argmax(1) == expected.argmax(1)).sum())
        total += len(video)
    return Comparison(error, same / total, tuple((len(video), video.shape[2]) for video in batches), source)
