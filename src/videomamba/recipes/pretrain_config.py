"""The settings of masked pretraining as one record. --print-config prints all that a YAML file may have."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from videomamba.data.settings import MaskSettings
from videomamba.models.config import VideoMambaConfig
from videomamba.models.registry import build_config
from videomamba.recipes.config import RecipeConfig, TeacherSettings, check_recipe
from videomamba.schema import Settings, VideoMambaError
from videomamba.training.settings import Distance, Run


class Alignment(Settings):
    """Which features of student and teacher are compared, and how.

    Layer j of the `layers` compared ones, counted from the last, is depth - 1 - int(j * interval) of each network.
    """

    layers: int = Field(default=1, ge=1, description="how many layers are compared; 1: the last")
    interval: float = Field(default=1.0, gt=0, description="layers of the teacher from one compared layer to the next")
    student_interval: float = Field(default=1.0, gt=0, description="the same for the student")
    distance: Distance = Field(
        default="l2", description="between features of unit length: l2 (2 - 2 cos), mse, smooth_l1"
    )
    legacy: bool = Field(
        default=False,
        description="the original's features, by mistake: the student's before its last block, a CLIP's without its last norm, "
        "from pictures normalised as the student's; to continue the original's weights",
    )


class PretrainConfig(RecipeConfig):
    """One run of masked pretraining. Labels of the data are not read."""

    teacher: TeacherSettings = TeacherSettings()
    mask: MaskSettings = MaskSettings()
    align: Alignment = Alignment()
    run: Run = Run(out=Path("runs/pretrain"))

    def student(self) -> VideoMambaConfig:
        """The config of the student, which has no head. Raises ValueError where model and clip do not make one."""
        return build_config(self.model.name, {**self.network(), "num_classes": 0})


def aligned_layers(depth: int, number: int, interval: float) -> list[int]:
    """The indices of `number` layers of `depth`, ascending, the last among them. Raises ValueError where there are too few."""
    inside = number <= depth and (number - 1) * interval < depth  # before a list of any length is made
    found = [depth - 1 - int(j * interval) for j in reversed(range(number))] if inside else []
    if len(set(found)) < number:
        raise ValueError(f"{number} layers, every {interval:g}, are not in a network of {depth} layers")
    return found


def check_pretrain(config: PretrainConfig) -> None:
    """Raises VideoMambaError, naming the key, where the sections do not fit together. It reads no file."""
    from videomamba.data.clips.masks import visible_count  # with PyTorch, which printing a config does not need

    check_recipe(config)
    if config.teacher.weights is None:
        raise VideoMambaError(
            "teacher.weights: missing; name a CLIP of transformers or a VideoMamba, as in --teacher.weights "
            "openai/clip-vit-base-patch16"
        )
    student = config.student()
    visible_count(config.mask.name, student.grid, config.mask.ratio)
    check_alignment(config.align, student)
    if student.num_registers:
        raise VideoMambaError("model.num_registers: masked pretraining has no registers; set it to 0")
    for key in ("mixup", "cutmix", "label_smoothing"):
        if getattr(config.augment, key):
            raise VideoMambaError(f"augment.{key}: changes classes, and pretraining has none; set it to 0")


def check_alignment(align: Alignment, student: VideoMambaConfig) -> None:
    """Raises VideoMambaError, naming the key, where the student does not have the compared layers."""
    try:
        aligned_layers(student.depth, align.layers, align.student_interval)
    except ValueError as error:
        raise VideoMambaError(f"align.layers: {error}; lower it or align.student_interval") from None
    if align.legacy and student.depth < 2:
        raise VideoMambaError("align.legacy: needs a network of two blocks or more; switch it off")
