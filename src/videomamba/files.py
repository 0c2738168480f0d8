"""Files that are written completely or not at all, and the lock of a folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

from videomamba.schema import VideoMambaError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK = "lock"
"""The file in the folder of a run that a running one has locked. The system unlocks it when its process ends in any way."""


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


def replace_text(path: Path, text: str) -> None:
    """Writes `path` as `write_atomically` does: `text` in UTF-8, its line ends as they are."""
    write_atomically(path, lambda target: target.write_text(text, encoding="utf-8", newline="\n"))


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


class FolderLock:
    """Locks `folder` for this process, until `release`.

    `warning` is a line where the system or the file system cannot lock, "" where it did; then nothing protects the folder.
    Raises VideoMambaError when another run has the lock, or the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._path, self._descriptor = folder / LOCK, -1
        self.warning = ""
        while self._descriptor < 0 and not self.warning:
            self._attempt()

    def release(self) -> None:
        """May be called twice."""
        if self._descriptor >= 0:
            self._path.unlink(missing_ok=True)  # while it is locked: nobody else has it
            os.close(self._descriptor)
            self._descriptor = -1

    def _attempt(self) -> None:
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise VideoMambaError(
                f"{self._path}: cannot be written ({error.strerror}); choose another folder"
            ) from None
        try:
            if fcntl is None:
                raise OSError(0, "this system has none")
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(descriptor, 200).decode(errors="replace").strip()
            os.close(descriptor)
            raise VideoMambaError(
                f"{self._path.parent}: another run is at work here{f' ({owner})' if owner else ''}; "
                "wait for its end or choose another folder"
            ) from None
        except OSError as error:
            os.close(descriptor)
            self._path.unlink(missing_ok=True)
            reason = error.strerror
            self.warning = f"{self._path.parent}: cannot be locked ({reason}); make sure that no other run uses it"
            return
        if not self._is_ours(descriptor):  # its owner removed it after we had opened it
            os.close(descriptor)
            return
        self._descriptor = descriptor
        with contextlib.suppress(OSError):  # a full disk: the lock needs no text
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())

    def _is_ours(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self._path.stat())
        except FileNotFoundError:
            return False
