"""The folder of a run: its files, and its lock. Two runs in one folder would overwrite each other's files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from videomamba.files import FolderLock, clear_remains
from videomamba.schema import VideoMambaError
from videomamba.training.checkpoint import checkpoints
from videomamba.training.distributed import Processes
from videomamba.training.tracking import CSV, EVENTS, JSONL

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
