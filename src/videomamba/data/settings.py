"""The settings of data: the place and format of a data set, the augmentation of clips, the loading."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from videomamba.schema import Settings

Format = Literal[
    "auto", "folder", "list", "kinetics", "ssv2", "ssv2_frames", "breakfast", "coin", "lvu", "imagenet", "synthetic"
]
LvuTask = Literal[
    "relationship", "way_speaking", "scene", "director", "genre", "writer", "year", "like_ratio", "view_count"
]


class DataSettings(Settings):
    """Where a data set is and how it is read."""

    root: Path | None = Field(default=None, description="folder of the data set; paths in lists are relative to it")
    format: Format = Field(default="auto", description="layout of the data set; auto: one folder per class, or lists")
    train: Path | None = Field(default=None, description="list of the training videos; default: the list of the format")
    val: Path | None = Field(default=None, description="list of the validation videos, used to choose the best weights")
    test: Path | None = Field(default=None, description="list of the test videos; default: the list of val")
    labels: Path | None = Field(default=None, description="class names, one per line, in index order")
    val_fraction: float = Field(
        default=0.2, gt=0, lt=1, description="share of each class held out without a validation split"
    )
    split_seed: int = Field(default=0, description="seed for the choice of the held-out videos")
    task: LvuTask | None = Field(default=None, description="which of the nine tasks of LVU")
    window: float | None = Field(default=None, gt=0, description="cut videos into windows of this length in seconds")
    stride: float = Field(default=16.0, gt=0, description="seconds from the start of a window to the start of the next")
    frame_name: str = Field(default="img_{:05}.jpg", description="file names in a folder of frames, numbered from 1")
    on_error: Literal["stop", "skip"] = Field(
        default="stop", description="a video that cannot be read stops the run, or is skipped, counted and listed"
    )
    workers: int = Field(default=1, ge=0, description="processes that decode videos; 0: decode in the training process")
    cache: Path | None = Field(default=None, description="folder for decoded frames: each video is decoded only once")
    cache_frames: int = Field(default=32, ge=1, description="frames of each video in the cache, evenly spread")
    cache_size: int = Field(default=256, ge=16, description="short side of the cached frames in pixels")


class Augmentation(Settings):
    """How clips are changed in training, in this order. Each random value is drawn once per clip, for all its frames.

    Source: the recipes of the original (its section names and defaults), arXiv 1909.13719 for RandAugment, 1708.04896 for
    erasing, 1710.09412 for mixup, 1905.04899 for cutmix.
    """

    repeats: int = Field(default=1, ge=1, description="clips from each decoded video, with different random changes")
    sample_repeats: int = Field(default=1, ge=1, description="repeats each sample; the epoch length is unchanged")
    auto_augment: str = Field(default="", description="rand-m7-n4-mstd0.5-inc1 or similar, v0 (AutoAugment), or empty")
    before_crop: bool = Field(default=True, description="auto_augment before the crop, as in the original; off: faster")
    crop: Literal["area", "shift"] = Field(
        default="area", description="area: random resized crop; shift: the crop of testing at a random position"
    )
    crop_area: tuple[float, float] = Field(default=(0.08, 1.0), description="uniform range of the share of the picture")
    crop_aspect: tuple[float, float] = Field(default=(0.75, 4 / 3), description="log-uniform range of width / height")
    flip: Literal["auto", "on", "off"] = Field(
        default="auto", description="mirror half of the clips; auto: only if the class of a mirrored video is known"
    )
    flip_vertical: bool = Field(default=False, description="turn half of the clips upside down; needs their new class")
    reverse: bool = Field(default=False, description="play half of the clips backwards; needs their new class")
    symmetries_from: int = Field(
        default=0, ge=0, description="first epoch with flips and reversals, which slow the start of training"
    )
    color_jitter: float = Field(default=0.0, ge=0, description="strength of random brightness, contrast and saturation")
    erase: float = Field(default=0.0, ge=0, le=1, description="probability that a box is replaced by noise")
    mixup: float = Field(default=0.0, ge=0, description="alpha of the beta distribution; 0: off")
    cutmix: float = Field(default=0.0, ge=0, description="alpha of the beta distribution; 0: off")
    mix_probability: float = Field(default=1.0, ge=0, le=1, description="probability that a batch is mixed")
    mix_switch: float = Field(default=0.5, ge=0, le=1, description="probability of cutmix, if mixup is also on")
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="probability spread over all classes")

    def of_epoch(self, epoch: int) -> Augmentation:
        """The settings of `epoch`, counted from 0."""
        if epoch >= self.symmetries_from:
            return self
        return self.model_copy(update={"flip": "off", "flip_vertical": False, "reverse": False})
