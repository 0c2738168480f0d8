"""The settings of masked pretraining as one record. --print-config prints all that a YAML file may have."""

from __future__ import annotations

from pydantic import Field

from videomamba.data.settings import Augmentation, DataSettings, MaskSettings
from videomamba.models.registry import ARCHITECTURES, build_config
from videomamba.recipes.config import ModelSettings, TeacherSettings
from videomamba.schema import Preprocess, Settings, VideoMambaError
from videomamba.training.losses import Distance
from videomamba.training.settings import Optimisation, Run


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


class PretrainConfig(Settings):
    """One run of masked pretraining. Labels of the data are not read."""

    preset: str | None = Field(default=None, description="the published run whose settings are the defaults")
    model: ModelSettings = ModelSettings()
    teacher: TeacherSettings = TeacherSettings()
    mask: MaskSettings = MaskSettings()
    align: Alignment = Alignment()
    clip: Preprocess = Preprocess()
    data: DataSettings = DataSettings()
    augment: Augmentation = Augmentation()
    optim: Optimisation = Optimisation()
    run: Run = Run()

    def network(self) -> dict[str, object]:
        """The fields of VideoMambaConfig that this run sets, for `build_config`. There is no head."""
        chosen = self.model.model_dump(exclude={"name", "weights", "final_norm"}, exclude_none=True)
        size = {"num_frames": self.clip.num_frames, "image_size": self.clip.image_size}
        return {**chosen, **size, "num_classes": 0}


def aligned_layers(depth: int, number: int, interval: float) -> list[int]:
    """The indices of `number` layers of `depth`, ascending, the last among them. Raises ValueError where there are too few."""
    found = [depth - 1 - int(j * interval) for j in reversed(range(number))]
    if found[0] < 0 or len(set(found)) < number:
        raise ValueError(f"{number} layers, every {interval:g}, are not in a network of {depth} layers")
    return found


def check_pretrain_config(config: PretrainConfig) -> None:
    """Raises VideoMambaError, naming the key, where the sections do not fit together. It reads no file."""
    try:
        network = build_config(config.model.name, config.network())
    except ValueError as error:
        where = "model and clip" if config.model.name in (None, *ARCHITECTURES) else "model.name"
        raise VideoMambaError(f"{where}: {error}") from None
    try:
        aligned_layers(network.depth, config.align.layers, config.align.student_interval)
    except ValueError as error:
        raise VideoMambaError(f"align.layers: {error}; lower it or align.student_interval") from None
    if config.model.num_registers:
        raise VideoMambaError("model.num_registers: masked pretraining has no registers; set it to 0")
    if config.align.legacy and network.depth < 2:
        raise VideoMambaError("align.legacy: needs a network of two blocks or more; switch it off")
    if config.teacher.weights is None:
        raise VideoMambaError(
            "teacher.weights: missing; give a CLIP of transformers (name or folder) or a VideoMamba (zoo name or weights file)"
        )
    for key in ("mixup", "cutmix", "label_smoothing"):
        if getattr(config.augment, key):
            raise VideoMambaError(f"augment.{key}: changes classes, and pretraining has none; set it to 0")
