"""A validation split for data sets that have none."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from videomamba.data.formats.entry import Entry
from videomamba.data.settings import DataSettings
from videomamba.schema import VideoMambaError


def held_out(entries: Sequence[Entry], settings: DataSettings) -> tuple[list[Entry], list[Entry]]:
    """The entries for training and those held out, each in its order; the parts of one video stay together.

    Of each class the `val_fraction` of its videos whose path comes first, hashed with `split_seed`: at least one, not all.
    Raises VideoMambaError for a class with a single video.
    """
    start = settings.root or (settings.train.parent if settings.train is not None else "")
    classes: dict[str | None, dict[str, str]] = {}
    for entry in entries:
        below = entry.path.removeprefix(f"{start}").replace("\\", "/").lstrip("/")
        digest = hashlib.sha256(f"{settings.split_seed}/{below}".encode("utf-8", "surrogateescape")).hexdigest()
        classes.setdefault(entry.label, {})[entry.path] = digest
    held: set[str] = set()
    for label, videos in classes.items():
        if len(videos) < 2:
            kind = "the list" if label is None else f"class {label!r}"
            raise VideoMambaError(
                f"{next(iter(videos))}: is the only video of {kind}, and one must be held out for validation; "
                "add videos, or give a validation split"
            )
        count = min(max(round(len(videos) * settings.val_fraction), 1), len(videos) - 1)
        held.update(sorted(videos, key=videos.__getitem__)[:count])
    return [e for e in entries if e.path not in held], [e for e in entries if e.path in held]
