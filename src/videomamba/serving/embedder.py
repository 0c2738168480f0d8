"""From a file to a vector: the network's features of a video, for search, clustering and other models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from videomamba.schema import Clip, VideoError, VideoInfo, Views
from videomamba.serving.clip_model import ClipModel, Precision, read_ahead
from videomamba.serving.whole import Stages, WholeVideo, whole
from videomamba.weights.pretrained import open_pretrained
from videomamba.weights.released import ACTIONS_MODEL

_NOT_FINITE = "its embedding holds numbers that are not finite; the weights are damaged, or try precision fp32"


@dataclass(frozen=True, eq=False, repr=False)
class Embedding:
    """One video as a vector: `data` (d,) fp32 on the CPU. `num_frames` and `duration` (seconds) are the video's.

    `model` is the name of the network that answered, "" where it has none.
    """

    path: str
    data: Tensor
    num_frames: int
    duration: float
    model: str = ""

    def __post_init__(self) -> None:
        if self.data.ndim != 1 or self.data.dtype != torch.float32:
            raise ValueError(f"Embedding.data must be (d,) float32, got {tuple(self.data.shape)} {self.data.dtype}")

    def __repr__(self) -> str:
        return f"Embedding({self.path!r}, ({len(self.data)},) of {self.num_frames} frames, {self.duration:.2f} s)"


class Embedder(ClipModel):
    """Turns videos into vectors of width `dim`. The head of the model, if it has one, is not used."""

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path = ACTIONS_MODEL,
        *,
        num_frames: int | None = None,
        image_size: int | tuple[int, int] | None = None,
        device: str | torch.device = "cpu",
        precision: Precision = "fp32",
    ) -> Self:
        """Opens a zoo name or a weights file, as `Predictor.from_pretrained` does; it needs no head.

        Raises WeightsError for weights that are absent, damaged or incomplete.
        """
        opened = open_pretrained(name_or_path, num_frames=num_frames, image_size=image_size, needs_head=False)
        return cls(
            opened.model,
            opened.preprocess,
            device=device,
            precision=precision,
            name=str(name_or_path),
            assumed=opened.assumed,
            knows=opened.knows,
        )

    @property
    def dim(self) -> int:
        """d, the width of an embedding."""
        return self.model.config.dim

    def __call__(self, path: str | Path, views: str | Views = "1x1") -> Embedding:
        """The video, image or folder of images at `path`: the mean of `features` over its views, clips x crops.

        Raises VideoError when the file cannot be read or the numbers are not finite.
        """
        return self._answer(path, self._read(path, Views.parse(views)))

    def embed_many(self, paths: Sequence[str | Path], views: str | Views = "1x1") -> Iterator[Embedding | VideoError]:
        """One answer per path, in order: an embedding, or the error of a file without one.

        Each video goes through the network alone, so that the bits of its embedding do not depend on other videos; the
        next file is decoded meanwhile.
        """
        parsed = Views.parse(views)
        for path, read in zip(paths, read_ahead(lambda path: self._read(path, parsed), paths), strict=True):
            try:
                yield read if isinstance(read, VideoError) else self._answer(path, read)
            except VideoError as error:
                yield error

    def per_frame(self, path: str | Path, *, fps: float | None = None, progress: Stages | None = None) -> WholeVideo:
        """A whole-video pass (`serving.whole`): an embedding for every time step, with its time in seconds.

        The network sees `fps` frames of each second, None: all. `progress(stage, done, total)` is called during the pass.
        Raises VideoError when the file cannot be read, the pass does not fit in memory or the numbers are not finite;
        VideoMambaError for a network without such a pass.
        """
        result = whole(self, path, fps=fps, progress=progress)
        if not result.frames.isfinite().all():
            raise VideoError(path, _NOT_FINITE)
        return result

    def features(self, clips: Sequence[Clip]) -> Tensor:
        """(number of clips, d) fp32 on the CPU: `model.forward_features` of each."""
        return self._in_batches(self.model.forward_features, clips)

    def _answer(self, path: str | Path, read: tuple[list[Clip], VideoInfo]) -> Embedding:
        clips, info = read
        data = self.features(clips).mean(dim=0)
        if not data.isfinite().all():
            raise VideoError(path, _NOT_FINITE)
        return Embedding(str(path), data, info.num_frames, info.duration, self.name)
