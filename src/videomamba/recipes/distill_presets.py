"""Self-distillation as named runs: the two of the paper, on ImageNet, and two for video, of which nothing is published."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from videomamba.recipes.catalogue import Catalogue, Preset, Published
from videomamba.recipes.config import DistillConfig, TeacherSettings
from videomamba.recipes.published import DISTILLED_RUNS, NO_NUMBER, TEACHER_CAST
from videomamba.recipes.train_presets import TRAIN
from videomamba.weights.zoo import zoo_entry


def _presets() -> Iterator[Preset[DistillConfig]]:
    """Each is the supervised run of the student with a teacher, in 16 bit as the original's."""
    for student, teacher in DISTILLED_RUNS.items():
        base = TRAIN[student]
        name = f"{student}-distilled"
        data, size, *_ = student.split("-")
        top1 = zoo_entry(f"videomamba_{size}_in1k_224").top1 if data == "in1k" else None
        settings = {section: getattr(base.config, section) for section in type(base.config).model_fields}
        run = base.config.run.model_copy(update={"out": Path("runs") / name})
        taught = TeacherSettings(weights=teacher, precision="bf16")
        config = DistillConfig(**{**settings, "preset": name, "run": run, "teacher": taught})
        kept = tuple(note for note in base.published.notes if "self-distillation" not in note)
        notes = (*kept, TEACHER_CAST if data == "in1k" else NO_NUMBER)
        published = Published(top1=top1, protocol=base.published.protocol, source=base.published.source, notes=notes)
        yield Preset(name, config, published)


DISTILL = Catalogue(
    "distill",
    DistillConfig,
    _presets,
    columns={"teacher": lambda config: config.teacher.weights, "views": lambda config: config.eval.views},
)
"""Self-distillation."""
