"""Supervised training for classes or one number: from scratch, from images to video, to more frames, to your own videos."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from videomamba.data.augment.mixing import mix
from videomamba.data.augment.pipeline import check_augmentation
from videomamba.data.loading.dataset import Batch
from videomamba.data.loading.loader import TrainLoader
from videomamba.data.sets.annotations import read_dataset
from videomamba.data.sets.durations import usual_clip_seconds
from videomamba.data.sets.fingerprint import TRAINED_ON, facts, trained_on
from videomamba.evaluation.metrics import videos_of
from videomamba.evaluation.results import ClassificationResult
from videomamba.models.precision import MasterWeights, cast_products
from videomamba.models.videomamba import VideoMamba
from videomamba.recipes.config import TrainConfig, check_config
from videomamba.recipes.load import to_yaml
from videomamba.recipes.start import build_model, check_classes, check_resumed, describe_set, trained_before
from videomamba.recipes.testing import Result, Test, quality
from videomamba.schema import VideoMambaError, VideoSet, Views
from videomamba.training.checkpoint import versions
from videomamba.training.losses import classification_loss, regression_loss
from videomamba.training.run import Trained, TrainingRun
from videomamba.video.find import describe_ignored
from videomamba.weights.bundle import save_bundle


def train(
    config: TrainConfig, *, fresh: bool = False, notify: Callable[[str], object] = lambda message: None
) -> Trained:
    """Makes the run of `config` in config.run.out, or the rest of it; `fresh` replaces a run that is there.

    `notify` gets a line for each kind of ignored file, and where the run resumes or was finished before. Raises
    VideoMambaError for settings, data or weights that do not fit and for a folder in use, before the first step; later for a
    video that cannot be read (unless skipped), for too many steps that are not finite, and for a full disk: the same command
    then resumes from the last checkpoint. Raises KeyboardInterrupt after a checkpoint on Ctrl-C or SIGTERM.
    """
    train_set, val_set = _data(config, notify)
    config = _with_clip_seconds(config, train_set)
    with TrainingRun(
        config.run,
        config.optim,
        config=to_yaml(config),
        data=facts(train_set),
        check=partial(check_resumed, config, train_set),
        fresh=fresh,
        about=describe_set(train_set),
        notify=notify,
    ) as run:
        return _train(run, config, train_set, val_set)


def _train(run: TrainingRun, config: TrainConfig, train_set: VideoSet, val_set: VideoSet) -> Trained:
    torch.manual_seed(run.draws.weights())
    model, loaded = build_model(config, train_set, fresh=not run.resumes)
    before = run.kept(TRAINED_ON, lambda: trained_before(config.model.weights))
    record = trained_on(train_set, before)
    module = run.prepare(model, MasterWeights, depth=model.config.depth, repeats=config.augment.repeats)
    loader = TrainLoader(
        train_set,
        preprocess=config.clip,
        augmentation=config.augment,
        data=config.data,
        draws=run.draws,
        batch_size=config.optim.batch_size,
        micro_batch=config.run.micro_batch,
        rank=run.processes.rank,
        world=run.processes.world,
        pin_memory=run.processes.device.type == "cuda",
    )
    validation = Test(val_set, config.clip, Views(), data=config.data, processes=run.processes)

    def losses_of(batch: Batch) -> tuple[Tensor, Sequence[str]]:
        """The forward pass of one micro-batch: a loss per clip, and the clips' names."""
        names = [train_set.records[record].path for record in batch.records]
        batch = batch.to(run.processes.device)
        with run.autocast():
            if not names:  # every video failed, but other processes wait in collective calls
                return 0 * module(batch.video.new_zeros(1, *batch.video.shape[1:])).sum(dim=1), names
            if batch.targets is not None:
                return regression_loss(module(batch.video), batch.targets), names
            assert batch.labels is not None
            video, wanted = mix(
                batch.video,
                batch.labels,
                num_classes=len(train_set.labels),
                repeats=config.augment.repeats,
                augmentation=config.augment,
                generator=run.draws.mixing(run.progress.step),  # one share for all parts of a step
            )
            return classification_loss(module(video), wanted), names

    with loader, validation, run.steps(loader) as steps:
        if loaded is not None:
            run.event(str(loaded))
        for batches in steps:
            run.step(batches, losses_of)
            if run.evaluation_due:
                network = VideoMamba.without_weights(model.config).eval()
                network.load_state_dict(run.weights())
                scored = validation(_in_precision(network, config, run.processes.device))
                save = partial(
                    _save, network=network, config=config, train_set=train_set, run=run, scored=scored, record=record
                )
                run.keep_weights(save, quality=quality(scored), **_numbers(scored))
    return run.trained


def _data(config: TrainConfig, notify: Callable[[str], object]) -> tuple[VideoSet, VideoSet]:
    """The videos for training and for validation, after a check that they fit the settings."""
    check_config(config)
    train_set, val_set = read_dataset(config.data, "train"), read_dataset(config.data, "val")
    if config.data.on_error == "stop":
        check_classes(train_set)
    for line in describe_ignored([*train_set.ignored, *val_set.ignored]):
        notify(f"ignored {line}")
    check_augmentation(config.augment, train_set)
    if len(train_set) < config.optim.batch_size:  # the learning rate would not fit a smaller step
        raise VideoMambaError(
            f"optim.batch_size: is {config.optim.batch_size} for {len(train_set)} training videos; lower it"
        )
    videos_of(val_set)  # raises now where a video has two labels, not after an epoch
    return train_set, val_set


def _with_clip_seconds(config: TrainConfig, train_set: VideoSet) -> TrainConfig:
    """`config` with the seconds that clips of these videos cover: those of a preset are the seconds of its own data set.

    Frames in folders have no times; for them the setting is kept.
    """
    measured = usual_clip_seconds(config.clip, train_set.records)
    if measured is None:
        return config
    return config.model_copy(update={"clip": config.clip.model_copy(update={"clip_seconds": measured})})


def _in_precision(network: VideoMamba, config: TrainConfig, device: torch.device) -> VideoMamba:
    """A copy on `device` in the precision of the run."""
    network = copy.deepcopy(network).to(device)
    if config.run.precision == "bf16":
        cast_products(network, torch.bfloat16)
    return network


def _save(
    path: Path,
    *,
    network: VideoMamba,
    config: TrainConfig,
    train_set: VideoSet,
    run: TrainingRun,
    scored: Result,
    record: Mapping[str, str],
) -> None:
    info: dict[str, object] = {
        "task": "regression" if train_set.regression else "classification",
        "preset": config.preset,
        "weights": config.model.weights,
        "steps": run.progress.step,
        "epochs": run.progress.epoch + 1,
        "validation": str(scored),
        "versions": versions(),
        **record,
    }
    save_bundle(path, network, config.clip, train_set.labels, info)


def _numbers(scored: Result) -> dict[str, float | None]:
    if isinstance(scored, ClassificationResult):
        return {"val_top1": scored.top1, "val_top5": scored.top5, "val_mean_class_accuracy": scored.mean_class_accuracy}
    return {"val_mse": scored.mse}
