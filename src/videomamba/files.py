"""Files that appear whole or not at all."""

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
    """Calls `write` on a temporary file beside `path`, puts it on the disk, then in the place of `path`.

    Whatever happens, a kill or a power cut included, `path` is then the new file or what it was. Raises `error`, one line
    that names `path`, when the disk refuses: on OSError, RuntimeError (torch.save's) and `refusals`.
    """
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            temporary = Path(folder) / path.name
            temporary.touch()
            mode = temporary.stat().st_mode  # what the umask leaves; safetensors gives its files to the owner alone
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


def make_folder(folder: Path) -> None:
    """Makes `folder` and those above it, where they do not exist. Raises VideoMambaError where that is refused."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VideoMambaError(f"{folder}: cannot be made a folder ({error.strerror}); choose another") from None


def clear_remains(folder: Path, pattern: str) -> None:
    """Removes what killed processes left of the files named like `pattern` that they were writing in `folder`."""
    for remains in folder.glob(f".{pattern}.*"):
        shutil.rmtree(remains, ignore_errors=True)
