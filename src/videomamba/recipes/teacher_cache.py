"""A teacher of clips that are the same in every epoch: what it says of each is computed once and kept on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from videomamba.files import make_folder, write_atomically
from videomamba.models.identity import bytes_of
from videomamba.models.teacher import FrozenTeacher, Teacher, TeacherOutput


class ClipwiseTeacher:
    """`teacher`, which sees every clip by itself and, with a `folder`, only once.

    The last bits of a matrix product may depend on its number of rows, so the tokens of a clip on the other clips of its
    pass. An epoch later these are others, and so they are for another number of processes. Alone, a clip always has the same
    tokens, whether they are computed, read, or computed again after a kill. So a run has the same bits with and without a
    `folder`, and equal clips in a batch, such as the repeats of a video, are computed once.

    The name of a file is a digest of `identity`, which names the weights of the teacher, of the layers and of the clip's own
    numbers. So no file can belong to another clip or teacher; it is written completely or not at all, and several processes
    may write it at once. A damaged one is replaced.
    """

    def __init__(self, teacher: Teacher, *, identity: str, folder: Path | None) -> None:
        self.teacher, self._identity, self._folder = teacher, identity, folder
        self.name, self.dim, self.depth, self.grid = teacher.name, teacher.dim, teacher.depth, teacher.grid
        if folder is not None:
            make_folder(folder)

    def to(self, device: str | torch.device) -> Self:
        self.teacher.to(device)
        return self

    def __call__(self, video: Tensor, *, layers: Sequence[int] = (-1,), attention: bool = False) -> TeacherOutput:
        """See `Teacher`. Raises VideoMambaError when a file cannot be written."""
        if not len(video):
            return self.teacher(video, layers=layers, attention=attention)
        keys = [self._key(clip, layers, attention) for clip in video]
        found: dict[str, TeacherOutput] = {}
        for clip, key in zip(video, keys, strict=True):
            if key not in found:
                found[key] = self._of(clip[None], key, layers, attention)
        tokens = torch.cat([found[key].tokens for key in keys], dim=1)
        rows = [row for key in keys if (row := found[key].attention) is not None]
        return TeacherOutput(tokens, torch.cat(rows) if rows else None)

    def _of(self, clip: Tensor, key: str, layers: Sequence[int], attention: bool) -> TeacherOutput:
        """The output for one clip, (1, 3, t, h, w)."""
        path = None if self._folder is None else self._folder / f"{key}.safetensors"
        if path is not None and path.exists():
            try:
                kept = load_file(path, device=str(clip.device))
            except (OSError, SafetensorError):  # damaged, or removed meanwhile
                kept = {}
            steps, rows, columns = self.grid
            size = (len(layers), 1, 1 + steps * rows * columns, self.dim)
            row = kept.get("attention")
            whole = not attention or (row is not None and row.shape == (1, steps, rows * columns))
            if "tokens" in kept and kept["tokens"].shape == size and whole:
                return TeacherOutput(kept["tokens"], row)
        made = self.teacher(clip, layers=layers, attention=attention)
        if path is not None:
            tensors = {name: value.cpu().contiguous() for name, value in made._asdict().items() if value is not None}
            write_atomically(path, lambda target: save_file(tensors, target), refusals=(SafetensorError,))
        return made

    def _key(self, clip: Tensor, layers: Sequence[int], attention: bool) -> str:
        asked = f"{self._identity}, {list(layers)}, {attention}, {clip.dtype}, {tuple(clip.shape)}"
        digest = hashlib.blake2b(asked.encode(), digest_size=16)
        digest.update(bytes_of(clip))
        return digest.hexdigest()


def teacher_identity(teacher: Teacher) -> str:
    """That of a teacher of this package, a digest of all that changes its outputs; of a network from elsewhere its name."""
    return teacher.identity if isinstance(teacher, FrozenTeacher) else teacher.name
