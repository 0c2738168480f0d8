"""`videomamba text train`: training on videos and texts."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from videomamba.cli.recipe import run_recipe, trained_with_notes

if TYPE_CHECKING:
    from videomamba.recipes.text.config import VideoTextTrainConfig

_DESCRIPTION = """Train on videos with captions: pretraining, or fine-tuning of a video-text model for retrieval.

The losses of a pair: videos and texts against each other, whether both belong together, masked words, and the tokens of a
teacher. `--images.train` trains pictures with captions beside the videos. The text tower starts from a BERT
(`--text.weights bert-base-uncased`, extra `text`), or from nothing with a vocabulary that is learned from the captions
(`--text.learn-vocabulary 8000`). With `--model.weights` of a video-text model both towers and the vocabulary are its own; with
those of any VideoMamba the video tower starts from it.
All pairs of a forward pass, in all processes, are each other's negatives: run.micro_batch makes them fewer.
The command line overrides the file of --config, and the file overrides the preset.
`videomamba text train --presets` lists the published recipes.
An interrupted run in the folder run.out is resumed; `--fresh` removes the files of an earlier run there and begins anew."""


def train(arguments: list[str]) -> int:
    """Trains; an interrupted run in the same folder is resumed."""
    from videomamba.recipes.text.config import check_video_text
    from videomamba.recipes.text.presets import VIDEO_TEXT

    return run_recipe(arguments, VIDEO_TEXT, description=_DESCRIPTION, check=check_video_text, run=_run)


def _run(config: VideoTextTrainConfig, fresh: bool) -> None:
    from videomamba.recipes.video_text import train_video_text

    trained = trained_with_notes(config, train_video_text, fresh)
    weights, best = trained.last, trained.progress.best
    if best is not None:
        weights = trained.best
        print(f"{weights}: mean R@1 of both directions {100 * best:.1f} % on the validation split, without re-ranking")
    print(f"Now:  videomamba text retrieval {shlex.quote(str(weights))} DATA")
