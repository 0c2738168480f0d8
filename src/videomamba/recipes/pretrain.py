"""Masked pretraining: a student that sees a fifth of each clip learns the features of a teacher that sees all of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from videomamba.data.loading.dataset import Batch
from videomamba.data.sets.annotations import read_dataset
from videomamba.data.sets.fingerprint import TRAINED_ON, facts, trained_on
from videomamba.models.masked import MaskedVideoMamba
from videomamba.models.precision import MasterWeights
from videomamba.models.teacher import Teacher, check_teacher
from videomamba.recipes.alignment import MaskedAlignment, MaskedTest
from videomamba.recipes.bundles import save_network
from videomamba.recipes.load import to_yaml
from videomamba.recipes.pretrain_config import PretrainConfig, aligned_layers, check_pretrain
from videomamba.recipes.start import check_resumed, describe_set, recompute, trained_before
from videomamba.recipes.testing import in_precision
from videomamba.recipes.videos import check_videos, train_loader, with_clip_seconds
from videomamba.schema import VideoSet
from videomamba.training.run import Trained, TrainingRun
from videomamba.video.find import describe_ignored
from videomamba.weights.load import load_weights
from videomamba.weights.read import read_weights
from videomamba.weights.report import LoadReport
from videomamba.weights.teachers import open_teacher
from videomamba.weights.zoo import resolve_weights


def pretrain(
    config: PretrainConfig,
    *,
    teacher: Teacher | None = None,
    fresh: bool = False,
    notify: Callable[[str], object] = lambda message: None,
) -> Trained:
    """Makes the run of `config` in config.run.out, or the rest of it; `fresh` replaces a run that is there.

    `teacher` replaces that of the settings: any network with tokens on the student's grid. The best weights are those with
    the lowest loss on the validation split, whose clips and masks are the same in every epoch.

    Raises VideoMambaError and KeyboardInterrupt as `classify.train` does, and VideoMambaError for a teacher that does not fit.
    """
    check_pretrain(config)
    train_set, val_set = (read_dataset(config.data, split, annotated=False) for split in ("train", "val"))
    for line in describe_ignored([*train_set.ignored, *val_set.ignored]):
        notify(f"ignored {line}")
    check_videos(config, train_set)
    config = with_clip_seconds(config, train_set)
    teacher = teacher or open_teacher(
        config.teacher.weights, config.clip, legacy=config.align.legacy, precision=config.teacher.precision
    )
    check_teacher(teacher, config.student())
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
    model = build_student(config, teacher, random=not run.resumes)
    loaded = None if run.resumes else load_student(model, config)
    before = run.kept(TRAINED_ON, lambda: trained_before(config.model.weights))
    record = trained_on(train_set, before)
    module = run.prepare(model, MasterWeights, depth=model.config.depth, repeats=config.augment.repeats)
    teacher.to(run.processes.device)
    alignment = MaskedAlignment(teacher, config.mask, config.align, model.config)
    loader = train_loader(config, train_set, run, mask=config.mask, grid=model.config.grid)
    validation = MaskedTest(alignment, val_set, config, run)

    def losses_of(batch: Batch) -> tuple[Tensor, Sequence[str]]:
        """The forward pass of one micro-batch: a loss per clip, and the clips' names."""
        names = [train_set.records[record].path for record in batch.records]
        batch = batch.to(run.processes.device)
        if not names:  # every video failed, but other processes wait in collective calls
            with run.autocast():
                nothing = module(batch.video.new_zeros(1, *batch.video.shape[1:]))
            return 0 * nothing.sum(dim=(0, 2, 3)), names
        return alignment.losses(module, batch.video, batch.visible, batch.draws, autocast=run.autocast), names

    with loader, validation, run.steps(loader) as steps:
        if loaded is not None:
            run.event(str(loaded))
        for batches in steps:
            run.step(batches, losses_of)
            if run.evaluation_due:
                network = build_student(config, teacher, random=False).eval()
                network.load_state_dict(run.weights())
                scored = validation(in_precision(network, config.run.precision, run.processes.device))
                save = partial(
                    save_network,
                    network=network,
                    config=config,
                    labels=(),
                    run=run,
                    facts={"task": "pretraining", **described(config, teacher), "validation": str(scored), **record},
                )
                quality = None if scored.loss is None else -scored.loss
                run.keep_weights(save, quality=quality, val_loss=scored.loss)
    return run.trained


def build_student(config: PretrainConfig, teacher: Teacher, *, random: bool) -> MaskedVideoMamba:
    """The student with random weights, or else with undefined ones, for others to replace."""
    network, align = config.student(), config.align
    build = MaskedVideoMamba if random else MaskedVideoMamba.without_weights
    indices = aligned_layers(network.depth, align.layers, align.student_interval)
    model = build(network, teacher_dim=teacher.dim, indices=indices, legacy=align.legacy)
    recompute(model, config.run)
    return model


def load_student(model: MaskedVideoMamba, config: PretrainConfig) -> LoadReport | None:
    """Loads the first weights of the run, if it has some: those of a network, with or without decoders.

    Raises WeightsError where they are missing or do not fit.
    """
    if config.model.weights is None:
        return None
    weights = read_weights(resolve_weights(config.model.weights))
    rename = config.model.final_norm == "file"
    allowed = ("clip_decoder.*",) if rename else ("clip_decoder.*", "norm_f.weight")
    return load_weights(model, weights, rename_norm=rename, allow_missing=allowed)


def described(config: PretrainConfig, teacher: Teacher) -> dict[str, str]:
    """What the weights say of their pretraining, also after fine-tuning."""
    layers = f"{config.align.layers} layers" if config.align.layers > 1 else "the last layer"
    how = " as the original" if config.align.legacy else ""
    return {
        "teacher": teacher.name,
        "mask": f"{config.mask.name} {config.mask.ratio:g}",
        "alignment": f"{config.align.distance} of {layers}{how}",
    }
