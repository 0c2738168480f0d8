"""Masked pretraining: a student that sees a fifth of each clip learns the features of a teacher that sees all of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from videomamba.data.augment.pipeline import check_augmentation
from videomamba.data.clips.masks import visible_count
from videomamba.data.loading.dataset import Batch
from videomamba.data.loading.loader import TrainLoader
from videomamba.data.sets.annotations import read_dataset
from videomamba.data.sets.fingerprint import TRAINED_ON, facts, trained_on
from videomamba.models.masked import MaskedVideoMamba
from videomamba.models.precision import MasterWeights, cast_products
from videomamba.models.registry import build_config
from videomamba.models.teacher import Teacher, check_teacher
from videomamba.recipes.alignment import AlignmentResult, MaskedAlignment, MaskedTest
from videomamba.recipes.load import to_yaml
from videomamba.recipes.pretrain_config import PretrainConfig, aligned_layers, check_pretrain_config
from videomamba.schema import VideoMambaError, VideoSet
from videomamba.training.run import Trained, TrainingRun
from videomamba.video.find import describe_ignored
from videomamba.weights.teachers import open_teacher


def pretrain(
    config: PretrainConfig,
    *,
    teacher: Teacher | None = None,
    fresh: bool = False,
    notify: Callable[[str], object] = lambda message: None,
) -> Trained:
    """Makes the run of `config` in config.run.out, or the rest of it; `fresh` replaces a run that is there.

    `teacher` replaces that of `config.teacher`: any network with tokens on the student's grid. The best weights are those
    with the lowest loss on the validation split, whose clips and masks are the same in every epoch.

    Raises VideoMambaError and KeyboardInterrupt as `classify.train` does, and VideoMambaError for a teacher that does not fit.
    """
    train_set, val_set = _data(config, notify)
    config = with_clip_seconds(config, train_set)
    teacher = teacher or _teacher(config)
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
        return _pretrain(run, config, teacher, train_set, val_set)


def _pretrain(
    run: TrainingRun, config: PretrainConfig, teacher: Teacher, train_set: VideoSet, val_set: VideoSet
) -> Trained:
    torch.manual_seed(run.draws.weights())
    model, loaded = build_student(config, teacher, fresh=not run.resumes)
    record = run_record(run, config, train_set)
    module = run.prepare(model, MasterWeights, depth=model.config.depth, repeats=config.augment.repeats)
    teacher.to(run.processes.device)
    alignment = MaskedAlignment(teacher, config.mask, config.align, model.config)
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
        mask=config.mask,
        grid=model.config.grid,
    )
    validation = MaskedTest(
        alignment,
        val_set,
        config.clip,
        config.mask,
        data=config.data,
        processes=run.processes,
        draws=run.draws.validation_mask,
    )

    def losses_of(batch: Batch) -> tuple[Tensor, Sequence[str]]:
        """The forward pass of one micro-batch: a loss per clip, and the clips' names."""
        names = [train_set.records[record].path for record in batch.records]
        batch = batch.to(run.processes.device)
        if not names:  # every video failed, but other processes wait in collective calls
            with run.autocast():
                nothing = batch.video.new_zeros(1, *batch.video.shape[1:])
                return 0 * module(nothing, None).sum(dim=(0, 2, 3)), names
        visible, draws = batch.visible, batch.draws
        return alignment.losses(module, batch.video, visible=visible, draws=draws, autocast=run.autocast()), names

    with loader, validation, run.steps(loader) as steps:
        if loaded is not None:
            run.event(str(loaded))
        for batches in steps:
            run.step(batches, losses_of)
            if run.evaluation_due:
                network = model.twin(run.weights())
                scored = validation(in_precision(network, config.run, run.processes.device), autocast=run.autocast())
                save = partial(_save, network=network, config=config, run=run, scored=scored, record=record)
                quality = None if scored.loss is None else -scored.loss
                run.keep_weights(save, quality=quality, val_loss=scored.loss)
    return run.trained
