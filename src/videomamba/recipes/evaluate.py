"""The accuracy of a checkpoint on a data set, by a protocol of views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from videomamba.data.annotations import read_dataset
from videomamba.data.settings import DataSettings
from videomamba.evaluation.views import Views
from videomamba.models.precision import cast_products
from videomamba.models.pretrained import Pretrained, open_pretrained
from videomamba.recipes.testing import Progress, Result, Test
from videomamba.schema import VideoMambaError, VideoSet
from videomamba.training.distributed import Processes


def evaluate(
    weights: str | Path | Pretrained,
    data: DataSettings,
    *,
    split: Literal["train", "val", "test"] = "test",
    views: str | Views | None = None,
    labels: Sequence[str] = (),
    device: str = "auto",
    precision: Literal["fp32", "bf16"] = "fp32",
    progress: Progress | None = None,
) -> Result:
    """Shows every video of `split` to a network and counts. Under torchrun the processes share the videos; each has the result.

    `weights` is a zoo name or a checkpoint file; `views` None takes its published protocol. `labels` are the network's
    class names where the checkpoint has none. Where both sides have names, the classes of the data set are found among the
    network's by name, whatever their order. Raises VideoMambaError when the classes are not the network's.
    """
    opened = weights if isinstance(weights, Pretrained) else open_pretrained(weights)
    names = opened.labels or tuple(labels)
    video_set = _in_order_of(names, read_dataset(data, split), opened)
    processes = Processes(device=device)
    network = opened.model.eval().to(processes.device)
    if precision == "bf16":
        cast_products(network, torch.bfloat16)
    parsed = views if isinstance(views, Views) else Views.parse(views or opened.views)
    with Test(video_set, opened.preprocess, parsed, data=data, processes=processes) as test:
        result = test(network, progress=progress)
    return result


def _in_order_of(theirs: tuple[str, ...], video_set: VideoSet, opened: Pretrained) -> VideoSet:
    """The data set with the model's class indices."""
    ours, outputs, source = video_set.labels, opened.model.config.num_classes, opened.path
    if video_set.regression:
        if not opened.regression:
            raise VideoMambaError(f"{source}: has {outputs} classes, and {video_set.name} has numbers, not classes")
        return video_set
    if opened.regression:
        raise VideoMambaError(f"{source}: answers with a number, and {video_set.name} has classes")
    numbered = tuple(map(str, range(len(ours))))
    if len(ours) > outputs:
        raise VideoMambaError(
            f"{source}: has {outputs} classes, {video_set.name} has {len(ours)}; evaluate it on its own data"
        )
    if not theirs or ours in (theirs, numbered):
        if len(ours) != outputs:
            raise VideoMambaError(
                f"{source}: has {outputs} classes, {video_set.name} has {len(ours)} that are known by number only; "
                "give their names with data.labels"
            )
        return video_set
    unknown = [name for name in ours if name not in theirs]
    if unknown:
        raise VideoMambaError(
            f"{source}: has no class {unknown[0]!r} ({len(unknown)} of the {len(ours)} of {video_set.name} are unknown to "
            "it); fine-tune it on this data first"
        )
    place = [theirs.index(name) for name in ours]
    records = tuple(replace(r, label=None if r.label is None else place[r.label]) for r in video_set.records)
    return VideoSet(video_set.name, records, theirs, video_set.symmetries)
