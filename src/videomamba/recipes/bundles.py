"""The weights files of a run: a network and what is known of the run that made it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from videomamba.models.videomamba import VideoMamba
from videomamba.recipes.config import RecipeConfig
from videomamba.training.checkpoint import versions
from videomamba.training.run import TrainingRun
from videomamba.weights.bundle import save_bundle


def save_network(
    path: Path,
    *,
    network: VideoMamba,
    config: RecipeConfig,
    labels: Sequence[str],
    run: TrainingRun,
    facts: Mapping[str, object],
) -> None:
    """Writes `network`, the clips of `config`, class names, and as info: preset, first weights, length, versions, `facts`."""
    info = {
        "preset": config.preset,
        "weights": config.model.weights,
        "steps": run.progress.step,
        "epochs": run.progress.epoch + 1,
        "versions": versions(),
    }
    save_bundle(path, network, config.clip, labels, {**info, **facts})
