"""The weights files of a run on videos and texts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from videomamba.data.text.tokenizer import Tokenizer
from videomamba.models.video_text import VideoText
from videomamba.recipes.bundles import made_by
from videomamba.recipes.config import RecipeConfig
from videomamba.training.run import TrainingRun
from videomamba.weights.video_text import save_video_text


def save_text_network(
    path: Path,
    *,
    network: VideoText,
    config: RecipeConfig,
    tokenizer: Tokenizer,
    max_length: int,
    run: TrainingRun,
    facts: Mapping[str, object],
) -> None:
    """As `bundles.save_network`, with the vocabulary and the most tokens of a text."""
    save_video_text(
        path,
        network,
        preprocess=config.clip,
        tokenizer=tokenizer,
        max_length=max_length,
        info={**made_by(config, run), **facts},
    )
