"""From a file to class names: weights, preprocessing and labels of one checkpoint, ready to be called."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, Self

import torch
from torch import Tensor

from videomamba.data.decode import open_video
from videomamba.data.views import read_views
from videomamba.evaluation.views import Views, merge_views
from videomamba.models.precision import cast_products
from videomamba.models.pretrained import open_pretrained
from videomamba.models.videomamba import VideoMamba
from videomamba.schema import (
    Clip,
    Prediction,
    Preprocess,
    ScoredLabel,
    VideoError,
    VideoMambaError,
    WeightsError,
    check_labels,
)

VIEWS_AT_ONCE = 4
"""Views in one forward pass: bounds the memory of a 4x3 protocol without starving the processor on small models."""

EMBEDDED_DEFAULT = "videomamba_micro_synthetic"


class Predictor:
    """Classifies videos. `model` is in evaluation mode, `labels` has a name for every class."""

    def __init__(
        self,
        model: VideoMamba,
        preprocess: Preprocess,
        labels: Sequence[str],
        *,
        device: str | torch.device = "cpu",
        precision: Literal["fp32", "bf16"] = "fp32",
    ) -> None:
        if model.config.num_classes == 0:
            raise WeightsError(
                "the model has no classification head, so there is nothing to predict; fine-tune it first"
            )
        if (preprocess.num_frames, preprocess.image_size) != (model.config.num_frames, model.config.image_size):
            raise ValueError(f"{preprocess!r} makes clips that the model does not take: {model.config!r}")
        if precision not in ("fp32", "bf16"):
            raise ValueError(f"precision must be 'fp32' or 'bf16', got {precision!r}")
        self.labels = check_labels(labels, model.config.num_classes, "labels")
        self.preprocess = preprocess
        self.device = torch.device(device)
        self.model = model.eval().to(self.device)
        if precision == "bf16":
            cast_products(self.model, torch.bfloat16)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path = EMBEDDED_DEFAULT,
        *,
        labels: Sequence[str] | None = None,
        num_frames: int | None = None,
        image_size: int | tuple[int, int] | None = None,
        device: str | torch.device = "cpu",
        precision: Literal["fp32", "bf16"] = "fp32",
    ) -> Self:
        """Opens a zoo name or a checkpoint file: a bundle, or any file of the original's, wrapped or bare.

        Preprocessing and class names are the bundle's, else those of the zoo entry of that name or file name. A file
        that is in neither gets the released models' preprocessing at its own size, and classes called class_0, class_1,
        ... unless `labels` names them. `num_frames` and `image_size` (pixels) run the model at another length or
        resolution: its positions are resized.

        Raises WeightsError for a checkpoint that is absent, damaged, incomplete or without a head.
        """
        opened = open_pretrained(name_or_path, num_frames=num_frames, image_size=image_size)
        if opened.regression:
            raise WeightsError(
                f"{opened.path}: answers with a number, not with classes; `videomamba evaluate` measures it"
            )
        if labels is None:
            labels = opened.labels or [f"class_{i}" for i in range(opened.model.config.num_classes)]
        return cls(opened.model, opened.preprocess, labels, device=device, precision=precision)

    def __call__(self, path: str | Path, *, top: int = 5, views: str | Views = "1x1") -> Prediction:
        """The `top` classes of the video, image or folder of images at `path`.

        `views` is clips x crops: "1x1" looks once at the middle of everything, "4x3" at four clips and three crops, whose
        probabilities are averaged. Raises VideoError when the file cannot be read.
        """
        return self._answer(path, self._timed_clips(path, views), top)

    def predict_many(
        self, paths: Sequence[str | Path], *, top: int = 5, views: str | Views = "1x1"
    ) -> Iterator[Prediction | VideoError]:
        """One answer per path, in order: a prediction, or the error of a file that cannot be read.

        The next file is decoded while the network looks at the present one.
        """
        parsed = views if isinstance(views, Views) else Views.parse(views)
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="decode") as pool:
            waiting = [pool.submit(self._timed_clips, path, parsed) for path in paths[:1]]
            for i, path in enumerate(paths):
                decoded = waiting.pop()
                waiting += [pool.submit(self._timed_clips, following, parsed) for following in paths[i + 1 : i + 2]]
                try:
                    clips = decoded.result()
                except VideoError as error:
                    # An image of a folder may be what failed: the answer is about the folder that was asked for.
                    yield error if error.path == str(path) else VideoError(path, str(error))
                else:
                    yield self._answer(path, clips, top)

    def _timed_clips(self, path: str | Path, views: str | Views) -> tuple[list[Clip], float]:
        started = time.perf_counter()
        return self.clips(path, views=views), time.perf_counter() - started

    def _answer(self, path: str | Path, decoded: tuple[list[Clip], float], top: int) -> Prediction:
        if top < 1:
            raise ValueError(f"top must be at least 1, got {top}")
        clips, decoding = decoded
        started = time.perf_counter()
        scores = merge_views(self.logits(clips))
        if not scores.isfinite().all():
            raise WeightsError(f"{path}: the model answers with numbers that are not finite; its weights are damaged")
        best = scores.topk(min(top, len(self.labels)))
        scored = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        predictions = tuple(ScoredLabel(self.labels[i], score) for i, score in scored)
        return Prediction(str(path), predictions, decoding + time.perf_counter() - started)

    def clips(self, path: str | Path, *, views: str | Views = "1x1") -> list[Clip]:
        """What the network sees of a video: one Clip (3, t, h, w) for each view, clips outermost. One walk through it."""
        parsed = views if isinstance(views, Views) else Views.parse(views)
        with open_video(path) as video:
            return read_views(
                video.frames, video.info.num_frames, self.preprocess, clips=parsed.clips, crops=parsed.crops
            )

    @torch.inference_mode()
    def logits(self, clips: Sequence[Clip]) -> Tensor:
        """(number of clips, classes) fp32 on the CPU."""
        parts = [
            self.model(torch.stack([clip.data for clip in clips[i : i + VIEWS_AT_ONCE]]).to(self.device)).float().cpu()
            for i in range(0, len(clips), VIEWS_AT_ONCE)
        ]
        return torch.cat(parts)


def read_labels(path: str | Path) -> tuple[str, ...]:
    """Class names from a text file, one a line, in index order. Raises VideoMambaError when it cannot be read."""
    try:
        return tuple(Path(path).read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise VideoMambaError(
            f"{path}: cannot be read as a list of class names ({error}); give one name a line"
        ) from None
