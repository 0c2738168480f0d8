"""The videos of a command: a folder of them, a list in a file, or single files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from videomamba.data.sets.formats.table import SUFFIXES, read_rows, read_text
from videomamba.schema import IgnoredFile, VideoMambaError
from videomamba.video.find import find_videos, search_videos


@dataclass(frozen=True, repr=False)
class VideoList:
    """`names[i]` is the name of the video at `paths[i]` in results: its path in the list, or below the folder.

    `ignored` are the other files of the folder.
    """

    names: tuple[str, ...]
    paths: tuple[Path, ...]
    ignored: tuple[IgnoredFile, ...] = ()

    def __post_init__(self) -> None:
        if len(self.names) != len(self.paths):
            raise ValueError(f"{len(self.names)} names for {len(self.paths)} paths")

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return f"VideoList({len(self)} videos)"

    def sha256(self) -> str:
        """Of the names in their order, which identifies the list."""
        return hashlib.sha256("\0".join(self.names).encode("utf-8", "surrogateescape")).hexdigest()


def is_list(path: str | Path) -> bool:
    """Whether `path` is a list of videos, by its ending."""
    return Path(path).suffix.lower() in SUFFIXES


def read_videos(given: Sequence[str | Path]) -> VideoList:
    """One folder, one list, or any number of video files and folders of images.

    A folder: all videos below it, sorted by path. A .txt list: one path a line. A .csv, .tsv or .jsonl list: its column
    `path`. Paths in a list are relative to the list's folder; their files need not exist.

    Raises VideoMambaError for a list that cannot be read or is empty, a folder without videos, and for a list or a
    folder of several videos together with other arguments, as two files could then have one name.
    """
    if len(given) == 1:
        (one,) = given
        if is_list(one):
            names = tuple(_lines_of(Path(one)))
            return VideoList(names, tuple(Path(one).parent / name for name in names))
        found = search_videos(one)
        below = found.videos != (Path(one),)
        names = tuple(path.relative_to(one).as_posix() if below else str(path) for path in found.videos)
        return VideoList(names, found.videos, found.ignored)
    for path in given:
        if is_list(path) or find_videos(path) != [Path(path)]:
            raise VideoMambaError(
                f"{path}: is a {'list' if is_list(path) else 'folder'} among others; give one of them or only videos"
            )
    return VideoList(tuple(map(str, given)), tuple(map(Path, given)))


def _lines_of(file: Path) -> Iterator[str]:
    if file.suffix.lower() == ".txt":
        lines = [line.strip() for line in read_text(file).splitlines()]
        if not any(lines):
            raise VideoMambaError(f"{file}: holds no videos; give one path a line")
        yield from filter(None, lines)
        return
    for row in read_rows(file, plain={1: ("path",)}, marks=("path",)):
        if "path" not in row.cells:
            raise VideoMambaError(f"{row.origin}: has no path; give one in the column `path`")
        yield row.cells["path"]
