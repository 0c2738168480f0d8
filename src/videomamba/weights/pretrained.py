"""A checkpoint ready for use: the network with its weights, how its videos are prepared, what its classes are called."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from videomamba.models.config import VideoMambaConfig, make_config
from videomamba.models.videomamba import VideoMamba
from videomamba.schema import Preprocess, WeightsError
from videomamba.weights.load import load_weights
from videomamba.weights.read import Checkpoint, read_checkpoint
from videomamba.weights.released import ZooEntry
from videomamba.weights.zoo import entry_for_file, labels_of, preprocess_of, resolve_weights, zoo_entry, zoo_names

MOST_TOKENS = 4_000_000
"""Of a clip. Far above what fits in memory whole; a larger number is a slip of the hand, not a video."""


@dataclass(frozen=True)
class Pretrained:
    """`labels` is empty where the names of the classes are not known; `views` is the published protocol, clips x crops."""

    path: Path
    model: VideoMamba
    preprocess: Preprocess
    labels: tuple[str, ...]
    views: str
    regression: bool


def open_pretrained(
    name_or_path: str | Path,
    *,
    num_frames: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    needs_head: bool = True,
) -> Pretrained:
    """Opens a zoo name or a checkpoint file: a bundle, or any file of the original's, wrapped or bare.

    Preprocessing and class names are the bundle's, else those of the zoo entry of that name or file name. A file that is in
    neither gets the released models' preprocessing at its own size. `num_frames` and `image_size` (pixels) take the network
    to another length or resolution: its positions are resized.

    Raises WeightsError for a checkpoint that is absent, damaged, incomplete or, where `needs_head`, without a head.
    """
    path = resolve_weights(name_or_path)
    checkpoint = read_checkpoint(path)
    entry = zoo_entry(str(name_or_path)) if str(name_or_path) in zoo_names() else entry_for_file(path)
    config = checkpoint.config()
    if needs_head and config.num_classes == 0:
        raise WeightsError(f"{path}: has no classification head, so there is nothing to predict; fine-tune it first")
    preprocess = _preprocess(checkpoint, entry, config)
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    shape = {
        "num_frames": preprocess.num_frames if num_frames is None else num_frames,
        "image_size": preprocess.image_size if size is None else size,
    }
    try:
        config = make_config({**config.model_dump(), **shape})
    except ValueError as error:
        raise WeightsError(f"{path}: {error}") from None
    frames, rows, columns = config.grid
    if frames * rows * columns > MOST_TOKENS:
        raise WeightsError(
            f"{path}: {config.num_frames} frames of {config.image_size[0]}x{config.image_size[1]} pixels are "
            f"{frames * rows * columns} tokens, more than {MOST_TOKENS}; take fewer frames or a smaller size"
        )
    model = VideoMamba(config)
    load_weights(model, checkpoint)
    return Pretrained(
        path,
        model,
        Preprocess.model_validate({**preprocess.model_dump(), **shape}),
        _labels(checkpoint, entry),
        "1x1" if entry is None else f"{entry.clips}x{entry.crops}",
        checkpoint.bundle is not None and checkpoint.bundle.info.get("task") == "regression",
    )


def _preprocess(checkpoint: Checkpoint, entry: ZooEntry | None, config: VideoMambaConfig) -> Preprocess:
    if checkpoint.bundle is not None:
        return checkpoint.bundle.preprocess
    if entry is not None:
        return preprocess_of(entry)
    size = {"num_frames": config.num_frames, "image_size": config.image_size}
    image = {"interpolation": "bicubic", "crop_ratio": 0.875, "antialias": True}
    return Preprocess.model_validate({**size, **(image if config.num_frames == 1 else {"antialias": False})})


def _labels(checkpoint: Checkpoint, entry: ZooEntry | None) -> tuple[str, ...]:
    if checkpoint.bundle is not None:
        return checkpoint.bundle.labels
    return () if entry is None else labels_of(entry)
