"""Supervised training for classes or one number: from scratch, from images to video, to more frames, to your own videos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from videomamba.data.loading.dataset import Batch
from videomamba.models.precision import MasterWeights
from videomamba.models.videomamba import VideoMamba
from videomamba.recipes.bundles import lineage, save_network
from videomamba.recipes.config import TrainConfig, check_config
from videomamba.recipes.start import build_model, open_run
from videomamba.recipes.testing import Test, in_precision, numbers, quality
from videomamba.recipes.videos import mixed, read_videos, train_loader, with_clip_seconds
from videomamba.schema import VideoSet, Views
from videomamba.training.losses import supervised_loss
from videomamba.training.run import Trained, TrainingRun


def train(
    config: TrainConfig, *, fresh: bool = False, notify: Callable[[str], object] = lambda message: None
) -> Trained:
    """Makes the run of `config` in config.run.out, or the rest of it; `fresh` replaces a run that is there.

    `notify` gets a line for each kind of ignored file, and where the run resumes or was finished before. Raises
    VideoMambaError for settings, data or weights that do not fit and for a folder in use, before the first step; later for a
    video that cannot be read (unless skipped), for too many steps that are not finite, and for a full disk: the same command
    then resumes from the last checkpoint. Raises KeyboardInterrupt after a checkpoint on Ctrl-C or SIGTERM. Raises ValueError
    for the settings of another recipe.
    """
    if type(config) is not TrainConfig:
        raise ValueError(f"a {type(config).__name__} is not for supervised training: call its own recipe")
    check_config(config)
    train_set, val_set = read_videos(config, notify)
    config = with_clip_seconds(config, train_set)
    with open_run(config, train_set, fresh=fresh, notify=notify) as run:
        return _train(run, config, train_set, val_set)


def _train(run: TrainingRun, config: TrainConfig, train_set: VideoSet, val_set: VideoSet) -> Trained:
    torch.manual_seed(run.draws.weights())
    model, loaded = build_model(config, train_set, fresh=not run.resumes)
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
                return 0 * module(batch.video.new_zeros(1, *batch.video.shape[1:])).sum(dim=1), names
            video, wanted = mixed(batch, config, train_set, run)
            return supervised_loss(module(video), wanted), names

    with loader, validation, run.steps(loader) as steps:
        if loaded is not None:
            run.event(str(loaded))
        for batches in steps:
            run.step(batches, losses_of)
            if run.evaluation_due:
                network = VideoMamba.without_weights(model.config).eval()
                network.load_state_dict(run.weights())
                scored = validation(in_precision(network, config.run.precision, run.processes.device))
                save = partial(
                    save_network,
                    network=network,
                    config=config,
                    labels=train_set.labels,
                    run=run,
                    facts={"task": train_set.task, "validation": str(scored), **past},
                )
                run.keep_weights(save, quality=quality(scored), **numbers(scored))
    return run.trained
