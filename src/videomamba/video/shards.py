"""Videos and images in tar shards as WebDataset writes them: `shard.tar::KEY.mp4` is read in place, without a copy on disk.

A shard is an uncompressed tar file. The files of a pair are named KEY.mp4, KEY.txt and so on, as WebDataset groups them: KEY
ends at the first dot of the file name. The one file that imports webdataset, and only to list the pairs of shards: opening one
needs nothing but the table of its shard. Nothing is extracted, and of the contents only captions are interpreted.
"""

from __future__ import annotations

import io
import math
import os
import posixpath
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, cast

from videomamba.schema import IgnoredFile, VideoError, VideoMambaError

SHARD_SUFFIX = ".tar"
_JOINT = "::"
_MARK = f"{SHARD_SUFFIX}{_JOINT}"
_MOST_MEMBERS = 4_000_000
_META = re.compile(r"__[^/]*__($|/)")
"""Names that WebDataset keeps for itself."""

_MOST_SHARDS = 1_000_000
_RANGE = re.compile(r"\{(-?\d{1,4000})\.\.(-?\d{1,4000})[.}]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class _Section(io.RawIOBase):
    """The bytes start ... start + size - 1 of a file, as a file of their own."""

    def __init__(self, shard: Path, start: int, size: int, name: str) -> None:
        self.name = name  # FFmpeg considers the ending when it recognises a format
        self._file = shard.open("rb", buffering=0)
        self._start, self._size, self._place = start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError(22, "Invalid argument")
        self._place = base + offset
        return self._place

    def readinto(self, buffer: object, /) -> int:
        view = memoryview(cast("bytearray", buffer)).cast("B")
        wanted = max(min(len(view), self._size - self._place), 0)
        self._file.seek(self._start + self._place)
        count = self._file.readinto(view[:wanted]) or 0
        self._place += count
        return count

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


@dataclass(frozen=True)
class Member:
    """A file in a shard, with those parts of `pathlib.Path` that reading needs. Printed as `shard.tar::KEY.mp4`."""

    shard: Path
    key: str
    start: int = field(repr=False)
    size: int = field(repr=False)

    @property
    def name(self) -> str:
        return posixpath.basename(self.key)

    @property
    def suffix(self) -> str:
        return posixpath.splitext(self.key)[1]

    def open(self, mode: str = "rb") -> BinaryIO:
        """Raises OSError as opening the shard does."""
        return cast("BinaryIO", _Section(self.shard, self.start, self.size, self.name))

    def __str__(self) -> str:
        return f"{self.shard}{_JOINT}{self.key}"


Media: TypeAlias = Path | Member
"""What FFmpeg reads: a file, or a file in a shard."""


@dataclass(frozen=True)
class Shard:
    """The table of a tar file: place and size of each regular file with an acceptable name, in the order of the tar file.

    `ignored` are the others, with the reason. `damage` says where the table breaks off, "" for a sound shard.
    """

    path: Path
    files: Mapping[str, tuple[int, int]]
    ignored: tuple[IgnoredFile, ...]
    damage: str

    def member(self, name: str) -> Member:
        """Raises KeyError for a name that is not in `files`."""
        return Member(self.path, name, *self.files[name])


@dataclass(frozen=True)
class Sample:
    """The files of one KEY: the names of its video or image, and of the others by their ending ("txt", "json")."""

    key: str
    media: str
    others: Mapping[str, str]


def in_shard(path: str | Path) -> bool:
    """Whether `path` has the form of a file in a shard."""
    return _MARK in str(path)


def find_member(path: str | Path) -> Member:
    """The file in a shard that `path` names. Raises VideoError when the shard, or this file in it, is missing."""
    cut = str(path).index(_MARK) + len(SHARD_SUFFIX)
    shard, name = str(path)[:cut], str(path)[cut + len(_JOINT) :]
    try:
        status = Path(shard).stat()
    except OSError as error:
        raise VideoError(path, f"its shard cannot be opened ({error.strerror}); check the name {shard}") from None
    table = _table(shard, status.st_mtime_ns, status.st_size)
    if name not in table.files:
        reason = next((f.reason for f in table.ignored if f.path == str(path)), "")
        reason = reason or (
            f"is missing: the shard {table.damage}" if table.damage else "is not in its shard; check the name"
        )
        raise VideoError(path, reason)
    return table.member(name)


def read_shard(path: str | Path) -> Shard:
    """The table of the tar file `path`. Only its headers are read.

    Raises VideoError, one line that starts with the path, for a missing file, one that is no uncompressed tar file, and one
    with an absurd number of files.
    """
    path = Path(path)
    files: dict[str, tuple[int, int]] = {}
    ignored: list[IgnoredFile] = []
    damage = ""
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(0)
            for item in _headers(file, end):
                if isinstance(item, str):
                    damage = item
                    break
                _take(item, path, files, ignored)
                if len(files) + len(ignored) > _MOST_MEMBERS:
                    raise VideoError(path, f"holds more than {_MOST_MEMBERS} files; write shards of a few thousand")
    except OSError as error:
        raise VideoError(path, f"cannot be opened ({error.strerror}); check the name and the permissions") from None
    if damage and not files and not ignored:
        raise VideoError(path, f"{damage}; a shard is an uncompressed tar file")
    return Shard(path, files, tuple(ignored), damage)


def samples(shard: Shard, media_suffixes: frozenset[str]) -> tuple[list[Sample], list[IgnoredFile]]:
    """The pairs of a shard in its order, and the keys that hold no video or image, or more than one.

    Raises VideoMambaError when webdataset is not installed.
    """
    base_plus_ext = _grouping()
    media: dict[str, str] = {}
    others: dict[str, dict[str, str]] = {}
    ignored: list[IgnoredFile] = []
    for name in shard.files:
        if _META.match(name):
            continue
        key, ending = base_plus_ext(name)
        if key is None:
            ignored.append(IgnoredFile(f"{shard.path}{_JOINT}{name}", "has no ending, so it belongs to no pair"))
        elif f".{ending.rpartition('.')[2].lower()}" not in media_suffixes:
            others.setdefault(key, {})[ending.lower()] = name
        elif media.setdefault(key, name) != name:
            ignored.append(
                IgnoredFile(f"{shard.path}{_JOINT}{name}", f"{media[key]} is read instead; give each its own key")
            )
    for key in others.keys() - media.keys():
        first = next(iter(others[key].values()))
        ignored.append(IgnoredFile(f"{shard.path}{_JOINT}{first}", "has no video or image beside it"))
    return [Sample(key, name, others.get(key, {})) for key, name in media.items()], sorted(ignored, key=str)


def expand_shards(pattern: str) -> list[str]:
    """`shards-{0000..0012}.tar` as the names of 13 shards, in order, as WebDataset expands braces; other names as they are.

    Raises VideoMambaError for braces that cannot be expanded, or when webdataset is not installed.
    """
    if "{" not in pattern:
        return [pattern]
    if _JOINT in pattern or "$" in pattern:
        raise VideoMambaError(f"{pattern}: give the name of a shard, with {{0000..0012}} for many")
    shards = math.prod(abs(int(last) - int(first)) + 1 for first, last in _RANGE.findall(pattern))
    if shards > _MOST_SHARDS:
        raise VideoMambaError(f"{pattern}: names {shards} shards, more than {_MOST_SHARDS}; check its braces")
    try:
        from webdataset.shardlists import expand_urls
    except ModuleNotFoundError:
        raise VideoMambaError(_EXTRA) from None
    try:
        names = [str(name) for name in expand_urls(pattern)]
    except ValueError as error:
        raise VideoMambaError(f"{pattern}: braces cannot be expanded ({error}); write {{0000..0012}}") from None
    if names == [pattern]:
        raise VideoMambaError(f"{pattern}: braces cannot be expanded; write {{0000..0012}}")
    return names


_EXTRA = "tar shards need webdataset; pip install 'videomamba[text]'"


def _grouping() -> Callable[[str], tuple[str | None, str]]:
    try:
        from webdataset.tariterators import base_plus_ext
    except ModuleNotFoundError:
        raise VideoMambaError(_EXTRA) from None
    return cast("Callable[[str], tuple[str | None, str]]", base_plus_ext)


@lru_cache(maxsize=128)
def _table(path: str, _changed: int, _size: int) -> Shard:
    """The tables of the shards last used: a training run returns to its shards in random order."""
    return read_shard(path)


def _headers(file: BinaryIO, end: int) -> Iterator[tarfile.TarInfo | str]:
    """The entries of a tar file, and at last the reason if the table is damaged. tarfile ends quietly at some damage."""
    last = "its start"
    try:
        tar: Any = tarfile.open(fileobj=file, mode="r:", encoding="utf-8", errors="surrogateescape")  # noqa: SIM115 closes `file`
        while (entry := tar.next()) is not None:
            if entry.size < 0 or tar.offset <= entry.offset:
                yield f"is damaged after {last} (a size below 0)"
                return
            if entry.isreg() and entry.offset_data + entry.size > end:
                yield f"is cut short in {_plain(entry.name)}; copy or download it again"
                return
            last = _plain(entry.name)
            yield entry
            tar.members = []  # tarfile would keep them all
    except (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError) as error:
        text = str(error).partition("\n")[0] or type(error).__name__
        yield f"is damaged after {last} ({text}); copy or download it again"
        return
    file.seek(tar.offset)
    if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
        yield f"is damaged after {last} (no header there); copy or download it again"


def _plain(name: str) -> str:
    """`name` on one line: no message carries line breaks or codes for the terminal."""
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], name)


def _take(entry: tarfile.TarInfo, shard: Path, files: dict[str, tuple[int, int]], ignored: list[IgnoredFile]) -> None:
    if entry.isdir():
        return
    name = posixpath.normpath(entry.name)
    reason = ""
    if entry.name.startswith("/") or ".." in entry.name.split("/") or "\\" in entry.name or ":" in entry.name:
        reason = "has a name that leads out of the shard; rename it"
    elif _CONTROL.search(entry.name):
        reason = "has control characters in its name; rename it"
    elif entry.issym() or entry.islnk():
        reason = f"is a link to {_plain(entry.linkname)}; store the file itself"
    elif not entry.isreg() or entry.issparse():
        reason = "is no ordinary file; store it as one"
    elif name in files:
        reason = "is in the shard twice; the first is read"
    if reason:
        ignored.append(IgnoredFile(f"{shard}{_JOINT}{_plain(entry.name)}", reason))
    else:
        files[name] = (entry.offset_data, entry.size)
