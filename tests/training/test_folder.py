"""A fresh start of a run leaves nothing of the run before, and a refused one removes nothing."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from videomamba.files import FolderLock
from videomamba.schema import VideoMambaError
from videomamba.training.folder import RunFolder


def test_a_file_system_without_locks_is_mentioned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    lines: list[str] = []
    RunFolder(tmp_path, fresh=False, notify=lines.append).release()
    assert lines == [f"{tmp_path}: cannot be locked (No locks available); make sure that no other run uses it"]
    assert not list(tmp_path.iterdir())


def test_a_fresh_start_removes_the_run_and_nothing_else(tmp_path: Path) -> None:
    ours = ["checkpoints/step_00000003.pt", "best.safetensors", "last.safetensors", "model.safetensors", "report.html"]
    ours += ["config.yaml", "metrics.jsonl", "metrics.csv", "tensorboard/events.1"]
    theirs = ["cache/ab/c.npy", "notes.txt", "checkpoints/mine.pt"]
    for name in ours + theirs:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    RunFolder(tmp_path, fresh=False, notify=print).release()
    assert all((tmp_path / name).exists() for name in ours + theirs)
    RunFolder(tmp_path, fresh=True, notify=print).release()
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()) == sorted(theirs)


def test_a_refused_run_removes_nothing(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    (tmp_path / "best.safetensors").touch()
    with pytest.raises(VideoMambaError, match="another run"):
        RunFolder(tmp_path, fresh=True, notify=print)
    lock.release()
    assert (tmp_path / "best.safetensors").exists()
