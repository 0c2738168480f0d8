"""What a weights file is, by its first bytes: its name may say something else."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Literal

from videomamba.schema import WeightsError

_LONGEST_HEADER = 100_000_000
"""Bytes; the limit of safetensors itself."""

_OTHERS = {
    b"version https://git-lfs": "is a pointer of Git LFS, not the weights; fetch them with `git lfs pull`",
    b"<": "is a page of HTML or XML, not weights; download the file itself",
    b"\x89HDF": "is an HDF5 file, as Keras writes; give weights of PyTorch",
    b"GGUF": "is a GGUF file; give weights of PyTorch",
    b"\x1f\x8b": "is compressed with gzip; unpack it",
}


def content_of(path: Path) -> Literal["safetensors", "torch"]:
    """The reader that `path` needs. A file that neither can read has that of its name."""
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError:
        start = b""
    if len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") <= _LONGEST_HEADER:
        return "safetensors"
    if start.startswith((b"PK", b"\x80")):  # a zip archive, or the pickle of older versions
        return "torch"
    return "safetensors" if path.suffix == ".safetensors" else "torch"


def unreadable(path: str | Path) -> WeightsError:
    """The error, one line, for a file that cannot be opened or is not a weights file."""
    path = Path(path)
    try:  # the readers' own errors do not tell these causes apart
        if path.is_dir():
            return WeightsError(f"{path}: is a folder; give the weights file inside it")
        with path.open("rb") as file:
            start = file.read(32).lstrip()
    except FileNotFoundError:
        return WeightsError(f"{path}: no such file")
    except PermissionError:
        return WeightsError(f"{path}: permission denied")
    except OSError as refused:
        return WeightsError(f"{path}: cannot be opened ({refused.strerror})")
    other = next((said for mark, said in _OTHERS.items() if start.startswith(mark)), None)
    if other is None:
        other = _program(path) or (_pickled(start) if content_of(path) == "torch" else None)
    return WeightsError(
        f"{path}: {other or 'not a readable weights file, incomplete or of another kind; download it again'}"
    )


def _pickled(start: bytes) -> str | None:
    """What a pickle of a later protocol is: torch.save writes the second, the only one that is read without running code."""
    if start[:1] == b"\x80" and start[1:2] in (b"\x03", b"\x04", b"\x05"):
        return "is a pickle of Python objects, which could run code; ask its author for a file that torch.save wrote"
    return None


def _program(path: Path) -> str | None:
    """What a zip archive is, if it is complete and not one of `torch.save`."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = {Path(name).name: name for name in archive.namelist()}
            if "data.pkl" in members and "constants.pkl" not in members:
                with archive.open(members["data.pkl"]) as content:
                    return _pickled(content.read(2))
    except (OSError, RuntimeError, EOFError, zlib.error, zipfile.BadZipFile):  # the last ones of a damaged member
        return None
    if "constants.pkl" in members:
        return "is a TorchScript program; save the state dict of its network with torch.save"
    return "is a zip archive, not weights that torch.save wrote; unpack it, or give the weights file"
