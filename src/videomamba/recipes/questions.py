"""Learning to answer questions about videos: the network writes each answer of the annotators, word by word.

Source: arXiv 2107.07651 (ALBEF), as specified for the original's code, where it was never finished. Two faults of that design
are not repeated: an answer ends with one [SEP], and its first token counts once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from videomamba.data.loading.dataset import Batch
from videomamba.data.sets.texts import read_texts
from videomamba.recipes.answering import QuestionTest, check_answers
from videomamba.recipes.bundles import lineage
from videomamba.recipes.start import open_run
from videomamba.recipes.text.questions_config import QuestionsConfig, check_questions
from videomamba.recipes.text.questions_start import build_questions, save_weights
from videomamba.recipes.videos import check_videos, train_loader, with_clip_seconds
from videomamba.schema import VideoSet
from videomamba.training.run import Trained, TrainingRun
from videomamba.video.find import describe_ignored


def train_questions(
    config: QuestionsConfig, *, fresh: bool = False, notify: Callable[[str], object] = lambda message: None
) -> Trained:
    """Makes the run of `config` in config.run.out, or the rest of it; `fresh` replaces a run that is there.

    The best weights are those with the highest accuracy on the validation questions. Raises as `classify.train` does, and
    VideoMambaError for data without questions or answers.
    """
    check_questions(config)
    train_set, val_set = (read_texts(config.data, split, task="questions") for split in ("train", "val"))
    for line in describe_ignored([*train_set.ignored, *val_set.ignored]):
        notify(f"ignored {line}")
    check_answers(train_set, "exact")
    check_videos(config, train_set)
    check_answers(val_set, config.answer.score)
    config = with_clip_seconds(config, train_set)
    with open_run(config, train_set, fresh=fresh, notify=notify) as run:
        return _train(run, config, train_set, val_set)


def _train(run: TrainingRun, config: QuestionsConfig, train_set: VideoSet, val_set: VideoSet) -> Trained:
    torch.manual_seed(run.draws.weights())
    start = build_questions(run, config, train_set)
    past = lineage(run, config, train_set)
    module = run.prepare(start.model, depth=start.model.config.video.depth, repeats=config.augment.repeats)
    loader = train_loader(config, train_set, run)
    validation = QuestionTest(
        val_set,
        start.format,
        start.tokenizer,
        config.clip,
        data=config.data,
        processes=run.processes,
        shortlist=config.answer.shortlist,
        score=config.answer.score,
        precision=config.run.precision,
    )

    def losses_of(batch: Batch) -> tuple[Tensor, Sequence[str]]:
        """The forward pass of one micro-batch: a loss per clip, and the clips' names."""
        names = [train_set.records[record].path for record in batch.records]
        texts = start.batch(train_set, batch.records).to(run.processes.device)
        batch = batch.to(run.processes.device)
        with run.autocast():
            if not names:  # every video failed, but other processes wait in collective calls
                return 0 * texts.losses(module, batch.video.new_zeros(1, *batch.video.shape[1:])), names
            return texts.losses(module, batch.video), names

    with loader, validation, run.steps(loader) as steps:
        for line in start.remarks:
            run.event(line)
        for batches in steps:
            run.step(batches, losses_of)
            if run.evaluation_due:
                network = start.copy(run.weights())
                scored = validation(network.to(run.processes.device))
                save = partial(
                    save_weights,
                    network=network,
                    start=start,
                    config=config,
                    run=run,
                    facts={"validation": str(scored), **past},
                )
                run.keep_weights(save, quality=scored.accuracy, val_accuracy=scored.accuracy)
    return run.trained
