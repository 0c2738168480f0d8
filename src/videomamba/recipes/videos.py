"""The videos of a supervised run: checked against its settings, loaded as batches, mixed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from torch import Tensor

from videomamba.data.augment.mixing import mix
from videomamba.data.augment.pipeline import check_augmentation
from videomamba.data.clips.masks import Grid
from videomamba.data.loading.dataset import Batch
from videomamba.data.loading.loader import TrainLoader
from videomamba.data.sets.annotations import read_dataset
from videomamba.data.sets.durations import usual_clip_seconds
from videomamba.data.settings import MaskSettings
from videomamba.evaluation.metrics import videos_of
from videomamba.recipes.config import RecipeConfig
from videomamba.recipes.start import check_classes
from videomamba.schema import VideoMambaError, VideoSet
from videomamba.training.draws import Draws
from videomamba.training.run import TrainingRun
from videomamba.video.find import describe_ignored

Config = TypeVar("Config", bound=RecipeConfig)

NAMED = 20
"""The most skipped or missed videos that are named."""


def read_videos(config: RecipeConfig, notify: Callable[[str], object]) -> tuple[VideoSet, VideoSet]:
    """The videos for training and for validation, after a check that they fit the settings.

    `notify` gets a line for each kind of ignored file.
    """
    train_set, val_set = read_dataset(config.data, "train"), read_dataset(config.data, "val")
    if config.data.on_error == "stop":
        check_classes(train_set)
    for line in describe_ignored([*train_set.ignored, *val_set.ignored]):
        notify(f"ignored {line}")
    check_videos(config, train_set)
    videos_of(val_set)  # raises now where a video has two labels, not after an epoch
    return train_set, val_set


def check_videos(config: RecipeConfig, train_set: VideoSet) -> None:
    """Raises VideoMambaError where the augmentation is impossible for these videos, or they are too few for a step."""
    check_augmentation(config.augment, train_set)
    if len(train_set) < config.optim.batch_size:  # the learning rate would not fit a smaller step
        raise VideoMambaError(
            f"optim.batch_size: is {config.optim.batch_size} for {len(train_set)} training videos; lower it"
        )


def with_clip_seconds(config: Config, train_set: VideoSet) -> Config:
    """`config` with the seconds that clips of these videos cover: those of a preset are the seconds of its own data set.

    Frames in folders have no times; for them the setting is kept. With the sampling "window" it is a choice, no measurement.
    """
    chosen = config.clip.sampling == "window" and config.clip.clip_seconds is not None
    measured = None if chosen else usual_clip_seconds(config.clip, train_set.records)
    if measured is None:
        return config
    return config.model_copy(update={"clip": config.clip.model_copy(update={"clip_seconds": measured})})


def train_loader(
    config: RecipeConfig,
    train_set: VideoSet,
    run: TrainingRun,
    *,
    mask: MaskSettings | None = None,
    grid: Grid | None = None,
    draws: Draws | None = None,
) -> TrainLoader:
    """The batches of this process; with a `mask` of the network's patches on its `grid`. `draws` are by default the run's."""
    return TrainLoader(
        train_set,
        preprocess=config.clip,
        augmentation=config.augment,
        data=config.data,
        draws=draws or run.draws,
        batch_size=config.optim.batch_size,
        micro_batch=config.run.micro_batch,
        rank=run.processes.rank,
        world=run.processes.world,
        pin_memory=run.processes.device.type == "cuda",
        mask=mask,
        grid=grid,
    )


def mixed(batch: Batch, config: RecipeConfig, train_set: VideoSet, run: TrainingRun) -> tuple[Tensor, Tensor]:
    """The clips (n, 3, t, h, w) of a batch after mixing, and their targets (n, classes); numbers (n,) are never mixed."""
    if batch.targets is not None:
        return batch.video, batch.targets
    assert batch.labels is not None
    return mix(
        batch.video,
        batch.labels,
        num_classes=len(train_set.labels),
        repeats=config.augment.repeats,
        augmentation=config.augment,
        generator=run.draws.mixing(run.progress.step),  # one share for all parts of a step
    )


def name_failures(failures: Iterable[tuple[str, str]], what: str, notify: Callable[[str], None]) -> None:
    """A line for each of the first failed videos."""
    named = list(failures)
    for path, reason in named[:NAMED]:
        notify(f"{what} {path}: {reason}")
    if len(named) > NAMED:
        notify(f"{what} {len(named) - NAMED} more, listed in the records of the run")
