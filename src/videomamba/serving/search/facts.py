"""What identifies the file of a video, so that an index notices that it has changed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FileFacts:
    """`size` in bytes and `mtime`, the time of the last change in nanoseconds.

    Of a folder of images: the sum of the sizes, and the newest time of the folder and its files, so that an image which is
    added, removed or renamed changes it. A file that cannot be looked at, such as a link without its target, has NO_FACTS.
    """

    size: int
    mtime: int

    @classmethod
    def of(cls, path: Path) -> FileFacts:
        try:
            stats = [path.stat()]
            if not path.is_dir():
                return cls(stats[0].st_size, stats[0].st_mtime_ns)
            files = [file.stat() for file in path.iterdir() if file.is_file()]
        except OSError:
            return NO_FACTS
        newest = max(stat.st_mtime_ns for stat in (*stats, *files))
        return cls(sum(stat.st_size for stat in files), newest)


NO_FACTS = FileFacts(-1, 0)
"""Of a file that cannot be looked at; they differ from those of every other file."""


def content_digest(path: Path) -> bytes:
    """The SHA-256 of a file; empty for a folder of images and for a file that cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return b""


def stored_name(path: Path, folder: Path) -> str:
    """The name of a video in an index: its path below `folder`, with "/"; what is no text is written as in Python."""
    return path.relative_to(folder).as_posix().encode("utf-8", "backslashreplace").decode()
