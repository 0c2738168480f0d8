"""What can be chosen about data: where it lies and in which format, how it is changed while training, how it is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from videomamba.schema import Settings

Format = Literal[
    "auto",
    "folder",
    "list",
    "kinetics",
    "ssv2",
    "ssv2_frames",
    "breakfast",
    "coin",
    "lvu",
    "imagenet",
    "synthetic",
]
LvuTask = Literal[
    "relationship", "way_speaking", "scene", "director", "genre", "writer", "year", "like_ratio", "view_count"
]


class DataSettings(Settings):
    """Where a data set lies and how it is read."""

    root: Path | None = Field(default=None, description="folder of the data set; paths in lists begin here")
    format: Format = Field(default="auto", description="how it is laid out; auto: a folder per class, or lists")
    train: Path | None = Field(
        default=None, description="list of the training videos (format list), else the format's own"
    )
    val: Path | None = Field(default=None, description="list for choosing the best weights while training")
    test: Path | None = Field(default=None, description="list for the final evaluation; default: that of val")
    labels: Path | None = Field(default=None, description="class names, one a line, in index order")
    val_fraction: float = Field(
        default=0.2, gt=0, lt=1, description="share held out of each class where the data set has no validation split"
    )
    split_seed: int = Field(default=0, description="of that split")
    task: LvuTask | None = Field(default=None, description="of LVU")
    window: float | None = Field(default=None, gt=0, description="seconds: cut videos into windows of this length")
    stride: float = Field(default=16.0, gt=0, description="seconds between the starts of windows")
    frame_name: str = Field(default="img_{:05}.jpg", description="of the files in a folder of frames, counted from 1")
    on_error: Literal["stop", "skip"] = Field(
        default="stop", description="a video that cannot be decoded stops the run, or is left out, counted and listed"
    )
    workers: int = Field(default=1, ge=0, description="processes that decode; 0: the training process itself")
    cache: Path | None = Field(
        default=None, description="folder that keeps decoded frames, so that every video is decoded once only"
    )
    cache_frames: int = Field(default=32, ge=1, description="frames kept of each video, evenly spread")
    cache_size: int = Field(default=256, ge=16, description="short side of the kept frames in pixels")


class Augmentation(Settings):
    """How clips are changed while training, in this order. All random draws are made once a clip, for all its frames.

    Source: the recipes of the original (its section names and defaults), arXiv 1909.13719 for RandAugment, 1708.04896 for
    erasing, 1710.09412 for mixup, 1905.04899 for cutmix.
    """

    repeats: int = Field(default=1, ge=1, description="clips made of each decoded video, each changed on its own")
    sample_repeats: int = Field(
        default=1, ge=1, description="times a sample stands in an epoch that is no longer for it"
    )
    auto_augment: str = Field(
        default="", description="rand-m7-n4-mstd0.5-inc1 and the like, v0 (AutoAugment), or nothing"
    )
    before_crop: bool = Field(
        default=True,
        description="auto_augment at the video's own size, as in the original; off: after the crop, faster",
    )
    crop: Literal["area", "shift"] = Field(
        default="area", description="area: random resized crop; shift: the size of testing, at a random place"
    )
    crop_area: tuple[float, float] = Field(default=(0.08, 1.0), description="share of the picture, drawn evenly")
    crop_aspect: tuple[float, float] = Field(default=(0.75, 4 / 3), description="width over height, log-evenly")
    flip: Literal["auto", "on", "off"] = Field(
        default="auto", description="mirror half of the clips; auto: where the data set says what becomes of the class"
    )
    flip_vertical: bool = Field(default=False, description="half upside down, where the data set says the new class")
    reverse: bool = Field(default=False, description="half backwards in time, where the data set says the new class")
    symmetries_from: int = Field(
        default=0,
        ge=0,
        description="first epoch with flips and reversals; a network from scratch learns later with them",
    )
    color_jitter: float = Field(default=0.0, ge=0, description="strength of brightness, contrast, saturation")
    erase: float = Field(default=0.0, ge=0, le=1, description="probability of erasing a box with noise")
    mixup: float = Field(default=0.0, ge=0, description="alpha; 0 is off")
    cutmix: float = Field(default=0.0, ge=0, description="alpha; 0 is off")
    mix_probability: float = Field(default=1.0, ge=0, le=1, description="of a batch being mixed at all")
    mix_switch: float = Field(default=0.5, ge=0, le=1, description="probability of cutmix where both are on")
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)

    def of_epoch(self, epoch: int) -> Augmentation:
        """These settings as they are in `epoch`, counted from 0."""
        if epoch >= self.symmetries_from:
            return self
        return self.model_copy(update={"flip": "off", "flip_vertical": False, "reverse": False})
