"""The settings of data: where a data set is and in which format, how clips are augmented, how they are loaded."""

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
    """Where a data set is and how it is read."""

    root: Path | None = Field(default=None, description="folder of the data set; paths in lists are relative to it")
    format: Format = Field(
        default="auto", description="layout of the data set; auto: a folder for each class, or lists"
    )
    train: Path | None = Field(default=None, description="list of the training videos; default: that of the format")
    val: Path | None = Field(default=None, description="list of the validation videos, which choose the best weights")
    test: Path | None = Field(default=None, description="list of the test videos; default: those of val")
    labels: Path | None = Field(default=None, description="class names, one a line, in index order")
    val_fraction: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        description="share of each class held out for validation, if there is no validation split",
    )
    split_seed: int = Field(default=0, description="chooses which videos are held out")
    task: LvuTask | None = Field(default=None, description="which of the nine tasks of LVU")
    window: float | None = Field(default=None, gt=0, description="cut videos into windows of so many seconds")
    stride: float = Field(default=16.0, gt=0, description="seconds from the start of a window to the start of the next")
    frame_name: str = Field(
        default="img_{:05}.jpg", description="names of the files in a folder of frames, numbered from 1"
    )
    on_error: Literal["stop", "skip"] = Field(
        default="stop", description="a video that cannot be read stops the run, or is skipped, counted and listed"
    )
    workers: int = Field(default=1, ge=0, description="processes that decode videos; 0: the training process does it")
    cache: Path | None = Field(
        default=None, description="folder for decoded frames, so that every video is decoded only once"
    )
    cache_frames: int = Field(default=32, ge=1, description="frames of each video in the cache, evenly spread")
    cache_size: int = Field(default=256, ge=16, description="short side of the cached frames in pixels")


class Augmentation(Settings):
    """How clips are changed in training, in this order. Everything random is drawn once for a clip, the same for all frames.

    Source: the recipes of the original (its section names and defaults), arXiv 1909.13719 for RandAugment, 1708.04896 for
    erasing, 1710.09412 for mixup, 1905.04899 for cutmix.
    """

    repeats: int = Field(
        default=1, ge=1, description="clips made from each decoded video, each with its own random changes"
    )
    sample_repeats: int = Field(default=1, ge=1, description="repeats each sample; the epoch length is unchanged")
    auto_augment: str = Field(
        default="", description="a policy such as rand-m7-n4-mstd0.5-inc1, v0 (AutoAugment), or empty for none"
    )
    before_crop: bool = Field(
        default=True,
        description="apply auto_augment at the full size, as in the original; off: after the crop, which is faster",
    )
    crop: Literal["area", "shift"] = Field(
        default="area", description="area: random resized crop; shift: the crop of testing at a random position"
    )
    crop_area: tuple[float, float] = Field(
        default=(0.08, 1.0), description="share of the picture, uniform between the two"
    )
    crop_aspect: tuple[float, float] = Field(
        default=(0.75, 4 / 3), description="width / height, log-uniform between the two"
    )
    flip: Literal["auto", "on", "off"] = Field(
        default="auto", description="mirror half of the clips; auto: only if the class of a mirrored video is known"
    )
    flip_vertical: bool = Field(
        default=False, description="turn half upside down; the data set must know their new class"
    )
    reverse: bool = Field(
        default=False, description="run half backwards in time; the data set must know their new class"
    )
    symmetries_from: int = Field(
        default=0,
        ge=0,
        description="first epoch with flips and reversals, with which training from scratch starts more slowly",
    )
    color_jitter: float = Field(default=0.0, ge=0, description="strength of random brightness, contrast and saturation")
    erase: float = Field(default=0.0, ge=0, le=1, description="probability that a box is replaced by noise")
    mixup: float = Field(default=0.0, ge=0, description="alpha of the beta distribution; 0: off")
    cutmix: float = Field(default=0.0, ge=0, description="alpha of the beta distribution; 0: off")
    mix_probability: float = Field(default=1.0, ge=0, le=1, description="probability that a batch is mixed")
    mix_switch: float = Field(default=0.5, ge=0, le=1, description="probability of cutmix, if mixup is on as well")
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="probability spread over all classes")

    def of_epoch(self, epoch: int) -> Augmentation:
        """These settings as they are in `epoch`, counted from 0."""
        if epoch >= self.symmetries_from:
            return self
        return self.model_copy(update={"flip": "off", "flip_vertical": False, "reverse": False})
