"""The accuracy of a network on a data set, by a protocol of views."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import torch

from videomamba.data.sets.annotations import own_splits, read_dataset
from videomamba.data.sets.formats.entry import Selection
from videomamba.data.settings import DataSettings
from videomamba.models.precision import cast_products
from videomamba.recipes.measured import Measured, trained_videos, training_remark
from videomamba.recipes.testing import Progress, Result, Test
from videomamba.schema import VideoMambaError, VideoSet, Views, counted
from videomamba.training.distributed import Processes
from videomamba.video.find import describe_ignored
from videomamba.weights.pretrained import Pretrained, open_pretrained


def evaluate(
    weights: str | Path | Pretrained,
    data: DataSettings | str | Path,
    *,
    split: Measured = "auto",
    views: str | Views | None = None,
    labels: Sequence[str] | None = None,
    device: str = "auto",
    precision: Literal["fp32", "bf16"] = "fp32",
    progress: Progress | None = None,
    notify: Callable[[str], object] = lambda message: None,
) -> Result:
    """The result of a network on videos of a data set. Under torchrun the processes share the videos; each has the result.

    `weights` is a zoo name or a weights file; `data` are the settings of a data set, or its folder, whose format is known by
    its files. `split` chooses the videos as `choose_videos` does; `views` None is the published protocol. `labels` replaces
    the class names of the weights. A data set that names its classes is matched by name, in any order; some of the network's
    classes may be absent. `notify` gets a line that says which videos are measured and why, and one for each kind of ignored
    file. Raises VideoMambaError when the classes are not the network's, ValueError for another `split`.
    """
    if split not in get_args(Measured):
        raise ValueError(f"split must be one of {', '.join(get_args(Measured))}, got {split!r}")
    if isinstance(weights, torch.nn.Module):
        raise TypeError("weights is a name or a file: write the network to one with videomamba.save")
    opened = weights if isinstance(weights, Pretrained) else open_pretrained(weights)
    if labels is not None:
        opened = opened.with_labels(labels)
    data = data if isinstance(data, DataSettings) else DataSettings(root=Path(data))
    video_set, reason = choose_videos(opened, data, split)
    _check_classes(opened, video_set)
    for line in (*(f"ignored {line}" for line in describe_ignored(video_set.ignored)), reason):
        notify(line)
    processes = Processes(device=device)
    network = opened.model.eval().to(processes.device)
    if precision == "bf16":
        cast_products(network, torch.bfloat16)
    network.prepare_constants()
    with Test(video_set, opened.preprocess, Views.parse(views or opened.views), data=data, processes=processes) as test:
        return test(network, progress=progress)


def choose_videos(opened: Pretrained, data: DataSettings, split: Measured) -> tuple[VideoSet, str]:
    """The videos to measure, and a line that says which they are and why.

    "auto" is the test split that a data set has, else its validation split. Of a data set without either it is all videos,
    except those that the weights file names as its training videos (`data.sets.fingerprint`). Raises VideoMambaError where
    that leaves none, and as `read_dataset` does.
    """
    own = own_splits(data)
    alone = "test" not in own and "val" not in own
    chosen: Selection = ("all" if alone else "test") if split == "auto" else split
    # A video that cannot be read is a miss, and a class without videos is no fault here.
    lenient = data.model_copy(update={"on_error": "skip"})
    try:
        video_set = read_dataset(lenient, chosen, labels=opened.labels or None)
    except VideoMambaError as error:
        if not opened.labels:
            raise
        read_dataset(lenient, chosen)  # a fault of the data set itself is reported as one
        known_classes = f"{opened.path} knows {counted(len(opened.labels), 'class', 'classes')}"
        raise VideoMambaError(f"{known_classes}, others than the data set has; fine-tune it ({error})") from error
    if not video_set.records:
        raise VideoMambaError(f"{data.root}: has no videos to measure in {chosen}")
    trained = trained_videos(opened.info, video_set.records)
    number = len({record.path for record in video_set.records})
    if split == "auto" and alone and trained:
        return _without(video_set, trained, opened.path)
    count = counted(number, "video")
    names = {
        "all": f"all {count}",
        "train": f"the training split, {count}",
        "val": f"the {'validation split' if 'val' in own else 'part held out for validation'}, {count}",
        "test": f"the test split, {count}",
    }
    shown = "val" if chosen == "test" and "test" not in own else chosen
    return video_set, f"measuring {names[shown]}: {training_remark(opened.path, trained)}"


def _without(video_set: VideoSet, trained: Collection[str], weights: Path) -> tuple[VideoSet, str]:
    """The videos that were not in the training."""
    rest = tuple(record for record in video_set.records if record.path not in trained)
    if not rest:
        raise VideoMambaError(
            f"{weights}: was trained on every video of this data set, so an accuracy on them says little; "
            "give other videos, or measure these with --split all"
        )
    held_out = counted(len({record.path for record in rest}), "video")
    reason = (
        f"measuring the held-out part, {held_out}: the other {len(trained)} were in the training of {weights}; "
        "--split all measures them too"
    )
    return replace(video_set, records=rest), reason


def _check_classes(opened: Pretrained, video_set: VideoSet) -> None:
    theirs = "a number" if opened.regression else f"{opened.model.config.num_classes} classes"
    ours = "numbers" if video_set.regression else f"{len(video_set.labels)} classes"
    if opened.regression != video_set.regression:
        raise VideoMambaError(f"{opened.path}: answers with {theirs}, the data set has {ours}; fine-tune it")
    if not opened.regression and len(video_set.labels) != opened.model.config.num_classes:
        raise VideoMambaError(
            f"{opened.path}: has {theirs}, the data set {ours}; give the network's class names with --labels, or fine-tune it"
        )
