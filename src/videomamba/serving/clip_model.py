"""A network with its preprocessing on a device: the clips of a file, and the forward pass over them in small batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, TypeVar

import torch
from torch import Tensor

from videomamba.data.clips.views import video_views
from videomamba.models.precision import cast_products
from videomamba.models.videomamba import VideoMamba
from videomamba.schema import Clip, Preprocess, VideoError, VideoInfo, Views
from videomamba.serving.ahead import ahead
from videomamba.video.open import open_video

Item = TypeVar("Item")
Precision = Literal["fp32", "bf16"]

VIEWS_AT_ONCE = 4
"""Views in one forward pass: bounds the memory of a 4x3 protocol without starving the processor on small models."""


class ClipModel:
    """The common base of Predictor and Embedder. `model` is in evaluation mode, on `device`.

    `name` is the zoo name or the weights file, "" for a network from elsewhere; its answers carry it. `assumed` and `knows`
    are those of `Pretrained`: what a user should read before the answers; `remarks` are those of them that say something.
    """

    def __init__(
        self,
        model: VideoMamba,
        preprocess: Preprocess,
        *,
        device: str | torch.device = "cpu",
        precision: Precision = "fp32",
        name: str = "",
        assumed: str = "",
        knows: str = "",
    ) -> None:
        if (preprocess.num_frames, preprocess.image_size) != (model.config.num_frames, model.config.image_size):
            raise ValueError(f"the clips of {preprocess!r} do not fit the model: {model.config!r}")
        if precision not in ("fp32", "bf16"):
            raise ValueError(f"precision must be 'fp32' or 'bf16', got {precision!r}")
        self.preprocess, self.name, self.assumed, self.knows = preprocess, name, assumed, knows
        self.device = torch.device(device)
        self.model = model.eval().to(self.device)
        if precision == "bf16":
            cast_products(self.model, torch.bfloat16)
        self.model.prepare_constants()

    @property
    def remarks(self) -> tuple[str, ...]:
        return tuple(remark for remark in (self.assumed, self.knows) if remark)

    def clips(self, path: str | Path, *, views: str | Views = "1x1") -> list[Clip]:
        """The input of the network: one Clip (3, t, h, w) for each view of a video, clips outermost. It is read once."""
        return self._read(path, Views.parse(views))[0]

    def _read(self, path: str | Path, views: Views) -> tuple[list[Clip], VideoInfo]:
        with open_video(path) as video:
            return list(video_views(video, self.preprocess, views)), video.info

    @torch.inference_mode()
    def _in_batches(self, forward: Callable[[Tensor], Tensor], clips: Sequence[Clip]) -> Tensor:
        """(number of clips, ...) fp32 on the CPU: `forward` of (b, 3, t, h, w), a few clips at a time."""
        data = [clip.data for clip in clips]
        batches = (torch.stack(data[i : i + VIEWS_AT_ONCE]) for i in range(0, len(data), VIEWS_AT_ONCE))
        if not data:
            batches = (torch.empty(0, 3, self.preprocess.num_frames, *self.preprocess.image_size) for _ in range(1))
        return torch.cat([forward(batch.to(self.device)).float().cpu() for batch in batches])


def check_model(model: object, *, use: str) -> None:
    """Raises TypeError, with the `use` that works, where a name or path is given instead of an opened model."""
    if isinstance(model, str | Path):
        raise TypeError(f"{model!r} is no Predictor; open it first: {use}")


def read_ahead(read: Callable[[str | Path], Item], paths: Sequence[str | Path]) -> Iterator[Item | VideoError]:
    """`read(path)` of each path, in order, or the error of a file that cannot be read.

    A thread reads the next file while the caller works on the present one.
    """

    def attempt(path: str | Path) -> Item | VideoError:
        try:
            return read(path)
        except VideoError as error:
            return about(path, error)

    return ahead(attempt, paths)


def about(path: str | Path, error: VideoError) -> VideoError:
    """`error` as one about `path`: an image may have failed where the user gave its folder."""
    return error if error.path == str(path) else VideoError(path, str(error))
