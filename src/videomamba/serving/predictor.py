"""From a file to class names: the weights, preprocessing and labels of one weights file as a function."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from videomamba.evaluation.scoring import merge_views
from videomamba.models.videomamba import VideoMamba
from videomamba.schema import Clip, Prediction, Preprocess, ScoredLabel, VideoError, Views, WeightsError, check_labels
from videomamba.serving.clip_model import ClipModel, Precision, read_ahead
from videomamba.weights.pretrained import open_pretrained
from videomamba.weights.released import CAMERA_MODEL


class Predictor(ClipModel):
    """Classifies videos. `model` is in evaluation mode. `labels` has a name for every class: where the class names are not
    known, "class 0", "class 1", ..., for display only."""

    def __init__(
        self,
        model: VideoMamba,
        preprocess: Preprocess,
        labels: Sequence[str] = (),
        *,
        device: str | torch.device = "cpu",
        precision: Precision = "fp32",
        name: str = "",
        assumed: str = "",
        knows: str = "",
    ) -> None:
        if model.config.num_classes == 0:
            raise WeightsError("the model has no classification head and cannot predict; fine-tune it first")
        known = check_labels(labels, model.config.num_classes, "labels") if labels else ()
        self.labels = known or tuple(f"class {i}" for i in range(model.config.num_classes))
        super().__init__(model, preprocess, device=device, precision=precision, name=name, assumed=assumed, knows=knows)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path = CAMERA_MODEL,
        *,
        labels: Sequence[str] | None = None,
        num_frames: int | None = None,
        image_size: int | tuple[int, int] | None = None,
        device: str | torch.device = "cpu",
        precision: Precision = "fp32",
    ) -> Self:
        """Opens a zoo name or a weights file: a bundle, or any file of the original's, wrapped or bare.

        `labels`, `num_frames` and `image_size` are as in `weights.pretrained.open_pretrained`. Raises WeightsError for a
        file that is absent, damaged, incomplete, without a head or of a regression, VideoMambaError for another number of
        `labels` than classes.
        """
        opened = open_pretrained(name_or_path, labels=labels, num_frames=num_frames, image_size=image_size)
        if opened.regression:
            raise WeightsError(f"{opened.path}: its output is a number, not classes; `videomamba evaluate` measures it")
        return cls(
            opened.model,
            opened.preprocess,
            opened.labels,
            device=device,
            precision=precision,
            name=str(name_or_path),
            assumed=opened.assumed,
            knows=opened.knows,
        )

    def __call__(self, path: str | Path, *, top: int = 5, views: str | Views = "1x1") -> Prediction:
        """The `top` classes of the video, image or folder of images at `path`.

        `views` is clips x crops, whose probabilities are averaged: "1x1" is the middle of time and picture, "4x3" four clips
        of three crops each. Raises VideoError when the file cannot be read.
        """
        return self._answer(path, self._timed_clips(path, Views.parse(views)), top)

    def predict_many(
        self, paths: Sequence[str | Path], *, top: int = 5, views: str | Views = "1x1"
    ) -> Iterator[Prediction | VideoError]:
        """One answer per path, in order: a prediction, or the error of a file that cannot be read.

        The next file is decoded while the network runs on the present one.
        """
        parsed = Views.parse(views)
        decoded = read_ahead(lambda path: self._timed_clips(path, parsed), paths)
        for path, clips in zip(paths, decoded, strict=True):
            yield clips if isinstance(clips, VideoError) else self._answer(path, clips, top)

    def _timed_clips(self, path: str | Path, views: Views) -> tuple[list[Clip], float]:
        started = time.perf_counter()
        return self.clips(path, views=views), time.perf_counter() - started

    def _answer(self, path: str | Path, decoded: tuple[list[Clip], float], top: int) -> Prediction:
        if top < 1:
            raise ValueError(f"top must be at least 1, got {top}")
        clips, decoding = decoded
        started = time.perf_counter()
        best = best_labels(merge_views(self.logits(clips)), self.labels, top=top, of=path)
        return Prediction(str(path), best, decoding + time.perf_counter() - started, self.name)

    def logits(self, clips: Sequence[Clip]) -> Tensor:
        """(number of clips, classes) fp32 on the CPU."""
        return self._in_batches(self.model, clips)


def best_labels(scores: Tensor, labels: Sequence[str], *, top: int, of: str | Path) -> tuple[ScoredLabel, ...]:
    """The `top` classes by `scores`, (classes,) probabilities, best first.

    Raises WeightsError, naming the video `of`, for scores that are not finite.
    """
    if not scores.isfinite().all():
        raise WeightsError(f"{of}: the model's scores are not finite; its weights are damaged")
    best, indices = scores.topk(min(top, len(labels)))
    return tuple(ScoredLabel(labels[i], score) for i, score in zip(indices.tolist(), best.tolist(), strict=True))
