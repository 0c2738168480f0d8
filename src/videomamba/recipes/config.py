"""The settings of a run as one record, a class for each recipe. --print-config prints all that a YAML file may have."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from videomamba.data.settings import Augmentation, DataSettings
from videomamba.models.config import Discretization, ScanOrder
from videomamba.models.registry import ARCHITECTURES, build_config, name_of_size
from videomamba.schema import Preprocess, Settings, VideoMambaError, Views
from videomamba.training.settings import Optimisation, Run

REGRESSION_TASKS = ("like_ratio", "view_count")
"""Tasks of LVU whose target is a number."""


class ModelSettings(Settings):
    """The network and its first weights.

    `name` is the architecture of this width and depth: with another `dim` or `depth` it becomes None and both are stated, so
    that no record gives a network the name of another. Where `name` is given, `dim` and `depth` of None are those of it.
    """

    replaces: ClassVar = {"name": ("dim", "depth")}

    name: str | None = Field(
        default="videomamba_tiny", description="architecture; `videomamba.list_models()`; null: of dim and depth"
    )
    weights: str | None = Field(default=None, description="zoo name or weights file to start from")
    final_norm: Literal["file", "legacy"] = Field(
        default="file", description="after masked pretraining; file: that of the weights; legacy: 1, as in the original"
    )
    drop_path: float = Field(default=0.1, ge=0, lt=1, description="probability that the last block is skipped")
    head_dropout: float = Field(default=0.0, ge=0, lt=1, description="on the feature that the head reads")
    scan_order: ScanOrder = Field(default="spatial_first", description="order in which the patches are read")
    discretization: Discretization = Field(default="euler", description="euler: released weights; zoh: paper's formula")
    merge: Literal["sum", "mean"] = Field(default="sum", description="how the two directions are joined")
    pool: Literal["cls", "mean"] = Field(default="cls", description="input of the head: class token or mean patch")
    init: Literal["paper", "fan_in"] = Field(
        default="paper", description="fresh weights; paper: std 0.02; fan_in: by width, for narrow networks"
    )
    tubelet_size: int = Field(default=1, ge=1, description="frames in one patch")
    patch_size: int = Field(default=16, ge=1, description="side of a patch in pixels")
    num_registers: int = Field(default=0, ge=0, description="learned tokens besides the patches")
    dim: int | None = Field(default=None, ge=1, description="width")
    depth: int | None = Field(default=None, ge=1, description="number of blocks")

    @model_validator(mode="after")
    def _true_name(self) -> Self:
        size = {field: value for field in ("dim", "depth") if (value := getattr(self, field)) is not None}
        if not size or self.name not in (None, *ARCHITECTURES):
            return self
        named = {} if self.name is None else {field: ARCHITECTURES[self.name][field] for field in ("dim", "depth")}
        full = {**named, **size}
        if len(full) == 2:
            name = name_of_size(full["dim"], full["depth"])
            stated = full if name is None else {"dim": None, "depth": None}
            for field, value in {"name": name, **stated}.items():
                object.__setattr__(self, field, value)  # it is frozen
        return self


class Evaluation(Settings):
    """The protocol of the final evaluation; during training it is one view of each video."""

    views: str = Field(default="1x1", description="clips x crops whose probabilities are averaged")
    weights: Literal["best", "last"] = Field(default="best", description="which of the run's weights are evaluated")


class RecipeConfig(Settings):
    """What the runs of all recipes have: a network, clips, videos, steps, a folder."""

    preset: str | None = Field(default=None, description="the published run whose settings are the defaults")
    model: ModelSettings = ModelSettings()
    clip: Preprocess = Preprocess()
    data: DataSettings = DataSettings()
    augment: Augmentation = Augmentation()
    optim: Optimisation = Optimisation()
    run: Run = Run()

    def network(self) -> dict[str, object]:
        """The fields of VideoMambaConfig that this run sets, for `build_config`: all but the number of classes."""
        chosen = self.model.model_dump(exclude={"name", "weights", "final_norm"}, exclude_none=True)
        return {**chosen, "num_frames": self.clip.num_frames, "image_size": self.clip.image_size}


class TrainConfig(RecipeConfig):
    """One supervised run. The classes come from the data."""

    eval: Evaluation = Evaluation()


class TeacherSettings(Settings):
    """A frozen network whose tokens are targets. It sees the same clips as the student."""

    weights: str | None = Field(
        default=None, description="the teacher: zoo name, weights file, or CLIP of transformers (name or folder)"
    )
    precision: Literal["fp32", "bf16"] = Field(default="fp32", description="of the teacher's matrix products")
    cache: bool = Field(
        default=False,
        description="keep the teacher's tokens of each clip on disk; needs clips that are always the same",
    )


class Distillation(Settings):
    """The loss of a clip: class_weight x that of its label + feature_weight x the distance from the teacher's tokens."""

    class_weight: float = Field(default=1.0, ge=0, description="weight of the loss of the label")
    feature_weight: float = Field(
        default=1.0, ge=0, description="weight of the mean over tokens of 2 - 2 cos(student, teacher)"
    )


class DistillConfig(TrainConfig):
    """One supervised run with a teacher."""

    teacher: TeacherSettings = TeacherSettings()
    distill: Distillation = Distillation()
    run: Run = Run(out=Path("runs/distill"))


def check_config(config: TrainConfig) -> None:
    """Raises VideoMambaError, naming the key, where the sections of a supervised run do not fit together.

    It reads no file; faults that depend on the data set are found when that is read.
    """
    check_recipe(config)
    try:
        Views.parse(config.eval.views)
    except VideoMambaError as error:
        raise VideoMambaError(f"eval.views: {error}") from None
    data, augment = config.data, config.augment
    if (data.format == "lvu") != (data.task is not None):
        raise VideoMambaError(
            f"data.task: {data.task or 'missing'}, with data.format {data.format}; only format lvu has tasks, and it needs one"
        )
    if data.task in REGRESSION_TASKS:
        for key in ("mixup", "cutmix", "label_smoothing"):
            if getattr(augment, key) > 0:
                raise VideoMambaError(f"augment.{key}: needs classes, and {data.task} is a number; set it to 0")


def check_recipe(config: RecipeConfig) -> None:
    """Raises VideoMambaError, naming the key, where the sections that every recipe has do not fit together."""
    try:
        build_config(config.model.name, config.network())
    except ValueError as error:
        where = "model and clip" if config.model.name in (None, *ARCHITECTURES) else "model.name"
        raise VideoMambaError(f"{where}: {error}") from None
    optim, micro_batch = config.optim, config.run.micro_batch
    if config.data.root is None and config.data.train is None:
        raise VideoMambaError("data.root: missing; give the folder of the data set, as in --data.root FOLDER")
    if optim.warmup_epochs >= optim.epochs:
        raise VideoMambaError(
            f"optim.warmup_epochs: {optim.warmup_epochs:g} is not below epochs {optim.epochs}; lower it"
        )
    if micro_batch is not None and optim.batch_size % micro_batch:
        raise VideoMambaError(
            f"run.micro_batch: {micro_batch} does not divide optim.batch_size {optim.batch_size}; change one of them"
        )


def check_distillation(config: DistillConfig) -> None:
    """Raises VideoMambaError as `check_config` does, where the losses have no weight, and without a teacher."""
    check_config(config)
    if config.distill.class_weight == config.distill.feature_weight == 0:
        raise VideoMambaError("distill.feature_weight: is 0, as is distill.class_weight; nothing would be trained")
    if config.teacher.weights is None:
        raise VideoMambaError(
            "teacher.weights: missing; name the teacher, as in --teacher.weights videomamba_small_in1k_224"
        )
