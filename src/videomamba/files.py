"""Files that are written completely or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from videomamba.schema import VideoMambaError


def write_atomically(
    path: Path,
    write: Callable[[Path], object],
    *,
    error: type[VideoMambaError] = VideoMambaError,
    refusals: tuple[type[Exception], ...] = (),
) -> None:
    """Calls `write` on a temporary file next to `path`, flushes it to the disk, then renames it to `path`.

    Even after a kill or a power cut `path` is either the new file or the old one. Raises `error`, one line that names
    `path`, when writing fails: on OSError, RuntimeError (torch.save's) and `refusals`.
    """
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            temporary = Path(folder) / path.name
            temporary.touch()
            mode = temporary.stat().st_mode  # as the umask allows; safetensors would allow only the owner
            write(temporary)
            temporary.chmod(mode)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
    except Exception as refused:
        if not isinstance(refused, (OSError, RuntimeError, *refusals)):
            raise
        reason = getattr(refused, "strerror", None) or next(iter(str(refused).splitlines()), type(refused).__name__)
        raise error(f"{path}: cannot be written ({reason}); free space or choose another folder") from refused


def make_folder(folder: Path, *, option: str = "") -> None:
    """Creates `folder` and its parents where they are missing. `option` is the setting that names another folder.

    Raises VideoMambaError when the folder cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        advice = f"choose another folder{f' with {option}' if option else ''}"
        raise VideoMambaError(f"{folder}: cannot be created ({error.strerror}); {advice}") from None


def clear_remains(folder: Path, pattern: str) -> None:
    """Removes the temporary files that killed processes left in `folder` while they wrote files named like `pattern`."""
    for remains in folder.glob(f".{pattern}.*"):
        shutil.rmtree(remains, ignore_errors=True)
