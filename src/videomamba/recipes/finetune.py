"""Fine-tuning on a small data set: chooses first weights, length and rates, trains, and writes model and report."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from videomamba.data.loading.order import steps_per_epoch
from videomamba.data.sets.annotations import read_dataset
from videomamba.data.settings import Augmentation, DataSettings
from videomamba.evaluation.results import RegressionResult, describe_protocol
from videomamba.files import write_atomically
from videomamba.recipes.bundles import STARTED_FROM, described_past
from videomamba.recipes.config import Evaluation, ModelSettings, TrainConfig
from videomamba.recipes.start import check_classes
from videomamba.recipes.supervised import Counter, silent, train_and_evaluate
from videomamba.recipes.testing import Result
from videomamba.schema import VideoMambaError, VideoSet, Views, WeightsError, counted
from videomamba.training.folder import CONFIG, MODEL, REPORT
from videomamba.training.settings import Optimisation, Run
from videomamba.training.tracking import read_metrics
from videomamba.weights.bundle import read_bundle_metadata
from videomamba.weights.pretrained import Pretrained, open_pretrained
from videomamba.weights.released import ACTIONS_MODEL
from videomamba.weights.zoo import find_weights, resolve_weights, zoo_entry, zoo_names

PREFERRED = {"cpu": "videomamba_tiny_k400_f8_224", "gpu": "videomamba_small_k400_f16_224"}
"""The released weights to start from: on a CPU a step of the small network would take minutes."""

VIDEOS, REPEATS = 8, 2
"""Videos in a step, and clips of each."""
MICRO_BATCH = 2
"""Videos in one forward pass of a released network, which is much larger than the packaged one."""
CLIPS_SEEN = 6_000
"""The approximate number of clips in a run of FEWEST to MOST epochs."""
FEWEST, MOST = 10, 100
CACHED = 2_000
"""The largest data set that is decoded once and cached."""


@dataclass(frozen=True)
class Plan:
    """The settings of a run, and `reasons`, a line for each finding and choice."""

    config: TrainConfig
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Finetuned:
    """A fine-tuned network: the bundle `model`, the page `report`, the `settings` of the run, and its `result`."""

    model: Path
    report: Path
    settings: Path
    result: Result

    def as_dict(self) -> dict[str, object]:
        """The JSON form: paths, and the numbers of the result."""
        paths = {"model": str(self.model), "report": str(self.report), "config": str(self.settings)}
        return {**paths, **self.result.as_dict()}


def finetune(
    folder: str | Path,
    out: str | Path | None = None,
    *,
    weights: str | None = None,
    epochs: int | None = None,
    seed: int = 0,
    device: str = "auto",
    fresh: bool = False,
    notify: Callable[[str], None] = silent,
    counter: Counter | None = None,
) -> Finetuned:
    """Fine-tunes on the data set in `folder`: chooses settings, trains, evaluates, writes model.safetensors and report.html.

    `out` is runs/finetune/<name of the folder> by default; an interrupted run in it is resumed, and `fresh` replaces it.
    `weights` is a zoo name or a weights file, by default the best that can be found; `epochs` by default depends on the size
    of the data. `notify` gets each finding and choice as a line, `counter` shows progress (`supervised.Counter`). Raises
    VideoMambaError as `plan` and `classify.train` do, and for an `out` within `folder`.
    """
    from videomamba.evaluation.report import (  # without matplotlib fails now, not after the training
        facts_of_run,
        write_report,
    )

    if epochs is not None and epochs < 1:
        raise VideoMambaError(f"epochs {epochs}: give at least 1")
    if seed < 0:
        raise VideoMambaError(f"seed {seed}: give 0 or more")
    folder, name = Path(folder), Path(folder).absolute().name
    out = Path("runs/finetune") / name if out is None else Path(out)
    if out.resolve().is_relative_to(folder.resolve()):
        raise VideoMambaError(
            f"{out}: lies in the data set {folder}, whose folders are classes; give --out another folder"
        )
    planned = plan(folder, out, weights=weights, epochs=epochs, seed=seed, device=device)
    for reason in planned.reasons:
        notify(reason)
    started, resumed = time.monotonic(), (out / CONFIG).exists() and not fresh
    measured = train_and_evaluate(planned.config, fresh=fresh, notify=notify, counter=counter)
    facts = facts_of_run(time.monotonic() - started)
    if resumed:
        facts["duration"] += ", since the run was resumed"
    info = read_bundle_metadata(measured.weights).info
    if STARTED_FROM in info:
        facts["trained by"] = described_past(info)
    chosen = "best of the validation split" if planned.config.eval.weights == "best" else "last of the run"
    model, report = out / MODEL, out / REPORT
    write_atomically(model, lambda target: shutil.copyfile(measured.weights, target))
    write_report(
        report,
        title=f"Fine-tuned on {name}",
        config=planned.config.model_dump(mode="json"),
        result=measured.result,
        history=read_metrics(out),
        curves=describe_protocol(
            planned.config.clip, Views(), regression=isinstance(measured.result, RegressionResult)
        ),
        skipped=tuple(measured.progress.failed_videos.items()),
        note="; ".join(planned.reasons),
        facts={**facts, "weights": f"{model.name}, the {chosen}"},
    )
    return Finetuned(model, report, out / CONFIG, measured.result)


def plan(
    folder: Path,
    out: Path,
    *,
    weights: str | None = None,
    epochs: int | None = None,
    seed: int = 0,
    device: str = "auto",
) -> Plan:
    """The run by which `finetune` trains on `folder`: a folder for each class, lists, or any format known by its files.

    Raises VideoMambaError for a data set that cannot be read or has a single class, and for weights that cannot be found.
    """
    data = DataSettings(root=folder, on_error="skip")
    train_set, val_set, test_set = (read_dataset(data, split) for split in ("train", "val", "test"))
    check_classes(train_set)
    if len(train_set.labels) == 1:
        raise VideoMambaError(f"{folder}: has only the class {train_set.labels[0]}; training needs two or more")
    name, reason = choose_weights(device) if weights is None else (weights, f"weights: {weights}, your choice")
    opened = open_pretrained(name, needs_head=False)
    if opened.assumed:
        reason = f"{reason}; {opened.assumed}"
    packaged = name == ACTIONS_MODEL

    videos = min(VIDEOS, len(train_set))
    wanted = round(CLIPS_SEEN / (REPEATS * len(train_set)))
    epochs = epochs or min(max(wanted, FEWEST), MOST)
    side = round(min(opened.preprocess.image_size) / opened.preprocess.crop_ratio * 1.15)
    if len(train_set) <= CACHED:
        cached = {"cache": out / "cache", "cache_size": side, "cache_frames": 4 * opened.preprocess.num_frames}
        data = data.model_copy(update=cached)
    held_out = test_set.records == val_set.records  # without a test split of its own
    config = TrainConfig(
        model=_network(opened, name),
        clip=opened.preprocess.model_copy(update={"clip_seconds": None}),  # the training measures its own videos
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
        # The videos of the final accuracy do not choose the weights.
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
    """(zoo name, reason): released Kinetics weights on this machine or that can be fetched, else the packaged network."""
    gpu = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    preferred = PREFERRED["gpu" if gpu else "cpu"]
    kinetics = [name for name in zoo_names() if zoo_entry(name).kind == "video" and "_k400_" in name]
    for name in (preferred, *kinetics):
        if find_weights(name) is not None:
            return name, f"weights: {name}, the best released ones on this machine"
    try:
        resolve_weights(preferred)
    except WeightsError as error:
        why = f"the network of this package, as no released ones are available: {error}"
        return ACTIONS_MODEL, f"weights: {ACTIONS_MODEL}, {why}"
    return preferred, f"weights: {preferred}, fetched"


def _network(opened: Pretrained, name: str) -> ModelSettings:
    """The settings that build the network of a weights file."""
    config = opened.model.config
    known = {field: getattr(config, field) for field in ModelSettings.model_fields if hasattr(config, field)}
    return ModelSettings.model_validate({**known, "name": None, "weights": name, "drop_path": 0.1})


def _found(train_set: VideoSet, val_set: VideoSet, test_set: VideoSet, *, held_out: bool) -> str:
    kind = "numbers to estimate" if train_set.regression else counted(len(train_set.labels), "class", "classes")
    flips = "" if train_set.symmetries.mirror is not None else "; no mirroring, as left and right matter in the classes"
    tested = f"{len(val_set)} held out to test" if held_out else f"{len(val_set)} to validate, {len(test_set)} to test"
    return f"data: {kind}, {counted(len(train_set), 'video')} to train, {tested}{flips}"


def _length(config: TrainConfig, train_set: VideoSet) -> str:
    steps = config.optim.epochs * steps_per_epoch(len(train_set), config.optim.batch_size)
    clips = steps * min(len(train_set), config.optim.batch_size) * config.augment.repeats
    return f"training: {counted(config.optim.epochs, 'epoch')}, {clips} clips of {config.clip.num_frames} frames"
