"""A file is what it was or what it is to be, whatever happens on the way."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path

import pytest

from videomamba.files import LOCK, FolderLock, clear_remains, write_atomically
from videomamba.schema import VideoMambaError, WeightsError


def test_the_new_file_takes_the_place_of_the_old(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    for text in ("old", "new"):
        write_atomically(path, lambda target, text=text: target.write_text(text))
        assert path.read_text() == text
    assert list(tmp_path.iterdir()) == [path]


def test_it_is_written_under_another_name_of_the_same_ending(tmp_path: Path) -> None:
    path, seen = tmp_path / "file.txt", []

    def write(target: Path) -> None:
        seen.append(target)
        target.write_text("new")
        assert not path.exists()

    write_atomically(path, write)
    assert seen[0].suffix == ".txt" and seen[0].is_relative_to(tmp_path) and seen[0] != path


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_the_umask_decides_who_reads_it(mask: int, tmp_path: Path) -> None:
    def write(target: Path) -> None:
        target.unlink()
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o600))  # as safetensors does

    before = os.umask(mask)
    try:
        write_atomically(tmp_path / "file", write)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~mask


class OddError(Exception):
    pass


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError("something"), "something"),
        (RuntimeError("the writer failed\nwith details"), "the writer failed"),
        (RuntimeError(), "RuntimeError"),
        (OddError("odd"), "odd"),
    ],
    ids=repr,
)
def test_a_disk_that_refuses_is_one_line_and_leaves_the_old(failure: Exception, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")

    def write(target: Path) -> None:
        target.write_text("half")
        raise failure

    with pytest.raises(WeightsError) as caught:
        write_atomically(path, write, error=WeightsError, refusals=(OddError,))
    assert str(caught.value) == f"{path}: cannot be written ({reason}); free space or choose another folder"
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_fault_of_the_program_stays_one(tmp_path: Path) -> None:
    def write(target: Path) -> None:
        raise ValueError("a fault")

    with pytest.raises(ValueError, match="a fault"):
        write_atomically(tmp_path / "file", write)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_nothing(tmp_path: Path) -> None:
    def write(target: Path) -> None:
        target.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "file", write)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_leaves_is_cleared(tmp_path: Path) -> None:
    """Its temporary folder; files of other names, and the file itself, stay."""
    path = tmp_path / "step_1.pt"
    path.write_text("old")
    child = os.fork()
    if child == 0:  # the child dies with half a file written, without any clean-up
        write_atomically(path, lambda target: os._exit(target.write_text("half")))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 4
    (tmp_path / ".other").mkdir()
    assert len(list(tmp_path.iterdir())) == 3 and path.read_text() == "old"
    clear_remains(tmp_path, "step_*.pt")
    assert sorted(tmp_path.iterdir()) == [tmp_path / ".other", path]
    clear_remains(tmp_path / "gone", "*")


def test_a_folder_that_is_not_there_and_a_folder_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "gone" / "file", tmp_path / "folder"):
        with pytest.raises(VideoMambaError) as caught:
            write_atomically(path, lambda target: target.write_text("new"))
        assert str(caught.value).startswith(f"{path}: cannot be written (") and "\n" not in str(caught.value)
    assert list(tmp_path.rglob("*")) == [tmp_path / "folder"]


def test_the_second_is_refused_by_one_line_that_names_the_first(tmp_path: Path) -> None:
    first = FolderLock(tmp_path)
    with pytest.raises(VideoMambaError) as caught:
        FolderLock(tmp_path)
    text = str(caught.value)
    assert text.startswith(f"{tmp_path}: another run is at work here (process {os.getpid()} on ") and "\n" not in text
    first.release()
    first.release()
    assert not list(tmp_path.iterdir())
    FolderLock(tmp_path).release()


def test_the_file_of_a_killed_run_locks_nothing(tmp_path: Path) -> None:
    with (tmp_path / LOCK).open("w") as file:
        file.write("process 1 on another machine\n")
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(VideoMambaError, match="process 1 on another machine"):
            FolderLock(tmp_path)
    FolderLock(tmp_path).release()  # the file is still there, without its owner


def test_a_file_that_its_owner_removes_meanwhile_is_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flock, removed = fcntl.flock, []

    def late(descriptor: int, how: int) -> None:
        if not removed:
            removed.append((tmp_path / LOCK).unlink())
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    lock = FolderLock(tmp_path)
    with pytest.raises(VideoMambaError, match="another run is at work"):
        FolderLock(tmp_path)
    lock.release()
