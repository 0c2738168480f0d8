"""Opening a frozen teacher by name or path."""

from __future__ import annotations

from pathlib import Path

from videomamba.models.teacher import FrozenTeacher, Precision, VideoMambaTeacher
from videomamba.schema import Preprocess
from videomamba.weights.pretrained import open_pretrained


def open_teacher(name_or_path: str | Path, clip: Preprocess, *, precision: Precision = "fp32") -> FrozenTeacher:
    """The teacher `name_or_path` for the student's clips, `clip`, on the CPU.

    A weights file or a zoo name: a VideoMamba at the student's number of frames and image size, see `open_pretrained`. Where
    its positions were resized, a line of `notes` says so.
    """
    opened = open_pretrained(name_or_path, num_frames=clip.num_frames, image_size=clip.image_size, needs_head=False)
    resized = ", ".join(str(entry) for entry in opened.report.resized)
    notes = [f"teacher {name_or_path}: positions resized to the student's clips: {resized}"] if resized else []
    if opened.assumed:
        notes.append(opened.assumed)
    return VideoMambaTeacher(
        opened.model, opened.preprocess, clip, name=str(name_or_path), precision=precision, notes=notes
    )
