"""Masked pretraining: a student that sees a fifth of each clip learns the features of a teacher that sees all of it.

Source: arXiv 2403.06977, masked modeling. The original has it for the middle network only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from videomamba.data.loading.dataset import Batch
from videomamba.data.sets.annotations import read_dataset
from videomamba.models.init import undrawn
from videomamba.models.masked import MaskedVideoMamba
from videomamba.models.precision import MasterWeights
from videomamba.models.teacher import Teacher
from videomamba.recipes.alignment import MaskedAlignment, MaskedTest, teacher_layers
from videomamba.recipes.bundles import lineage, save_network
from videomamba.recipes.pretrain_config import PretrainConfig, aligned_layers, check_pretrain
from videomamba.recipes.start import build_network, open_run
from videomamba.recipes.teachers import check_cache, find_teacher, named_after, prepare_teacher
from videomamba.recipes.testing import in_precision
from videomamba.recipes.videos import check_videos, train_loader, with_clip_seconds
from videomamba.schema import VideoMambaError, VideoSet
from videomamba.training.run import Trained, TrainingRun
from videomamba.video.find import describe_ignored


def pretrain(
    config: PretrainConfig,
    *,
    teacher: Teacher | None = None,
    fresh: bool = False,
    notify: Callable[[str], object] = lambda message: None,
) -> Trained:
    """Makes the run of `config` in config.run.out, or the rest of it; `fresh` replaces a run that is there.

    `teacher` is a network to learn from instead of config.teacher.weights, which then records its name. The best weights are
    those with the lowest loss on the validation split, whose clips and masks are the same in every epoch.

    Raises as `classify.train` does, and VideoMambaError for a teacher that is missing, unfit, or not that of the run to resume.
    """
    config = config.model_copy(update={"teacher": named_after(config.teacher, teacher)})
    check_pretrain(config)
    teacher = find_teacher(config, config.teacher, teacher, notify, legacy=config.align.legacy)
    teacher_layers(teacher, config.align)  # raises now, before the run has a folder
    train_set, val_set = (read_dataset(config.data, split, annotated=False) for split in ("train", "val"))
    for line in describe_ignored([*train_set.ignored, *val_set.ignored]):
        notify(f"ignored {line}")
    _check_pictures(config, train_set)
    check_videos(config, train_set)
    check_cache(config, config.teacher, train_set)
    config = with_clip_seconds(config, train_set)
    with open_run(config, train_set, fresh=fresh, notify=notify) as run:
        return _pretrain(run, config, teacher, train_set, val_set)


def _check_pictures(config: PretrainConfig, train_set: VideoSet) -> None:
    """Raises VideoMambaError for a network of single pictures where folders of pictures were read as videos."""
    folder = next((one.path for one in train_set.records if Path(one.path).is_dir()), None)
    if config.clip.num_frames == 1 and folder is not None:
        raise VideoMambaError(
            f"clip.num_frames: is 1, and {folder} is read as one video, whose frames are its pictures; for a data set of "
            "pictures set data.format imagenet, or give a list of them as data.train"
        )


def _pretrain(
    run: TrainingRun, config: PretrainConfig, teacher: Teacher, train_set: VideoSet, val_set: VideoSet
) -> Trained:
    torch.manual_seed(run.draws.weights())
    layers = aligned_layers(config.student().depth, config.align.layers, config.align.student_interval)
    make = partial(MaskedVideoMamba, teacher_dim=teacher.dim, indices=layers, legacy=config.align.legacy)
    model, loaded = build_network(make, config, train_set, fresh=not run.resumes, own=["clip_decoder.*"])
    teacher, taught_by = prepare_teacher(teacher, config, config.teacher, train_set, run)
    past = lineage(run, config, train_set)
    module = run.prepare(model, MasterWeights, depth=model.config.depth, repeats=config.augment.repeats)
    alignment = MaskedAlignment(teacher, config.mask, config.align, model.config)
    loader = train_loader(config, train_set, run, mask=config.mask, grid=model.config.grid)
    validation = MaskedTest(alignment, val_set, config, run)

    def losses_of(batch: Batch) -> tuple[Tensor, Sequence[str]]:
        """The forward pass of one micro-batch: a loss per clip, and the clips' names."""
        names = [train_set.records[record].path for record in batch.records]
        batch = batch.to(run.processes.device)
        with run.autocast():
            if not names:  # every video failed, but other processes wait in collective calls
                return 0 * module(batch.video.new_zeros(1, *batch.video.shape[1:])).sum(dim=(0, 2, 3)), names
            return alignment(module, batch.video, batch.visible, batch.draws), names

    with loader, validation, run.steps(loader) as steps:
        if loaded is not None:
            run.event(str(loaded))
        for batches in steps:
            run.step(batches, losses_of)
            if run.evaluation_due:
                network = undrawn(partial(make, model.config)).eval()
                network.load_state_dict(run.weights())
                scored = validation(in_precision(network, config.run.precision, run.processes.device))
                save = partial(
                    save_network,
                    network=network,
                    config=config,
                    labels=(),
                    run=run,
                    facts={"task": "pretraining", **_masked(config), "validation": str(scored), **past, **taught_by},
                )
                run.keep_weights(save, quality=scored.quality, val_loss=scored.loss)
    return run.trained


def _masked(config: PretrainConfig) -> dict[str, object]:
    """What a bundle says of the pretraining besides its teacher."""
    return {"mask": config.mask.model_dump(), "align": config.align.model_dump()}
