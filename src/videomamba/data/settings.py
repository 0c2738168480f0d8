"""The settings of data: the place and format of a data set, the augmentation of clips, masks, the loading."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator, Field

from videomamba.schema import Settings, Symmetries, VideoMambaError, nearest_name

ClassFormat = Literal[
    "folder", "list", "kinetics", "ssv2", "ssv2_frames", "breakfast", "coin", "lvu", "imagenet", "synthetic"
]
"""The formats of videos with classes or numbers."""
TextFormat = Literal["captions", "msrvtt", "didemo", "activitynet", "lsmdc", "msvd"]
"""The formats of videos with texts."""
Format = Literal["auto", ClassFormat, TextFormat]
TextTask = Literal["captions", "questions", "choices"]
LvuTask = Literal[
    "relationship", "way_speaking", "scene", "director", "genre", "writer", "year", "like_ratio", "view_count"
]

MaskName = Literal["random", "tube", "clip-row", "frame-row", "attention"]

_MASK_ALIASES: dict[str, MaskName] = {"random-row": "clip-row", "tube-row": "frame-row"}
"""The names of the original, whose "tube_row" draws other rows at each time step."""


def mask_name(text: str) -> MaskName:
    """The mask called `text`: a name of the paper or of the original's options, with "-" or "_".

    Raises VideoMambaError naming the nearest one.
    """
    written = text.strip().lower().replace("_", "-")
    names: tuple[MaskName, ...] = get_args(MaskName)
    found = next((name for name in names if name == _MASK_ALIASES.get(written, written)), None)
    if found is None:
        advice = nearest_name(written, (*names, *_MASK_ALIASES), otherwise=f"choose one of {', '.join(names)}")
        raise VideoMambaError(f"mask {text!r}: unknown; {advice}")
    return found


def _named(value: object) -> object:
    try:
        return mask_name(value) if isinstance(value, str) else value
    except VideoMambaError as error:
        raise ValueError(str(error).partition("; ")[2]) from None


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


class TextDataSettings(DataSettings):
    """Where videos or images with texts are and how they are read. See `data.sets.texts`."""

    also: tuple[Path, ...] = Field(default=(), description="further training lists, joined to train")
    captions: Literal["each", "paragraph"] = Field(
        default="each",
        description="several captions of a video: each describes it, or together they are one paragraph, as in DiDeMo and "
        "ActivityNet",
    )
    first_seconds: float | None = Field(default=None, gt=0, description="use only this many seconds of each video")
    clean: bool = Field(
        default=True,
        description="clean texts (lower case, no punctuation), as the released weights expect; off: as they are",
    )


class Augmentation(Settings):
    """How clips are changed in training, in this order. Each random value is drawn once per clip, for all its frames.

    Source: the recipes of the original (its section names and defaults), arXiv 1909.13719 for RandAugment, 1708.04896 for
    erasing, 1710.09412 for mixup, 1905.04899 for cutmix.
    """

    repeats: int = Field(default=1, ge=1, description="clips from each decoded video, with different random changes")
    sample_repeats: int = Field(default=1, ge=1, description="repeats each sample; the epoch length is unchanged")
    auto_augment: str = Field(default="", description="rand-m7-n4-mstd0.5-inc1 or similar, v0 (AutoAugment), or empty")
    before_crop: bool = Field(default=True, description="auto_augment before the crop, as in the original; off: faster")
    frames: Literal["random", "middle"] = Field(
        default="random", description="random: other frames of the video in each epoch; middle: those of the test clip"
    )
    crop: Literal["area", "shift", "multiscale", "centre"] = Field(
        default="area",
        description="area: random resized crop; shift: the crop of testing at a random position; multiscale: one of 10 sizes "
        "at one of 13 places, as in masked pretraining; centre: the crop of testing",
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

    def fixed(self, symmetries: Symmetries) -> bool:
        """Whether a clip of a video with these `symmetries` is the same in every epoch, because no random choice is left.

        Then all `repeats` of a video are one clip, and what a frozen network computes from it can be kept.
        """
        turned = self.flip == "on" or (self.flip == "auto" and symmetries.mirror is not None)
        changed = self.auto_augment or self.flip_vertical or self.reverse or self.color_jitter or self.erase
        mixed = (self.mixup or self.cutmix) and self.mix_probability
        return (self.frames, self.crop) == ("middle", "centre") and not (turned or changed or mixed)


class MaskSettings(Settings):
    """Which patches masked pretraining hides from the network. The class token is always visible.

    Source: arXiv 2403.06977; the defaults are those of its runs.
    """

    name: Annotated[MaskName, BeforeValidator(_named)] = Field(
        default="attention",
        description="random: patches of the clip; tube: the same places in all frames; clip-row: rows of the clip; frame-row: "
        "rows of each frame; attention: in each frame, seldom those that the teacher attends to",
    )
    ratio: float = Field(default=0.8, ge=0, lt=1, description="share of the patches that is hidden")
