"""What identifies the videos of a data set, for a run that knows its data again and a network that knows its training videos.

Of each record three digests are kept: of its place (path below the folder that all videos share, span), of its annotation,
and of its file (name and size). So a data set may be moved, and a damaged video may be replaced, and they are still the same;
a video that was added, removed, renamed or given another class is noticed. The content of the files is not read.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from videomamba.schema import VideoError, VideoRecord, VideoSet, one_form
from videomamba.video.open import date_and_size
from videomamba.video.shards import in_shard

MOST_FILES = 20_000
"""The largest training set whose files are looked at and recorded: 160 KB in a weights file, seconds on a network drive."""

MOST_RECORDS = 1_000_000
"""The largest training set of which a checkpoint keeps three digests of each record; of a larger one it keeps one of all."""

TRAINED_ON = "trained_on"
"""The key, in the `info` of a bundle, of the files that its network was trained on."""

_DIGITS = 12  # hexadecimal digits of a digest: two of 20 000 files are alike once in a million data sets


def facts(video_set: VideoSet) -> dict[str, object]:
    """The facts by which a checkpoint identifies its training data: class names, number of records, digests of each.

    Strings and numbers only. "files" is empty for more than MOST_FILES videos. More than MOST_RECORDS records have one digest,
    "all", of their places and annotations.
    """
    records = video_set.records
    if len(records) > MOST_RECORDS:
        return {"labels": video_set.labels, "videos": len(records), "all": _digest_of_all(records)}
    keys = file_keys(records) if _few(records) else {}
    return {
        "labels": video_set.labels,
        "videos": len(records),
        "places": "".join(_places(records)),
        "annotations": "".join(_digest(repr(record.annotation)) for record in records),
        "files": "".join(keys.get(record.path) or "0" * _DIGITS for record in records) if keys else "",
    }


def difference(video_set: VideoSet, before: Mapping[str, object]) -> str:
    """What differs between a data set and the `facts` of another, in words; "" where nothing does."""
    now = facts(video_set)
    ours, theirs = video_set.labels, tuple(_texts(before.get("labels")))
    if ours != theirs:
        changed = [name for name in (*theirs, *ours) if (name in theirs) != (name in ours)]
        what = f"{changed[0]!r} is in one of them only" if changed else "their order differs"
        return f"{len(theirs)} classes, not {len(ours)} ({what})"
    if "all" in now or "all" in before:
        if now["videos"] != before.get("videos"):
            return f"{before.get('videos')} training videos, not {now['videos']}"
        return "" if now.get("all") == before.get("all") else "other training videos or annotations"
    places, known = _cut(now["places"]), _cut(before.get("places"))
    old = set(known)
    added = [record.path for record, place in zip(video_set.records, places, strict=True) if place not in old]
    number = f"{before.get('videos')} training videos, not {len(places)}"
    if len(known) != len(places):
        return number + (f" ({added[0]} is new)" if added else "")
    if added:
        return f"other training videos ({added[0]} is new)"
    if places != known:
        return "the same training videos in another order"
    relabelled = _relabelled(video_set.records, now, before)
    return "" if relabelled is None else f"other annotations ({relabelled} had another)"


def file_keys(records: Iterable[VideoRecord]) -> dict[str, str]:
    """A digest of name and size of each video by its path, without those that are missing.

    The size of a folder is its number of files and the size of the first.
    """
    found: dict[str, str] = {}
    for record in records:
        if record.path not in found and (size := _size(record)) is not None:
            found[record.path] = _digest(f"{one_form(Path(record.path).name)}/{size}")
    return found


def trained_on(video_set: VideoSet, before: str = "") -> dict[str, str]:
    """The entry of a bundle's `info` that records the training videos, with those of `before`, another such entry.

    Empty for more than MOST_FILES videos.
    """
    if not _few(video_set.records):
        return {}
    keys = {bytes.fromhex(key) for key in file_keys(video_set.records).values()} | set(_unpacked(before))
    return {TRAINED_ON: base64.b64encode(b"".join(sorted(keys))).decode()}


def training_files(info: Mapping[str, object]) -> frozenset[str] | None:
    """The `file_keys` that the `info` of a bundle records, None where it records none."""
    text = info.get(TRAINED_ON)
    keys = _unpacked(text) if isinstance(text, str) else []
    return frozenset(key.hex() for key in keys) or None


def _unpacked(text: str) -> list[bytes]:
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:  # edited by hand: nothing is known
        return []
    width = _DIGITS // 2
    if len(data) % width:
        return []
    return [data[i : i + width] for i in range(0, len(data), width)]


def _few(records: Sequence[VideoRecord]) -> bool:
    return len({record.path for record in records}) <= MOST_FILES


def _places(records: Sequence[VideoRecord]) -> list[str]:
    paths = [os.path.normpath(record.path) for record in records]
    try:
        shared = os.path.commonpath([os.path.dirname(path) for path in paths])  # noqa: PTH120 a Path each takes seconds
    except ValueError:  # no paths, absolute and relative ones, or several drives
        shared = ""
    return [
        _digest(f"{one_form(path.removeprefix(shared))}|{record.span}|{record.num_frames}".replace("\\", "/"))
        for path, record in zip(paths, records, strict=True)
    ]


def _digest_of_all(records: Sequence[VideoRecord]) -> str:
    """Of records in their order, wherever the folder that they share is. Nothing is kept of any record."""
    shared: str | None = None
    for record in records:
        folder = os.path.dirname(os.path.normpath(record.path))  # noqa: PTH120 a Path each takes minutes
        if shared is None:
            shared = folder
        elif not f"{folder}{os.sep}".startswith(f"{shared}{os.sep}"):
            try:
                shared = os.path.commonpath([shared, folder])
            except ValueError:  # absolute and relative paths, or several drives
                shared = ""
                break
    total = hashlib.blake2b(digest_size=_DIGITS // 2)
    for record in records:
        path = one_form(os.path.normpath(record.path).removeprefix(shared or "")).replace("\\", "/")
        text = f"{path}|{record.span}|{record.num_frames}|{record.annotation!r}\n"
        total.update(text.encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def _relabelled(records: Sequence[VideoRecord], now: Mapping[str, object], before: Mapping[str, object]) -> str | None:
    """The first video whose annotation has changed, also where it took the place of another video."""
    ours, theirs = _cut(now["annotations"]), _cut(before.get("annotations"))
    for record, one, other in zip(records, ours, theirs, strict=True):
        if one != other:
            return record.path
    files, known = _cut(now["files"]), _cut(before.get("files"))
    if not files or not known:
        return None
    meanings, earlier = _meanings(files, ours), _meanings(known, theirs)
    for record, file in zip(records, files, strict=True):
        if file.strip("0") and file in earlier and meanings[file] != earlier[file]:
            return record.path
    return None


def _meanings(files: Sequence[str], annotations: Sequence[str]) -> dict[str, set[str]]:
    found = defaultdict(set)
    for file, annotation in zip(files, annotations, strict=True):
        found[file].add(annotation)
    return found


def _size(record: VideoRecord) -> str | None:
    path = Path(record.path)
    try:
        if record.num_frames is not None and record.frame_name is not None:
            first = path / record.frame_name.format(1)
            return f"{record.num_frames}/{first.stat().st_size}"
        if path.is_dir():
            names = sorted(name for name in os.listdir(path) if not name.startswith("."))  # noqa: PTH208 names suffice
            return f"{len(names)}/{(path / names[0]).stat().st_size}" if names else None
        return str(date_and_size(path)[1] if in_shard(path) else path.stat().st_size)
    except (OSError, ValueError, VideoError):
        return None


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=_DIGITS // 2).hexdigest()


def _cut(digests: object) -> list[str]:
    text = digests if isinstance(digests, str) else ""
    return [text[i : i + _DIGITS] for i in range(0, len(text), _DIGITS)]


def _texts(names: object) -> list[str]:
    return [str(name) for name in names] if isinstance(names, list | tuple) else []
