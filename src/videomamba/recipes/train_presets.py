"""Every published supervised run as a named config, and the run that makes the packaged weights.

The numbers are those of the original's scripts; the facts of a released file (its first weights, preprocessing, views,
accuracy) are those of the zoo. Where a script is wrong, the preset follows the authors' table and the released file, and has
a note.

The released weights were made with full rate for blocks, nearly frozen embeddings and decayed A_log (both "legacy").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, get_args

from videomamba.data.settings import Augmentation, DataSettings, Format, LvuTask
from videomamba.models.config import ScanOrder
from videomamba.recipes.catalogue import Catalogue, Preset, Published
from videomamba.recipes.config import REGRESSION_TASKS, Evaluation, ModelSettings, TrainConfig
from videomamba.recipes.published import (
    BREAKFAST,
    COIN,
    DATA_NOTES,
    DISTILLED,
    DISTILLED_RUNS,
    FINAL_NORM,
    FRESH_STEPS,
    IN1K,
    K400,
    LVU,
    PER_EPOCH,
    RUN_NOTES,
    SSV2,
    Size,
    VideoRun,
)
from videomamba.schema import Preprocess
from videomamba.training.settings import Optimisation, Run
from videomamba.weights.released import ZooEntry
from videomamba.weights.zoo import zoo_entry


def _presets() -> Iterator[Preset[TrainConfig]]:
    yield from _images()
    for data, rows in (("k400", K400), ("ssv2", SSV2), ("breakfast", BREAKFAST), ("coin", COIN)):
        yield from _videos(data, rows)
    yield from _lvu()
    yield _synthetic()
    yield _camera()


_FORMATS: Mapping[str, Format] = {"k400": "kinetics", "ssv2": "ssv2", "breakfast": "breakfast", "coin": "coin"}
_SOURCE = "arXiv 2403.06977 and the model zoo of its code"


def _videos(data: str, rows: tuple[VideoRun, ...]) -> Iterator[Preset[TrainConfig]]:
    for row in rows:
        mask = row.size == "mask"
        size = "middle" if mask else row.size
        entry = zoo_entry(f"videomamba_{size}_{data}_{'mask_ft_' if mask else ''}f{row.frames}_{row.pixels}")
        resolution = "" if row.pixels == 224 else f"-{row.pixels}"
        name = f"{data}-{size}{'-mask' if mask else ''}-f{row.frames}{resolution}"
        views = f"{entry.clips}x{entry.crops}"
        config = TrainConfig(
            preset=name,
            model=_model(entry, row.drop_path, entry.init),
            clip=_preprocess(entry).model_copy(update={"num_frames": row.frames}),
            data=DataSettings(format=_FORMATS[data]),
            augment=_video_augmentation(row.size, flip="off" if data == "ssv2" else "auto"),
            optim=_video_optimisation(row),
            eval=Evaluation(views=views),
            # Mixing needs a second video in the pass.
            run=Run(out=Path("runs") / name, precision="bf16", micro_batch=max(2, row.videos)),
        )
        notes = DATA_NOTES[data] + ((RUN_NOTES[name],) if name in RUN_NOTES else ())
        if entry.init is not None and zoo_entry(entry.init).kind == "masked":
            notes += (FINAL_NORM,)
        protocol = f"{views} views of every video, mean of their probabilities"
        yield Preset(name, config, Published(top1=entry.top1, protocol=protocol, source=_SOURCE, notes=notes))


def _lvu() -> Iterator[Preset[TrainConfig]]:
    start = zoo_entry("videomamba_tiny_k400_f32_224")
    for task in get_args(LvuTask):
        regression = task in REGRESSION_TASKS
        for window in (None, 60.0):
            name = f"lvu-{task.replace('_', '-')}{'-windows' if window else ''}"
            notes = ["no published number of this run was verified; its authors call LVU small and noisy"]
            if window:
                notes.append("the original scores one arbitrary window of each video; here the mean of all")
            if regression:
                notes.append("the original's regression scripts are swapped, and the one for windows cannot start")
            protocol = "mean squared error of the mean" if regression else "mean of the probabilities"
            config = TrainConfig(
                preset=name,
                model=_model(start, LVU.drop_path, start.name),
                clip=_preprocess(start).model_copy(update={"clip_seconds": window}),
                data=DataSettings(format="lvu", task=task, window=window),
                augment=_video_augmentation(LVU.size, mixing=not regression),
                optim=_video_optimisation(LVU),
                eval=Evaluation(views="4x3"),
                run=Run(out=Path("runs") / name, precision="bf16", micro_batch=LVU.videos),
            )
            where = "4x3 views of every window" if window else "4x3 views of every video"
            published = Published(protocol=f"{where}, {protocol}", source=_SOURCE, notes=tuple(notes))
            yield Preset(name, config, published)


def _images() -> Iterator[Preset[TrainConfig]]:
    for row in IN1K:
        name = f"in1k-{row.size}-{row.pixels}"
        entry = zoo_entry(f"videomamba_{row.size}_in1k_{row.pixels}")
        tiny = row.size == "tiny"
        clip = _preprocess(entry)
        config = TrainConfig(
            preset=name,
            model=_model(entry, row.drop_path, entry.init),
            clip=clip,
            data=DataSettings(format="imagenet"),
            augment=Augmentation(
                sample_repeats=1 if tiny else 3,
                auto_augment="v0" if tiny else "rand-m9-mstd0.5-inc1",
                before_crop=False,
                erase=0.25,
                mixup=0.8,
                cutmix=1.0,
                label_smoothing=0.1,
            ),
            optim=Optimisation(
                epochs=row.epochs,
                batch_size=row.gpus * row.images,
                lr=row.lr,
                min_lr=row.min_lr,
                warmup_lr=row.warmup_lr,
                warmup_epochs=row.warmup,
                lr_reference=512,
                scale_all=False,
                weight_decay=row.weight_decay,
                no_decay="legacy",
                clip_grad=row.clip_grad,
            ),
            run=Run(out=Path("runs") / name, precision="bf16", micro_batch=row.images),
        )
        distilled = name in DISTILLED_RUNS
        notes = (PER_EPOCH, *((DISTILLED.format(name),) if distilled else ()))
        notes += (FRESH_STEPS,) if entry.init is None else ()
        protocol = f"centre crop, shorter side {int(row.pixels / clip.crop_ratio)}"
        top1 = None if distilled else entry.top1
        yield Preset(name, config, Published(top1=top1, protocol=protocol, source=_SOURCE, notes=notes))


def _synthetic() -> Preset[TrainConfig]:
    config = _small(
        "synthetic-actions",
        Preprocess(num_frames=8, image_size=(96, 96), crop_ratio=96 / 112, clip_seconds=2.0),
        depth=5,
        epochs=18,
        batch_size=16,
        symmetries_from=4,
    )
    protocol = "1x1 views of files of unseen seeds"
    notes = ("makes the weights inside this package; nothing is published of it",)
    return Preset(str(config.preset), config, Published(protocol=protocol, source="this package", notes=notes))


def _camera() -> Preset[TrainConfig]:
    config = _small(
        "camera-motion",
        Preprocess(num_frames=16, image_size=(96, 96), crop_ratio=96 / 112, sampling="window", clip_seconds=1.5),
        depth=4,
        # Slow motion is a fraction of a pixel from frame to frame, and two frames in a patch would hide it. Neighbours in the
        # scan are one place at two times: the first convolution already compares them.
        tubelet_size=1,
        scan_order="temporal_first",
        epochs=15,
        batch_size=32,
        symmetries_from=0,
    )
    protocol = "1x1 views of files over photographs and footage that are not in training"
    notes = ("its data are made before by `videomamba synth-camera`, a folder for each split in data.root",)
    return Preset(str(config.preset), config, Published(protocol=protocol, source="this package", notes=notes))


def _small(
    name: str,
    clip: Preprocess,
    *,
    depth: int,
    tubelet_size: int = 2,
    scan_order: ScanOrder = "spatial_first",
    epochs: int,
    batch_size: int,
    symmetries_from: int,
) -> TrainConfig:
    """The run of a network of width 128 on rendered files, whose frames it caches."""
    out = Path("runs") / name
    return TrainConfig(
        preset=name,
        model=ModelSettings(
            name="videomamba_micro",
            depth=depth,
            tubelet_size=tubelet_size,
            scan_order=scan_order,
            pool="mean",
            init="fan_in",
            drop_path=0.0,
        ),
        clip=clip,
        data=DataSettings(format="synthetic", root=out / "data", cache=out / "cache", cache_frames=16, cache_size=112),
        augment=Augmentation(
            crop="shift",
            flip_vertical=True,
            reverse=True,
            symmetries_from=symmetries_from,
            color_jitter=0.15,
            label_smoothing=0.05,
        ),
        optim=Optimisation(
            epochs=epochs,
            batch_size=batch_size,
            lr=1.5e-3,
            lr_reference=0,
            warmup_epochs=0.5,
            betas=(0.9, 0.99),
            clip_grad=1.0,
            ema=0.998,
        ),
        run=Run(out=out, precision="bf16"),
    )


def _model(entry: ZooEntry, drop_path: float, weights: str | None) -> ModelSettings:
    return ModelSettings(name=entry.architecture, weights=weights, drop_path=drop_path)


def _preprocess(entry: ZooEntry) -> Preprocess:
    if entry.preprocess is None:
        raise ValueError(f"{entry.name}: its preprocessing is only in its file")
    return entry.preprocess


def _video_augmentation(size: Size, *, flip: Literal["auto", "off"] = "auto", mixing: bool = True) -> Augmentation:
    policy = "rand-m5-n2-mstd0.25-inc1" if size == "tiny" else "rand-m7-n4-mstd0.5-inc1"
    plain = Augmentation(repeats=2, auto_augment=policy, flip=flip, erase=0.25)
    return plain.model_copy(update={"mixup": 0.8, "cutmix": 1.0, "label_smoothing": 0.1}) if mixing else plain


def _video_optimisation(row: VideoRun) -> Optimisation:
    return Optimisation(
        epochs=row.epochs,
        batch_size=row.gpus * row.videos * row.passes,
        lr=row.lr,
        warmup_epochs=row.warmup,
        weight_decay=row.weight_decay,
        layer_decay=row.layer_decay,
        layer_decay_mode="legacy",
        no_decay="legacy",
    )


TRAIN = Catalogue("train", TrainConfig, _presets, columns={"views": lambda config: config.eval.views})
"""Supervised training."""
