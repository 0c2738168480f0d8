"""The places of files, from one listing of the folders: to look up 240 000 files one by one takes minutes on a network."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from videomamba.schema import VideoError, one_form
from videomamba.video.find import Kind, names_and_kinds
from videomamba.video.open import VIDEO_SUFFIXES


class FileIndex:
    """The video files below `root`, at most `depth` folders down, by their path without the suffix.

    A name that a list and the file system write in two Unicode forms is found; the path is the file system's.
    """

    def __init__(self, root: Path, *, depth: int) -> None:
        self._root = str(root)
        self._files: dict[str, str] = {}
        self._list("", depth)

    def find(self, candidates: Iterable[str]) -> str:
        """The complete path of the first candidate (relative to the root, without suffix) that exists.

        If none exists, the first candidate with `.mp4`, which the error on opening it and `data check` then name.
        """
        first = None
        for candidate in candidates:
            found = self._files.get(one_form(candidate))
            if found is not None:
                return os.path.join(self._root, found)  # noqa: PTH118 strings: a Path for each video takes seconds
            first = first or candidate
        return os.path.join(self._root, f"{first}.mp4")  # noqa: PTH118

    def _list(self, folder: str, depth: int) -> None:
        for name, is_folder in names_in(f"{self._root}/{folder}"):
            path = f"{folder}{name}"
            stem, suffix = os.path.splitext(path)  # noqa: PTH122
            if not is_folder and suffix.lower() in VIDEO_SUFFIXES:
                self._files.setdefault(one_form(stem), path)
            elif is_folder and depth > 0:
                self._list(f"{path}/", depth - 1)


def names_in(folder: str | Path) -> list[tuple[str, bool]]:
    """(name, whether it is a folder), sorted, without those of the system. Raises VideoError when it cannot be listed."""
    return [(name, kind == "folder") for name, kind in kinds_in(folder)]


def kinds_in(folder: str | Path) -> list[tuple[str, Kind]]:
    """As `video.find.names_and_kinds`, but raises VideoError when the folder cannot be listed."""
    try:
        return names_and_kinds(folder)
    except OSError as error:
        raise VideoError(folder, f"cannot be listed ({error.strerror}); check the name and the permissions") from None


def folders_in(folder: str | Path) -> list[str]:
    return [name for name, is_folder in names_in(folder) if is_folder]
