"""The start of a run: the network with random weights or those of a file, or an earlier part of the same run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TypeVar

import yaml

from videomamba.data.sets.fingerprint import difference, facts
from videomamba.data.sets.formats.classes import numbered_class
from videomamba.memory import return_large_blocks
from videomamba.models.config import VideoMambaConfig
from videomamba.models.init import undrawn
from videomamba.models.registry import build_config
from videomamba.models.videomamba import VideoMamba
from videomamba.recipes.config import RecipeConfig
from videomamba.recipes.load import to_yaml
from videomamba.schema import Settings, VideoMambaError, VideoSet, counted, one_form
from videomamba.training.checkpoint import RunState
from videomamba.training.folder import is_written
from videomamba.training.run import TrainingRun
from videomamba.weights.convert import trunk_names
from videomamba.weights.load import load_weights
from videomamba.weights.read import WeightsFile, read_weights
from videomamba.weights.report import LoadReport
from videomamba.weights.zoo import resolve_weights

Network = TypeVar("Network", bound=VideoMamba)


def open_run(config: RecipeConfig, train_set: VideoSet, *, fresh: bool, notify: Callable[[str], object]) -> TrainingRun:
    """The run of `config` on these videos, new or to be resumed; see `TrainingRun`.

    Raises VideoMambaError as it does, and where the run would write over what it starts or learns from.
    """
    teacher = getattr(config, "teacher", None)
    for key, name in (("model.weights", config.model.weights), ("teacher.weights", teacher and teacher.weights)):
        if name is not None and is_written(config.run.out, Path(name)):
            raise VideoMambaError(f"run.out: {config.run.out} would write over {key} {name}; choose another folder")
    return TrainingRun(
        config.run,
        config.optim,
        config=to_yaml(config),
        data=facts(train_set),
        check=partial(check_resumed, config, train_set),
        fresh=fresh,
        about=describe_set(train_set),
        notify=notify,
    )


def build_model(config: RecipeConfig, video_set: VideoSet, *, fresh: bool) -> tuple[VideoMamba, LoadReport | None]:
    """The network for the classes of `video_set` (one output for regression), and the report of its loaded weights.

    Without `fresh` the weights are undefined, for a checkpoint to replace. Raises WeightsError when they are missing or unfit.
    """
    return build_network(VideoMamba, config, video_set, fresh=fresh)


def build_network(
    make: Callable[[VideoMambaConfig], Network],
    config: RecipeConfig,
    video_set: VideoSet,
    *,
    fresh: bool,
    own: Sequence[str] = (),
) -> tuple[Network, LoadReport | None]:
    """`build_model` for the network that `make` constructs.

    `own` are patterns of the parameters that it has besides those of a VideoMamba: they stay as drawn where the weights lack
    them or have them for another teacher. A set without annotations makes a network without a head.
    """
    outputs = 0 if video_set.task == "unlabelled" else video_set.outputs
    network = build_config(config.model.name, {**config.network(), "num_classes": outputs})
    model = make(network) if fresh else undrawn(partial(make, network))
    if config.run.recompute_blocks:
        model.recompute_activations(min(config.run.recompute_blocks, model.config.depth))
        return_large_blocks()
    if config.model.weights is None or not fresh:
        return model, None
    weights = with_fitting(own, read_weights(resolve_weights(config.model.weights)), model)
    rename = config.model.final_norm == "file"
    missing = own if rename else (*own, "norm_f.weight")
    load = partial(load_weights, model, weights, rename_norm=rename, allow_missing=missing)
    rows = _known_rows(weights, video_set, outputs) if outputs else None
    if rows is None:
        return model, load(head="replace")
    return model, load(head_rows=None if rows == list(range(weights.outputs)) else rows)


def with_fitting(own: Sequence[str], weights: WeightsFile, model: VideoMamba) -> WeightsFile:
    """`weights` without the parameters of `own`, unless they are those of the model, all of the same shapes."""
    state, names = model.state_dict(), trunk_names(weights.tensors, source=weights.source)
    of_own = {name: key for name, key in names.items() if any(fnmatchcase(name, pattern) for pattern in own)}
    wanted = {name for name in state if any(fnmatchcase(name, pattern) for pattern in own)}
    same = of_own.keys() == wanted and all(state[name].shape == weights.tensors[of_own[name]].shape for name in wanted)
    if same or not of_own:
        return weights
    kept = {key: tensor for key, tensor in weights.tensors.items() if key not in of_own.values()}
    return replace(weights, tensors=kept)


def _known_rows(weights: WeightsFile, video_set: VideoSet, outputs: int) -> list[int] | None:
    """The rows of the file's head for the classes of the data set, None where the file lacks some of them.

    As many classes without names (class_0, ...) as the file has are treated as the file's.
    """
    if weights.outputs == 0 or video_set.regression != weights.regression:
        return None
    theirs = tuple(map(one_form, weights.labels))
    if theirs and not video_set.regression and set(video_set.labels) <= set(theirs):
        return [theirs.index(name) for name in video_set.labels]
    numbered = tuple(map(numbered_class, range(outputs)))
    same = weights.outputs == outputs and (not theirs or video_set.regression or video_set.labels == numbered)
    return list(range(outputs)) if same else None


def check_classes(train_set: VideoSet) -> None:
    """Raises VideoMambaError when the folder of a class holds no training videos."""
    for file in train_set.ignored:
        if file.empty_class:
            raise VideoMambaError(str(file))


def describe_set(video_set: VideoSet) -> str:
    """ "8 videos of 2 classes"."""
    if video_set.task not in ("classification", "regression"):
        return counted(len({record.path for record in video_set.records}), "video")
    what = "numbers" if video_set.regression else counted(len(video_set.labels), "class", "classes")
    return f"{counted(len({record.path for record in video_set.records}), 'video')} of {what}"


FREE = (
    *("preset", "eval", "run", "clip.clip_seconds", "data.root", "data.workers", "data.on_error"),
    *("images.root", "images.workers", "images.on_error"),
    *("teacher.cache", "teacher.weights"),
)
"""Settings that a resumed run may change, because they change no weight; seed and precision are not among them.

A teacher is known by its content, wherever its file is (`teachers.prepare_teacher`)."""


def check_resumed(config: Settings, video_set: VideoSet, state: RunState, path: Path) -> None:
    """Raises VideoMambaError when the checkpoint `state` at `path` is not of the run of `config` on `video_set`."""
    check_same_data(video_set, state.data, path)
    check_same_run(config, state.config, path)


def check_same_run(config: Settings, stored: str, path: Path) -> None:
    """Raises VideoMambaError naming the first key in which `config` and the stored YAML describe different runs."""
    ours, theirs = (_flat(yaml.safe_load(text)) for text in (to_yaml(config), stored))
    for run in (ours, theirs):  # cached frames have other pixels than decoded ones, in any folder
        for key in ("data.cache", "images.cache"):
            run[key] = "a folder" if run.get(key) else None
    for key in [*ours, *(key for key in theirs if key not in ours)]:
        free = any(key == name or key.startswith(name + ".") for name in FREE)
        if (not free or key in ("run.seed", "run.precision")) and ours.get(key) != theirs.get(key):
            raise VideoMambaError(
                f"{path}: belongs to a run with {key} {theirs.get(key)}, not {ours.get(key)}; choose another folder, "
                "the same settings to resume it, or --fresh to replace it"
            )


def check_same_data(video_set: VideoSet, before: Mapping[str, object], path: Path) -> None:
    """Raises VideoMambaError when `before`, the `facts` of a run, are of other data. Videos may be moved or repaired."""
    if different := difference(video_set, before):
        raise VideoMambaError(
            f"{path}: belongs to a run of {different}; choose another folder, the same data to resume it, or --fresh to "
            "replace it"
        )


def _flat(tree: object, prefix: str = "") -> dict[str, object]:
    if not isinstance(tree, dict):
        return {prefix: tree}
    found: dict[str, object] = {}
    for key, value in tree.items():
        found |= _flat(value, f"{prefix}.{key}" if prefix else str(key))
    return found
