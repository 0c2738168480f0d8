"""The teacher of a run: opened or given, checked against the student, recorded, and kept from computing anything twice."""

from __future__ import annotations

from collections.abc import Callable

from videomamba.models.registry import build_config
from videomamba.models.teacher import FrozenTeacher, Teacher, check_teacher
from videomamba.recipes.config import RecipeConfig, TeacherSettings
from videomamba.recipes.teacher_cache import ClipwiseTeacher, teacher_identity
from videomamba.schema import VideoMambaError, VideoSet
from videomamba.training.folder import TEACHER
from videomamba.training.run import TrainingRun
from videomamba.weights.teachers import open_teacher


def named_after(settings: TeacherSettings, teacher: Teacher | None) -> TeacherSettings:
    """`settings` that record name and precision of a `teacher` that is given as a network.

    Raises ValueError where they name another.
    """
    if teacher is None:
        return settings
    if settings.weights not in (None, teacher.name):
        raise ValueError(f"two teachers: the network {teacher.name!r} and teacher.weights {settings.weights!r}")
    precision = teacher.precision if isinstance(teacher, FrozenTeacher) else "fp32"
    return settings.model_copy(update={"weights": teacher.name, "precision": precision})


def find_teacher(
    config: RecipeConfig,
    settings: TeacherSettings,
    given: Teacher | None,
    notify: Callable[[str], object],
    *,
    legacy: bool = False,
) -> Teacher:
    """The teacher that is `given`, else that of `settings`. `notify` gets a line for what is assumed of its file.

    Raises VideoMambaError when its weights are missing or unfit, or its tokens are not on the student's grid.
    """
    teacher = given
    if teacher is None:
        opened = open_teacher(settings.weights or "", config.clip, legacy=legacy, precision=settings.precision)
        for line in opened.notes:
            notify(line)
        teacher = opened
    check_teacher(teacher, build_config(config.model.name, config.network()))
    return teacher


def check_cache(config: RecipeConfig, settings: TeacherSettings, train_set: VideoSet) -> None:
    """Raises VideoMambaError where the teacher's tokens are to be kept, and the clips change from epoch to epoch."""
    if settings.cache and not config.augment.fixed(train_set.symmetries):
        raise VideoMambaError(
            "teacher.cache: needs clips that are the same in every epoch: set augment.frames middle, augment.crop centre, "
            "augment.flip off, and leave the other changes and mixing off; or set teacher.cache false"
        )


def prepare_teacher(
    teacher: Teacher, config: RecipeConfig, settings: TeacherSettings, train_set: VideoSet, run: TrainingRun
) -> tuple[Teacher, dict[str, object]]:
    """The teacher on the device of `run`, and what a bundle records of it. Clips that are always the same are seen one by one.

    Raises VideoMambaError when the run was begun with another teacher, or the processes have different ones.
    """
    identity = teacher_identity(teacher)
    if len(set(run.processes.gather(identity))) > 1:
        raise VideoMambaError(
            f"teacher.weights: {teacher.name} is not the same file for all processes; give each the same"
        )
    if run.kept("teacher", lambda: identity) != identity:
        raise VideoMambaError(
            f"{run.out}: belongs to a run whose teacher was another than {teacher.name} is now; choose another folder, "
            "the same teacher to resume it, or --fresh to replace it"
        )
    # Of a network from elsewhere only the name is known.
    digest = identity if isinstance(teacher, FrozenTeacher) else None
    record: dict[str, object] = {"teacher": {"name": teacher.name, "digest": digest, "precision": settings.precision}}
    teacher = teacher.to(run.processes.device)
    if config.augment.fixed(train_set.symmetries):
        folder = run.out / TEACHER if settings.cache else None
        teacher = ClipwiseTeacher(teacher, identity=identity, folder=folder)
    return teacher, record
