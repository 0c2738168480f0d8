"""Self-distillation: supervised training in which the tokens of a frozen, usually smaller teacher are targets as well.

Source: arXiv 2403.06977, self-distillation. The original has it for images only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from videomamba.data.loading.dataset import Batch
from videomamba.models.distilled import PROJECTION, DistilledVideoMamba, trunk_weights
from videomamba.models.precision import MasterWeights
from videomamba.models.teacher import Teacher, taught
from videomamba.models.videomamba import VideoMamba
from videomamba.recipes.bundles import lineage, save_network
from videomamba.recipes.config import DistillConfig, check_distillation
from videomamba.recipes.start import build_network, open_run
from videomamba.recipes.teachers import check_cache, find_teacher, named_after, prepare_teacher
from videomamba.recipes.testing import Test, in_precision, numbers, quality
from videomamba.recipes.videos import mixed, read_videos, train_loader, with_clip_seconds
from videomamba.schema import VideoSet, Views
from videomamba.training.losses import alignment_loss, supervised_loss
from videomamba.training.run import Trained, TrainingRun


def distill(
    config: DistillConfig,
    *,
    teacher: Teacher | None = None,
    fresh: bool = False,
    notify: Callable[[str], object] = lambda message: None,
) -> Trained:
    """Makes the run of `config` in config.run.out, or the rest of it; `fresh` replaces a run that is there.

    `teacher` is a network to learn from instead of config.teacher.weights, which then records its name. Raises as
    `classify.train` does, and VideoMambaError for a teacher that is missing, unfit, or not that of the run to resume.
    """
    config = config.model_copy(update={"teacher": named_after(config.teacher, teacher)})
    check_distillation(config)
    teacher = find_teacher(config, config.teacher, teacher, notify)
    train_set, val_set = read_videos(config, notify)
    check_cache(config, config.teacher, train_set)
    config = with_clip_seconds(config, train_set)
    with open_run(config, train_set, fresh=fresh, notify=notify) as run:
        return _distill(run, config, teacher, train_set, val_set)


def _distill(
    run: TrainingRun, config: DistillConfig, teacher: Teacher, train_set: VideoSet, val_set: VideoSet
) -> Trained:
    torch.manual_seed(run.draws.weights())
    make = partial(DistilledVideoMamba, teacher_dim=teacher.dim)
    model, loaded = build_network(make, config, train_set, fresh=not run.resumes, own=[f"{PROJECTION}*"])
    teacher, taught_by = prepare_teacher(teacher, config, config.teacher, train_set, run)
    taught_by["distill"] = config.distill.model_dump()
    past = lineage(run, config, train_set)
    module = run.prepare(model, MasterWeights, depth=model.config.depth, repeats=config.augment.repeats)
    loader = train_loader(config, train_set, run)
    validation = Test(val_set, config.clip, Views(), data=config.data, processes=run.processes)

    def losses_of(batch: Batch) -> tuple[Tensor, Sequence[str]]:
        """The forward pass of one micro-batch: a loss per clip, and the clips' names."""
        names = [train_set.records[record].path for record in batch.records]
        batch = batch.to(run.processes.device)
        with run.autocast():
            if not names:  # every video failed, but other processes wait in collective calls
                logits, tokens = module(batch.video.new_zeros(1, *batch.video.shape[1:]))
                return 0 * (logits.sum(dim=1) + tokens.sum(dim=(1, 2))), names
            video, wanted = mixed(batch, config, train_set, run)
            logits, tokens = module(video)
            of_classes = supervised_loss(logits, wanted)
            of_tokens = alignment_loss(tokens, taught(teacher, video).tokens[0])
            return config.distill.class_weight * of_classes + config.distill.feature_weight * of_tokens, names

    with loader, validation, run.steps(loader) as steps:
        if loaded is not None:
            run.event(str(loaded))
        for batches in steps:
            run.step(batches, losses_of)
            if run.evaluation_due:
                network = VideoMamba.without_weights(model.config).eval()
                network.load_state_dict(trunk_weights(run.weights()))
                scored = validation(in_precision(network, config.run.precision, run.processes.device))
                save = partial(
                    save_network,
                    network=network,
                    config=config,
                    labels=train_set.labels,
                    run=run,
                    facts={"task": train_set.task, "validation": str(scored), **past, **taught_by},
                )
                run.keep_weights(save, quality=quality(scored), **numbers(scored))
    return run.trained
