"""What a run starts from: the network of its settings, with fresh weights or those of a weights file."""

from __future__ import annotations

import yaml

from videomamba.models.registry import build_config
from videomamba.models.videomamba import VideoMamba
from videomamba.recipes.config import TrainConfig
from videomamba.recipes.load import to_yaml
from videomamba.schema import VideoMambaError, VideoSet
from videomamba.weights.load import load_weights
from videomamba.weights.read import WeightsFile, read_weights
from videomamba.weights.report import LoadReport
from videomamba.weights.zoo import resolve_weights


def build_model(config: TrainConfig, video_set: VideoSet, *, fresh: bool) -> tuple[VideoMamba, LoadReport | None]:
    """The network for the classes of `video_set` (one output for regression), and what became of the weights it loaded.

    `fresh` false leaves the weights random: a checkpoint of the run is about to replace them all. Raises WeightsError when
    the weights are not there or do not fit.
    """
    outputs = video_set.outputs
    model = VideoMamba(build_config(config.model.name, {**config.network(), "num_classes": outputs}))
    if config.model.weights is None or not fresh:
        return model, None
    weights = read_weights(resolve_weights(config.model.weights))
    rows = _known_rows(weights, video_set, outputs)
    if rows is None:
        return model, load_weights(model, weights, head="replace", rename_norm=True)
    kept = None if rows == list(range(weights.outputs)) else rows
    return model, load_weights(model, weights, head_rows=kept, rename_norm=True)


def _known_rows(weights: WeightsFile, video_set: VideoSet, outputs: int) -> list[int] | None:
    """The rows of the file's head that are the classes of the data set, None where some of the classes are new to it.

    Classes without names (class_0, ...) are the file's where there are as many.
    """
    if weights.outputs == 0 or video_set.regression != weights.regression:
        return None
    theirs = weights.labels
    if theirs and not video_set.regression and set(video_set.labels) <= set(theirs):
        return [theirs.index(name) for name in video_set.labels]
    numbered = tuple(f"class_{i}" for i in range(outputs))
    same = weights.outputs == outputs and (not theirs or video_set.regression or video_set.labels == numbered)
    return list(range(outputs)) if same else None


FREE = ("preset", "eval", "run", "clip.clip_seconds", "data.root", "data.workers", "data.on_error")
"""What may be another when a run is resumed: it changes no weight. Of `run`, seed and precision are not free."""


def check_same_run(config: TrainConfig, stored: str, path: object) -> None:
    """Raises VideoMambaError naming the first key in which `config` and the stored YAML describe different runs."""
    ours, theirs = (_flat(yaml.safe_load(text)) for text in (to_yaml(config), stored))
    for run in (ours, theirs):  # kept frames are other pixels than decoded ones, wherever they are kept
        run["data.cache"] = "a folder" if run["data.cache"] else None
    for key in [*ours, *(key for key in theirs if key not in ours)]:
        free = any(key == name or key.startswith(name + ".") for name in FREE)
        if (not free or key in ("run.seed", "run.precision")) and ours.get(key) != theirs.get(key):
            raise VideoMambaError(
                f"{path}: belongs to a run with {key} {theirs.get(key)}, not {ours.get(key)}; choose another folder, "
                "or the same settings to resume it"
            )


def check_same_data(video_set: VideoSet, labels: tuple[str, ...], num_videos: int, path: object) -> None:
    """Raises VideoMambaError when the training data are not the `num_videos` videos of `labels` that a run began with.

    The order of an epoch hangs on their number. That files were moved, or mended, is all right.
    """
    advice = "choose another folder, or the same data to resume it"
    if video_set.labels != labels:
        changed = [name for name in (*labels, *video_set.labels) if (name in labels) != (name in video_set.labels)]
        what = f"{changed[0]!r} is in one of them only" if changed else "their order is another"
        raise VideoMambaError(
            f"{path}: belongs to a run of {len(labels)} classes, not these {len(video_set.labels)} ({what}); {advice}"
        )
    if len(video_set) != num_videos:
        raise VideoMambaError(
            f"{path}: belongs to a run of {num_videos} training videos, not {len(video_set)}; {advice}"
        )


def _flat(tree: object, prefix: str = "") -> dict[str, object]:
    if not isinstance(tree, dict):
        return {prefix: tree}
    found: dict[str, object] = {}
    for key, value in tree.items():
        found |= _flat(value, f"{prefix}.{key}" if prefix else str(key))
    return found
