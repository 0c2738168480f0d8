"""Settings for a small data set of one's own: which weights to begin with, how long, how gently."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from videomamba.data.sets.annotations import read_dataset
from videomamba.data.sets.durations import usual_clip_seconds
from videomamba.data.settings import Augmentation, DataSettings
from videomamba.recipes.config import Evaluation, ModelSettings, TrainConfig
from videomamba.schema import VideoMambaError, VideoSet, WeightsError
from videomamba.training.settings import Optimisation, Run
from videomamba.weights.pretrained import Pretrained, open_pretrained
from videomamba.weights.zoo import find_weights, resolve_weights, zoo_entry, zoo_names

PACKAGED = "videomamba_micro_synthetic"
PREFERRED = {"cpu": "videomamba_tiny_k400_f8_224", "gpu": "videomamba_small_k400_f16_224"}
"""The released weights to begin with, by the machine: on a CPU a step of the small ones would take minutes."""

VIDEOS, REPEATS = 8, 2
"""Of one step: videos, and clips of each."""
MICRO_BATCH = 2
"""Videos in one forward pass of a released network, which is far larger than the packaged one."""
CLIPS_SEEN = 6_000
"""Clips that a run looks at, about; and no fewer epochs than FEWEST, no more than MOST."""
FEWEST, MOST = 10, 100
CACHED = 2_000
"""Data sets of no more videos than this are decoded once and kept."""


@dataclass(frozen=True)
class Plan:
    """The settings of a run, and in one line each what was found and chosen."""

    config: TrainConfig
    reasons: tuple[str, ...]


def plan(
    folder: Path,
    out: Path,
    *,
    weights: str | None = None,
    epochs: int | None = None,
    seed: int = 0,
    device: str = "auto",
) -> Plan:
    """What `videomamba finetune` does with the data set in `folder`: a folder per class, lists, any format that is told
    from its files.

    Raises VideoMambaError for a data set that cannot be read, has a single class, or weights that are not there.
    """
    data = DataSettings(root=folder, on_error="skip")
    train_set, val_set, test_set = (read_dataset(data, split) for split in ("train", "val", "test"))
    if len(train_set.labels) == 1:
        raise VideoMambaError(f"{folder}: has one class, {train_set.labels[0]}; a network needs two to tell apart")
    name, reason = choose_weights(device) if weights is None else (weights, f"weights: {weights}, as asked")
    opened = open_pretrained(name, needs_head=False)
    packaged = name == PACKAGED

    videos = min(VIDEOS, len(train_set))
    wanted = round(CLIPS_SEEN / (REPEATS * len(train_set)))
    epochs = epochs or min(max(wanted, FEWEST), MOST)
    side = round(min(opened.preprocess.image_size) / opened.preprocess.crop_ratio * 1.15)
    if len(train_set) <= CACHED:
        data = data.model_copy(
            update={"cache": out / "cache", "cache_size": side, "cache_frames": 4 * opened.preprocess.num_frames}
        )
    held_out = test_set.records == val_set.records  # there is no test split of its own
    covered = usual_clip_seconds(opened.preprocess, train_set.records)
    config = TrainConfig(
        model=_network(opened, name),
        clip=opened.preprocess.model_copy(update={"clip_seconds": covered}),
        data=data,
        augment=Augmentation(
            repeats=REPEATS,
            crop_area=(0.5, 1.0),
            crop_aspect=(0.8, 1.25),
            color_jitter=0.3,
            erase=0.1,
            label_smoothing=0.0 if train_set.regression else 0.1,
        ),
        optim=Optimisation(
            epochs=epochs,
            batch_size=videos,
            lr=1e-3 if packaged else 2e-4,
            lr_reference=0,
            min_lr=1e-6,
            warmup_lr=1e-6,
            warmup_epochs=0.1 * epochs,
            weight_decay=0.05,
            layer_decay=1.0 if packaged else 0.75,
            clip_grad=1.0,
        ),
        # The videos that the accuracy is measured on do not choose the weights.
        eval=Evaluation(views="2x3", weights="last" if held_out else "best"),
        run=Run(
            out=out,
            seed=seed,
            device=device,
            precision="bf16",
            micro_batch=None if packaged or videos % MICRO_BATCH else MICRO_BATCH,
            evaluate_every=max(1, epochs // 10),
        ),
    )
    return Plan(config, (_found(train_set, val_set, test_set, held_out=held_out), reason, _length(config, train_set)))


def choose_weights(device: str) -> tuple[str, str]:
    """(zoo name, why): released Kinetics weights that are on this machine or can be fetched, else the packaged network."""
    preferred = PREFERRED[
        "gpu" if device.startswith("cuda") or (device == "auto" and torch.cuda.is_available()) else "cpu"
    ]
    kinetics = [name for name in zoo_names() if zoo_entry(name).kind == "video" and "_k400_" in name]
    for name in (preferred, *kinetics):
        if find_weights(name) is not None:
            return name, f"weights: {name}, the released ones on this machine that fit best"
    try:
        resolve_weights(preferred)
    except WeightsError as error:
        return (
            PACKAGED,
            f"weights: {PACKAGED}, the small network of this package, because there are no released ones: {error}",
        )
    return preferred, f"weights: {preferred}, fetched"


def _network(opened: Pretrained, name: str) -> ModelSettings:
    """The settings that build the network of a weights file."""
    config = opened.model.config
    known = {field: getattr(config, field) for field in ModelSettings.model_fields if hasattr(config, field)}
    return ModelSettings.model_validate({**known, "weights": name, "drop_path": 0.1})


def _found(train_set: VideoSet, val_set: VideoSet, test_set: VideoSet, *, held_out: bool) -> str:
    kind = "numbers to estimate" if train_set.regression else f"{len(train_set.labels)} classes"
    flips = (
        "" if train_set.symmetries.mirror is not None else "; videos are not mirrored, as left and right matter in them"
    )
    tested = (
        f"{len(val_set)} held out to measure" if held_out else f"{len(val_set)} to validate, {len(test_set)} to test"
    )
    return f"data: {kind}, {len(train_set)} videos to train, {tested}{flips}"


def _length(config: TrainConfig, train_set: VideoSet) -> str:
    clips = config.optim.epochs * len(train_set) * config.augment.repeats
    return f"training: {config.optim.epochs} epochs, {clips} clips of {config.clip.num_frames} frames"
