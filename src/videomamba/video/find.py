"""Finds the videos below a folder. A file that is ignored is named, unless a rule says that it is none of the user's."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from videomamba.schema import IgnoredFile, VideoError
from videomamba.video.open import IMAGE_SUFFIXES, VIDEO_SUFFIXES, broken_link, existing, natural_order
from videomamba.video.shards import find_member, in_shard

SYSTEM_NAMES = frozenset(
    {"@eadir", "@recycle", "@recently-snapshot", "@sharebin", "@tmp", "#recycle", "#snapshot"}  # NAS: thumbnails, bins
    | {"@transcode", "@__thumb", "@sharesnap", "@app", "~snapshot"}
    | {"$recycle.bin", "system volume information", "found.000", "thumbs.db", "ehthumbs.db", "desktop.ini"}  # Windows
    | {"__macosx", "network trash folder", "temporary items", "lost+found"}
)
"""Files and folders that systems put beside those of a user, in lower case. As hidden ones they are never mentioned."""

Kind = Literal["file", "folder", "broken link", "other"]


@dataclass(frozen=True)
class FoundVideos:
    """`videos` sorted by path, runs of digits as numbers; `ignored` are the other files below the folder."""

    videos: tuple[Path, ...]
    ignored: tuple[IgnoredFile, ...] = ()


def find_videos(path: str | Path) -> list[Path]:
    """The videos at `path`, as `search_videos` finds them."""
    return list(search_videos(path).videos)


def search_videos(path: str | Path, *, may_be_empty: bool = False, within: str | Path | None = None) -> FoundVideos:
    """The videos at `path`: itself if it is a file, also in a tar shard, else all video files below the folder, sorted.

    A folder that holds images, but neither video files nor folders, is one video. A link with the name of a video whose
    target is missing counts as a video, so that it fails by its name. Hidden names and SYSTEM_NAMES are skipped; every
    other file is in `ignored`, with the reason. Links back to the folder, or to one of those between it and `within`, are not
    followed.

    Raises VideoError when there is no such file or folder, or no video in it, unless it `may_be_empty`.
    """
    if in_shard(path):
        find_member(path)
        return FoundVideos((Path(path),))
    path = existing(path)
    if path.is_file():
        return FoundVideos((path,))
    if not path.is_dir():
        raise VideoError(path, "is neither a file nor a folder; give a video file")
    try:
        found = list(_below(path, _folders_between(path, within)))
    except OSError as error:
        reason = f"cannot be listed ({error.strerror}: {error.filename}); check its permissions"
        raise VideoError(path, reason) from error
    ignored = tuple(item for item in found if isinstance(item, IgnoredFile))
    videos = sorted((item for item in found if isinstance(item, Path)), key=natural_order)
    if not videos and not may_be_empty:
        endings = ", ".join(sorted(VIDEO_SUFFIXES))
        others = f"; ignored {describe_ignored(ignored)[0]}" if ignored else ""
        raise VideoError(path, f"no videos in this folder; files ending in {endings} count{others}")
    return FoundVideos(tuple(videos), ignored)


def names_and_kinds(folder: str | Path) -> list[tuple[str, Kind]]:
    """The names in a folder, sorted, without those of the system. Raises OSError when it cannot be listed."""
    with os.scandir(folder) as entries:
        return sorted((entry.name, _kind(entry)) for entry in entries if not is_system_name(entry.name))


def is_system_name(name: str) -> bool:
    """Whether a file or folder of this name is hidden or was put there by a system."""
    return name.startswith(".") or name.casefold() in SYSTEM_NAMES


def why_ignored(path: Path, kind: Kind) -> str:
    """The reason why the file at `path` is not read as a video."""
    suffix = path.suffix.lower()
    if kind == "broken link":
        return broken_link(path) or "cannot be opened; check its permissions"
    if kind == "other":
        return "is neither a file nor a folder"
    if suffix in IMAGE_SUFFIXES:
        return "is an image beside videos or folders"
    return f"does not end like a video ({suffix or 'no ending'})"


def describe_ignored(ignored: Sequence[IgnoredFile]) -> list[str]:
    """A line for each reason: the file, or how many files and the first of them."""
    groups: dict[str, list[str]] = {}
    for one in ignored:
        groups.setdefault(one.reason, []).append(one.path)
    return [
        f"{paths[0]}: {reason}" + (f" (and {len(paths) - 1} more)" if len(paths) > 1 else "")
        for reason, paths in groups.items()
    ]


def _below(folder: Path, above: frozenset[Path]) -> Iterator[Path | IgnoredFile]:
    """`above` are the parent folders: a link back to one of them is not followed."""
    above |= {folder.resolve()}
    entries = [(folder / name, kind) for name, kind in names_and_kinds(folder)]
    folders = [path for path, kind in entries if kind == "folder"]
    files = [(path, kind, path.suffix.lower()) for path, kind in entries if kind != "folder"]
    read, is_video = VIDEO_SUFFIXES, False
    if not folders and not any(suffix in VIDEO_SUFFIXES for _, _, suffix in files):
        is_video = any(suffix in IMAGE_SUFFIXES for _, _, suffix in files)
        read = IMAGE_SUFFIXES
    if is_video:
        yield folder
    for path, kind, suffix in files:
        if suffix not in read or kind == "other":
            yield IgnoredFile(str(path), why_ignored(path, kind))
        elif not is_video:
            yield path
    for below in folders:
        if below.resolve() in above:
            yield IgnoredFile(str(below), "is a link back to a folder above it")
        else:
            yield from _below(below, above)


def _folders_between(path: Path, within: str | Path | None) -> frozenset[Path]:
    if within is None:
        return frozenset()
    top = Path(within).resolve()
    return frozenset({top, *(above for above in path.resolve().parents if above.is_relative_to(top))})


def _kind(entry: os.DirEntry[str]) -> Kind:
    try:
        if entry.is_dir():
            return "folder"
        if entry.is_file():
            return "file"
        return "broken link" if entry.is_symlink() and not Path(entry.path).exists() else "other"
    except OSError:  # a link to itself, or into a folder without permission
        return "broken link"
