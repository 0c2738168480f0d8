"""Opening a frozen teacher by name or path."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from videomamba.models.clip import CLIP_MEAN, CLIP_STD, ClipTeacher
from videomamba.models.teacher import FrozenTeacher, Precision, VideoMambaTeacher
from videomamba.schema import Preprocess, VideoMambaError, WeightsError
from videomamba.weights.clip_folder import ClipFiles, fetch_clip, read_clip_folder
from videomamba.weights.openai_clip import from_openai, is_openai_clip
from videomamba.weights.pretrained import open_pretrained
from videomamba.weights.read import read_weights
from videomamba.weights.zoo import look, zoo_names

TeacherKind = Literal["auto", "videomamba", "clip"]
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_FILES = (".pth", ".pt", ".bin", ".ckpt", ".safetensors")


def open_teacher(
    name_or_path: str | Path,
    clip: Preprocess,
    *,
    kind: TeacherKind = "auto",
    legacy: bool = False,
    precision: Precision = "fp32",
) -> FrozenTeacher:
    """The teacher `name_or_path` for the student's clips, `clip`, on the CPU. Its `notes` say what is assumed or resized.

    "videomamba" is a weights file or a zoo name, opened at the student's number of frames and image size (`open_pretrained`).
    "clip" is a CLIP of transformers, a folder or a name on the Hugging Face Hub; or a file in OpenAI's names: the original's
    teacher, or the `clip_teacher` inside a released file of video and text. "auto": a name of the zoo is a VideoMamba, a folder
    and a name on the hub are a CLIP, a file is what its tensors are; one with both is a VideoMamba. `legacy` is that of
    `ClipTeacher`.

    The grid of the result may be another than the student's, see `models.teacher.check_teacher`. Raises VideoMambaError, one
    line, for what cannot be opened, for `legacy` with a VideoMamba, and where transformers is absent.
    """
    files = None if kind == "videomamba" else _clip_files(name_or_path, certain=kind == "clip")
    name = str(name_or_path)
    if files is not None:
        return ClipTeacher(
            files.config,
            files.tensors,
            clip,
            name=name,
            mean=files.mean,
            std=files.std,
            legacy=legacy,
            precision=precision,
            notes=files.notes,
        )
    if legacy:
        raise VideoMambaError(f"teacher {name}: is a VideoMamba, for which there is no legacy form; leave legacy out")
    opened = open_pretrained(name, num_frames=clip.num_frames, image_size=clip.image_size, needs_head=False)
    notes = []
    for entries, said in (
        (opened.report.resized, "positions resized to the student's clips"),
        (opened.report.zero, "set to zero for the student's clips"),
    ):
        if entries:
            notes.append(f"teacher {name}: {said}: {', '.join(map(str, entries))}")
    if opened.assumed:
        notes.append(opened.assumed)
    return VideoMambaTeacher(opened.model, opened.preprocess, clip, name=name, precision=precision, notes=notes)


def _clip_files(name_or_path: str | Path, *, certain: bool) -> ClipFiles | None:
    """The CLIP that is meant; None for a VideoMamba, unless it is `certain` that a CLIP is meant."""
    name = str(name_or_path)
    if not certain and name in zoo_names():
        return None
    path, is_file = look(name_or_path)
    if path.is_dir():
        return read_clip_folder(path)
    if is_file:
        file = read_weights(path)
        if any(key.startswith("vision_model.") for key in file.tensors):
            raise WeightsError(f"{path}: is one file of a CLIP of transformers; give its folder, with config.json")
        mamba = any(key.endswith("patch_embed.proj.weight") for key in file.tensors)
        if not certain and (mamba or not is_openai_clip(file.tensors)):
            return None
        return ClipFiles(*from_openai(file.tensors, source=name), CLIP_MEAN, CLIP_STD)
    if _HUB_NAME.fullmatch(name) and path.suffix not in _FILES:
        return read_clip_folder(fetch_clip(name))
    if certain:
        raise WeightsError(
            f"{name}: no such file or folder; give a CLIP's folder, file, or name on the Hugging Face Hub"
        )
    return None
