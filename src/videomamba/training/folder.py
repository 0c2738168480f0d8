"""The folder of a run: its files, and its lock. Two runs in one folder would overwrite each other's files."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

from videomamba.files import clear_remains
from videomamba.schema import VideoMambaError
from videomamba.training.checkpoint import checkpoints
from videomamba.training.distributed import Processes
from videomamba.training.tracking import CSV, EVENTS, JSONL

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK = "lock"
"""The file in the folder of a run that a running one has locked. The system unlocks it when its process ends in any way."""


BEST, LAST, CONFIG, CHECKPOINTS = "best.safetensors", "last.safetensors", "config.yaml", "checkpoints"
"""The files of a run in its folder, besides the metrics."""
TEACHER = "teacher"
"""The folder of a teacher's tokens, in a run that keeps them."""
MODEL, REPORT = "model.safetensors", "report.html"
"""The results that fine-tuning adds."""


class RunFolder:
    """The folder of a run, locked until `release`, without the remains of killed runs.

    `fresh` removes the files of an earlier run; cached frames and files of other names stay. `notify` gets a line where the
    folder cannot be locked. Raises VideoMambaError when another run is at work in it, or it cannot be written.
    """

    def __init__(self, path: Path, *, fresh: bool, notify: Callable[[str], object]) -> None:
        self._path = path
        self._lock = FolderLock(path)
        if self._lock.warning:
            notify(self._lock.warning)
        try:
            self._clear(fresh=fresh)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Lets another run use the folder."""
        self._lock.release()

    def _clear(self, *, fresh: bool) -> None:
        saved, names = self._path / CHECKPOINTS, (BEST, LAST, CONFIG, MODEL, REPORT)
        clear_remains(saved, "step_*.pt")
        clear_remains(self._path / TEACHER, "*.safetensors")
        for name in names:
            clear_remains(self._path, name)
        if not fresh:
            return
        try:
            for path in (*checkpoints(saved), *(self._path / name for name in (*names, JSONL, CSV))):
                path.unlink(missing_ok=True)
            for folder in (EVENTS, TEACHER):
                shutil.rmtree(self._path / folder, ignore_errors=True)
        except OSError as error:
            raise VideoMambaError(f"{error.filename}: cannot be removed ({error.strerror}); remove it") from None


def is_written(folder: Path, file: Path) -> bool:
    """Whether `file` is one of the weights files that a run in `folder` writes, or the folder itself."""
    ours = {folder.resolve(), *(folder.resolve() / name for name in (BEST, LAST, MODEL))}
    return file.exists() and file.resolve() in ours


def open_folder(path: Path, processes: Processes, *, fresh: bool, notify: Callable[[str], object]) -> RunFolder | None:
    """The folder, opened by the main process for all; every process must call. Raises VideoMambaError on all of them."""
    folder, refusal = None, ""
    if processes.main:
        try:
            folder = RunFolder(path, fresh=fresh, notify=notify)
        except VideoMambaError as error:
            refusal = str(error)
    refusal = processes.gather(refusal)[0]
    if refusal:
        raise VideoMambaError(refusal)
    return folder


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
