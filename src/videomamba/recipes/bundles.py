"""The weights files of a run: a network and what is known of the run that made it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from videomamba.data.sets.fingerprint import TRAINED_ON, trained_on
from videomamba.models.videomamba import VideoMamba
from videomamba.recipes.config import RecipeConfig
from videomamba.schema import VideoSet, WeightsError, counted
from videomamba.training.checkpoint import versions
from videomamba.training.run import TrainingRun
from videomamba.weights.bundle import read_bundle_metadata, save_bundle
from videomamba.weights.zoo import resolve_weights

STARTED_FROM = "started_from"
"""The key, in the `info` of a bundle, of what the weights that its run started from said of themselves."""


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
    save_bundle(path, network, config.clip, labels, {**made_by(config, run), **facts})


def made_by(config: RecipeConfig, run: TrainingRun) -> dict[str, object]:
    """What every weights file of a run says of it."""
    return {
        "preset": config.preset,
        "weights": config.model.weights,
        "steps": run.progress.step,
        "epochs": run.progress.epoch + 1,
        "versions": versions(),
    }


def lineage(run: TrainingRun, config: RecipeConfig, train_set: VideoSet) -> dict[str, object]:
    """What the weights of a run say of their past: the files of all training videos, and the runs before this one.

    It is read from the first weights at the start of the run; a resumed run has that of its start.
    """
    before = json.loads(run.kept(STARTED_FROM, lambda: json.dumps(_before(config.model.weights))))
    files = before.pop(TRAINED_ON, "")
    known: dict[str, object] = {**trained_on(train_set, files if isinstance(files, str) else "")}
    return known | ({STARTED_FROM: before} if before else {})


def _before(weights: str | None) -> dict[str, object]:
    """The `info` of the bundle `weights`; empty where it is none."""
    if weights is None:
        return {}
    try:
        return {**read_bundle_metadata(resolve_weights(weights)).info}
    except WeightsError:  # not a bundle
        return {}


def described_past(info: Mapping[str, object]) -> str:
    """The runs before that of a bundle and its own, the first one first, as "pretraining with masks (...), classification"."""
    before = info.get(STARTED_FROM)
    parts = [described_past(before)] if isinstance(before, Mapping) else []
    details = []
    if isinstance(mask := info.get("mask"), Mapping):
        details.append(f"mask {mask.get('name')} {mask.get('ratio')}")
    if isinstance(teacher := info.get("teacher"), Mapping):
        digest = str(teacher.get("digest") or "")[:8]
        details.append(f"teacher {teacher.get('name')}{f' ({digest})' if digest else ''}")
    if isinstance(align := info.get("align"), Mapping):
        layers = align.get("layers")
        details.append(f"{align.get('distance')} of {'the last layer' if layers == 1 else f'{layers} layers'}")
    steps = info.get("steps")
    details.append(counted(steps, "step") if isinstance(steps, int) else "steps unknown")
    return ", then ".join([*filter(None, parts), f"{info.get('task', 'training')} ({', '.join(details)})"])
