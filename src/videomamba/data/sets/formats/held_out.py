"""A validation split for data sets without one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

from videomamba.data.sets.formats.entry import Entry
from videomamba.data.settings import DataSettings
from videomamba.schema import VideoMambaError, one_form


class HeldOutError(VideoMambaError):
    """A class has too few videos to hold one out."""


def held_out(
    entries: Sequence[Entry], settings: DataSettings, *, annotated: bool = True
) -> tuple[list[Entry], list[Entry]]:
    """The training entries and the held-out entries, both in order; the parts of one video stay together.

    Held out is the `val_fraction` of each class whose paths, hashed with `split_seed`, sort first: at least one video, not
    all. Without `annotated`, a class may have a single video: then the share is taken from all videos together.
    Raises HeldOutError for a class with a single video, or with all its videos held out for other classes.
    """
    start = os.path.normpath(settings.root or (settings.train.parent if settings.train is not None else ""))
    paths = [os.path.normpath(entry.path) for entry in entries]  # a.mp4 and ./a.mp4 are one video
    classes: dict[str | None, dict[str, str]] = {}
    firsts: dict[str | None, Entry] = {}
    for entry, path in zip(entries, paths, strict=True):
        below = path.removeprefix(start).replace("\\", "/").lstrip("/")
        below = one_form(below)  # a copy on another system has the same split
        digest = hashlib.sha256(f"{settings.split_seed}/{below}".encode("utf-8", "surrogateescape")).hexdigest()
        classes.setdefault(entry.label, {})[path] = digest
        firsts.setdefault(entry.label, entry)
    if not annotated and min(map(len, classes.values())) < 2:
        classes = {None: {path: digest for videos in classes.values() for path, digest in videos.items()}}
        firsts[None] = entries[0]
    held: set[str] = set()
    for label, videos in classes.items():
        if len(videos) < 2:
            first = firsts[label]
            kind = "the list" if label is None else f"class {label!r}"
            raise HeldOutError(
                f"{f'{first.origin}: ' if first.origin else ''}{first.path}: is the only video of {kind}, but one must be "
                "held out for validation; add videos, or give a validation split"
            )
        count = min(max(round(len(videos) * settings.val_fraction), 1), len(videos) - 1)
        held.update(sorted(videos, key=videos.__getitem__)[:count])
    for label, videos in classes.items():
        if held.issuperset(videos):  # parts of one video may be of several classes
            raise HeldOutError(
                f"{firsts[label].origin or firsts[label].path}: all videos of class {label!r} are held out for other "
                "classes that they also show; give a validation split, or another --split-seed"
            )
    of_train = [entry for entry, path in zip(entries, paths, strict=True) if path not in held]
    return of_train, [entry for entry, path in zip(entries, paths, strict=True) if path in held]
