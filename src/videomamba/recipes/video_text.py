"""Training on videos and texts: pretraining in two stages, masked and unmasked, and fine-tuning for retrieval.

Source: arXiv 2403.06977, the multi-modality compatibility of VideoMamba, after Unmasked Teacher, arXiv 2303.16058.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from videomamba.models.init import undrawn
from videomamba.models.precision import MasterWeights
from videomamba.models.video_text import VideoText
from videomamba.recipes.bundles import lineage
from videomamba.recipes.retrieval import RetrievalTest
from videomamba.recipes.start import open_run
from videomamba.recipes.text.bundles import save_text_network
from videomamba.recipes.text.config import VideoTextTrainConfig, check_video_text, describe
from videomamba.recipes.text.media import VIDEOS, Media, draws_of, pair_loader, read_media
from videomamba.recipes.text.objectives import MODEL, PairLosses, weighted
from videomamba.recipes.text.pairs import PairBatch, Pairing
from videomamba.recipes.text.start import TextStart, build_video_text, find_start
from videomamba.recipes.text.teachers import TextTeachers
from videomamba.recipes.videos import with_clip_seconds
from videomamba.training.run import Trained, TrainingRun


def train_video_text(
    config: VideoTextTrainConfig, *, fresh: bool = False, notify: Callable[[str], object] = lambda message: None
) -> Trained:
    """Makes the run of `config` in config.run.out, or the rest of it; `fresh` replaces a run that is there.

    The best weights are those with the highest mean of R@1, R@5 and R@10 in both directions on the validation split, without
    re-ranking.

    Raises VideoMambaError as `classify.train` does, and for a teacher, a vocabulary or a text tower that is missing or unfit.
    """
    check_video_text(config)
    teachers = TextTeachers(config, notify)
    media = read_media(config, notify)
    start = find_start(config, media.sets.values())
    config = with_clip_seconds(config, media.sets[VIDEOS])
    with open_run(config, media.joint, fresh=fresh, notify=notify) as run:
        return _train(run, config, teachers, media, start.kept(run))


def _train(
    run: TrainingRun, config: VideoTextTrainConfig, teachers: TextTeachers, media: Media, start: TextStart
) -> Trained:
    torch.manual_seed(run.draws.weights())
    model, reports = build_video_text(config, start, teacher_dim=teachers.dim, fresh=not run.resumes)
    taught_by = teachers.prepare(run, media.sets[VIDEOS])
    past = lineage(run, config, media.joint)
    losses = PairLosses(model, config.objectives, config.align.distance)
    module = run.prepare(losses, MasterWeights, depth=model.config.video.depth)
    length, processes = config.text.max_length, run.processes
    pairing = Pairing(media, start.tokenizer, config, draws=draws_of(run), processes=processes)
    validation = RetrievalTest(
        media.val,
        config.clip,
        start.tokenizer,
        max_length=length,
        data=config.data,
        processes=processes,
        merge_captions=config.objectives.same_caption,
    )

    def losses_of(batch: PairBatch) -> tuple[Tensor, Sequence[str], Mapping[str, Tensor]]:
        """The forward pass of one micro-batch: a loss for each pair, the paths of their media, and the parts of the loss."""
        batch = batch.to(processes.device)
        with run.autocast():
            visible, targets = teachers(batch.medium, batch.video, batch.visible, batch.draws)
            parts = module(video=batch.video, visible=visible, targets=targets, rank=processes.rank, **batch.texts)
            return weighted(parts, config.objectives), batch.names, parts

    loader = pair_loader(config, media, run)
    with loader, validation, run.steps(loader) as steps:
        for report in reports:
            run.event(str(report))
        for batches in steps:
            run.step(pairing(batches), losses_of)
            if run.evaluation_due:
                network = undrawn(partial(VideoText, model.config)).eval()
                network.load_state_dict({name.removeprefix(MODEL): value for name, value in run.weights().items()})
                measured = validation(network.to(processes.device))
                scored, missed = measured.dual, len(measured.failures)
                save = partial(
                    save_text_network,
                    network=network,
                    config=config,
                    tokenizer=start.tokenizer,
                    max_length=length,
                    run=run,
                    facts={**describe(config), "validation": f"{scored}; {missed} missed", **past, **taught_by},
                )
                run.keep_weights(save, quality=scored.mean_recall, val_t2v_r1=scored.t2v.r1, val_v2t_r1=scored.v2t.r1)
    return run.trained
