"""The accuracy of a network on a data set, by a protocol of views."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch

from videomamba.data.sets.annotations import read_dataset
from videomamba.data.settings import DataSettings
from videomamba.models.precision import cast_products
from videomamba.recipes.testing import Progress, Result, Test
from videomamba.schema import VideoMambaError, VideoSet, Views
from videomamba.training.distributed import Processes
from videomamba.weights.pretrained import Pretrained, open_pretrained


def evaluate(
    weights: str | Path | Pretrained,
    data: DataSettings,
    *,
    split: Literal["train", "val", "test"] = "test",
    views: str | Views | None = None,
    labels: Sequence[str] | None = None,
    device: str = "auto",
    precision: Literal["fp32", "bf16"] = "fp32",
    progress: Progress | None = None,
) -> Result:
    """The result of a network on every video of `split`. Under torchrun the processes share the videos; each has the result.

    `weights` is a zoo name or a weights file; `views` None is its published protocol. `labels` replaces the class names of
    the file. A data set that names its classes is matched by name, in any order; some of the network's classes may be
    absent. Raises VideoMambaError when the classes are not the network's.
    """
    opened = weights if isinstance(weights, Pretrained) else open_pretrained(weights)
    if labels is not None:
        opened = opened.with_labels(labels)
    video_set = read_dataset(data, split, labels=opened.labels or None)
    _check_classes(opened, video_set)
    processes = Processes(device=device)
    network = opened.model.eval().to(processes.device)
    if precision == "bf16":
        cast_products(network, torch.bfloat16)
    network.prepare_constants()
    with Test(video_set, opened.preprocess, Views.parse(views or opened.views), data=data, processes=processes) as test:
        return test(network, progress=progress)


def _check_classes(opened: Pretrained, video_set: VideoSet) -> None:
    theirs = "a number" if opened.regression else f"{opened.model.config.num_classes} classes"
    ours = "numbers" if video_set.regression else f"{len(video_set.labels)} classes"
    if opened.regression != video_set.regression:
        raise VideoMambaError(f"{opened.path}: answers with {theirs}, the data set has {ours}; fine-tune it")
    if not opened.regression and len(video_set.labels) != opened.model.config.num_classes:
        raise VideoMambaError(
            f"{opened.path}: has {theirs}, the data set {ours}; give the network's class names with --labels, or fine-tune it"
        )
