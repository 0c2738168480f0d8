"""The settings of training on videos and texts as one record. --print-config prints all that a YAML file may have."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from videomamba.data.settings import MaskSettings, TextDataSettings
from videomamba.models.config import VideoMambaConfig
from videomamba.models.registry import build_config
from videomamba.recipes.config import RecipeConfig, TeacherSettings, check_recipe
from videomamba.recipes.pretrain_config import Alignment, check_alignment
from videomamba.schema import Settings, VideoMambaError
from videomamba.training.settings import Run

NO_VOCABULARY = (
    "text.weights: missing; name a BERT such as bert-base-uncased, or learn a vocabulary from the captions with "
    "text.learn_vocabulary 8000"
)


class TextSettings(Settings):
    """The text tower, its first weights and its vocabulary. With a video-text model as model.weights all are those of it."""

    weights: str | None = Field(
        default=None, description="BERT of transformers to start from (name or folder); null: random weights"
    )
    vocabulary: str | None = Field(
        default=None,
        description="vocab.txt, tokenizer.json, their folder, or a BERT's name; null: that of text.weights",
    )
    learn_vocabulary: int | None = Field(
        default=None, ge=16, description="learn a vocabulary of at most this size from the training captions"
    )
    max_length: int = Field(default=32, ge=3, description="most tokens of a text; longer ones are cut")
    dim: int | None = Field(default=None, ge=1, description="width; null: that of the weights, or 768")
    depth: int | None = Field(default=None, ge=1, description="number of layers; null: that of the weights, or 12")
    heads: int | None = Field(
        default=None, ge=1, description="heads of attention; null: those of the weights, or dim / 64"
    )
    hidden_dim: int | None = Field(
        default=None, ge=1, description="width inside the MLP; null: that of the weights, or 4 x dim"
    )
    fusion_from: int | None = Field(
        default=None,
        ge=0,
        description="first layer that reads the video; null: that of the weights, or 3/4 of the depth",
    )
    dropout: float = Field(default=0.1, ge=0, lt=1, description="in all layers of the text tower")
    embed_dim: int = Field(default=512, ge=1, description="width of the space that videos and texts share")
    pool: Literal["cls+avg", "cls", "avg"] = Field(
        default="cls+avg", description="the vector of a frame: class token, mean of its patches, or their sum"
    )


class Objectives(Settings):
    """The loss of a pair is the sum of four losses, each with its weight; 0 leaves one out.

    Sources: arXiv 2107.07651 (the first three), 2303.16058 (the fourth).
    """

    contrastive: float = Field(default=1.0, gt=0, description="a video and its text among all of a forward pass")
    matching: float = Field(default=1.0, ge=0, description="whether a text belongs to a video, with wrong pairs")
    words: float = Field(default=1.0, ge=0, description="masked words of the text, from the others and the video")
    align: float = Field(default=0.0, ge=0, description="video tokens like those of the teacher; needs one")
    word_mask: float = Field(default=0.5, gt=0, le=1, description="share of the words that is masked")
    hard_negatives: bool = Field(
        default=True, description="wrong pairs for matching are likely where they are similar; off: uniformly random"
    )
    negatives: int | None = Field(
        default=None,
        ge=2,
        description="draw wrong pairs among so many consecutive videos; null: all of a forward pass in one process",
    )
    same_caption: bool = Field(
        default=True, description="equal captions of different videos count as right; off: only pairs of one file"
    )
    per_frame: bool = Field(
        default=True, description="compare a text with each frame, where masks allow it; off: with the clip as a whole"
    )
    official_scale: bool = Field(
        default=False, description="gradients of the contrastive loss divided by the processes, as in the original"
    )


class VideoTextTrainConfig(RecipeConfig):
    """One run on pairs of videos, or pictures and videos, with texts."""

    data: TextDataSettings = TextDataSettings()
    images: TextDataSettings = TextDataSettings()
    text: TextSettings = TextSettings()
    objectives: Objectives = Objectives()
    mask: MaskSettings = MaskSettings(ratio=0.0)
    image_mask: MaskSettings = MaskSettings(ratio=0.0)
    teacher: TeacherSettings = TeacherSettings()
    align: Alignment = Alignment()
    run: Run = Run(out=Path("runs/text"))

    def video(self) -> VideoMambaConfig:
        """The config of the video tower. Raises ValueError where model and clip do not make one."""
        return build_config(self.model.name, {**self.network(), "num_classes": 0})

    @property
    def with_images(self) -> bool:
        return self.images.root is not None or self.images.train is not None

    def of_images(self) -> VideoTextTrainConfig:
        """These settings for the pictures: their data and mask, clips of one frame."""
        clip = self.clip.model_copy(update={"num_frames": 1, "clip_seconds": None})
        return self.model_copy(update={"clip": clip, "data": self.images, "mask": self.image_mask})


def describe(config: VideoTextTrainConfig) -> dict[str, object]:
    """What a bundle says of the training besides teacher and data."""
    found: dict[str, object] = {"task": "video and text", "objectives": config.objectives.model_dump()}
    masks = {"mask": config.mask, "image_mask": config.image_mask}
    found |= {key: mask.model_dump() for key, mask in masks.items() if mask.ratio}
    return found | ({"align": config.align.model_dump()} if config.objectives.align else {})


def check_video_text(config: VideoTextTrainConfig) -> None:
    """Raises VideoMambaError, naming the key, where the sections do not fit together. It reads no file."""
    from videomamba.data.clips.masks import visible_count  # with PyTorch, which printing a config does not need

    check_recipe(config)
    video, objectives, text = config.video(), config.objectives, config.text
    masks = {"mask": (config.mask, video.grid)}
    if config.with_images:
        masks["image_mask"] = (config.image_mask, (1, *video.grid[1:]))
    for key, (mask, grid) in masks.items():
        try:
            visible_count(mask.name, grid, mask.ratio)
        except VideoMambaError as error:
            raise VideoMambaError(str(error).replace("mask.", f"{key}.", 1)) from None
    if video.num_registers:
        raise VideoMambaError("model.num_registers: a video tower beside a text tower has no registers; set it to 0")
    _check_teacher(config, [key for key, (mask, _) in masks.items() if mask.ratio and mask.name == "attention"])
    if text.learn_vocabulary is not None:
        for key in ("weights", "vocabulary"):
            if getattr(text, key) is not None:
                raise VideoMambaError(
                    f"text.learn_vocabulary: text.{key} {getattr(text, key)} has a vocabulary; give one of the two"
                )
    if config.run.strategy == "fsdp":  # which cannot cut the temperature, a single number
        raise VideoMambaError("run.strategy: fsdp is not offered with a text tower; use ddp")
    if config.model.weights is None and (text.weights, text.vocabulary, text.learn_vocabulary) == (None, None, None):
        raise VideoMambaError(NO_VOCABULARY)
    if config.optim.layer_decay < 1:
        raise VideoMambaError("optim.layer_decay: is not offered with a text tower; set it to 1")
    for name in ("mixup", "cutmix", "label_smoothing"):
        if getattr(config.augment, name):
            raise VideoMambaError(f"augment.{name}: changes classes, and captions are none; set it to 0")
    for key, size in (("optim.batch_size", config.optim.batch_size), ("run.micro_batch", config.run.micro_batch)):
        if objectives.negatives and size and size % objectives.negatives:
            raise VideoMambaError(
                f"objectives.negatives: {objectives.negatives} does not divide {key} {size}; change one of them"
            )


def _check_teacher(config: VideoTextTrainConfig, attended: list[str]) -> None:
    weights = config.teacher.weights
    if weights is None:
        if config.objectives.align:
            raise VideoMambaError(
                "teacher.weights: missing, which objectives.align needs; name a CLIP of transformers or a VideoMamba"
            )
        if attended:
            raise VideoMambaError(
                f"{attended[0]}.name: attention is that of a teacher; choose another mask, or give teacher.weights"
            )
        return
    if not config.objectives.align and not attended:
        raise VideoMambaError(
            f"teacher.weights: {weights} would not be used; set objectives.align to 1, or leave the teacher out"
        )
    if config.teacher.cache:
        raise VideoMambaError("teacher.cache: is not offered with texts; set it to false")
    check_alignment(config.align, config.video())
