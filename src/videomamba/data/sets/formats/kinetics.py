"""Kinetics (400, 600, 700): its own lists, and the lists of the original."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import chain
from pathlib import Path

from videomamba.data.sets.formats.entry import Entry, Source, Split, number
from videomamba.data.sets.formats.file_index import FileIndex
from videomamba.data.sets.formats.folder import the_root
from videomamba.data.sets.formats.lists import (
    MARKS,
    PATH_LABEL,
    SPLIT_NAMES,
    find_lists,
    labels_beside,
    shown,
    to_entries,
)
from videomamba.data.sets.formats.table import Row, read_rows
from videomamba.data.settings import DataSettings
from videomamba.schema import VideoMambaError

_OFFICIAL = {"youtube_id", "time_start", "time_end"}


def find_kinetics(settings: DataSettings) -> Source:
    """Lists `label,youtube_id,time_start,time_end,split` (train, validate, test .csv in root or root/annotations).

    The videos are <split>/<label, spaces or underscores>/<youtube_id>_<start, 6 digits>_<end, 6 digits>.<video suffix>,
    also without the folder of the label, or of the split. The classes are the sorted labels of the training list. The
    released weights use another order: give it as `labels` to fine-tune or test them. The original's lists `path,label`
    without header are also read; their class names come from `labels` or labels.txt, if given.
    """
    root = the_root(settings)
    lists = find_lists(settings, ("", "annotations"))
    if not lists:
        raise VideoMambaError(
            f"{root}: no Kinetics here; looked for train.csv and annotations/train.csv; give data.train"
        )
    videos = cache(partial(FileIndex, root, depth=2))
    parts = {split: cache(partial(_read, file, split, settings, videos)) for split, file in lists.items()}
    return Source(parts, labels=labels_beside(root), nameless_mirror=True)


def _read(file: Path, split: Split, settings: DataSettings, videos: Callable[[], FileIndex]) -> Sequence[Entry]:
    rows = read_rows(file, plain=PATH_LABEL, marks=MARKS, name=shown(file, settings.root))
    if not set(rows[0].cells) >= _OFFICIAL:
        return to_entries(rows, partial(os.path.join, str(settings.root)))
    if "label" not in rows[0].cells:
        raise VideoMambaError(f"{rows[0].origin}: has no label, like Kinetics' test list; use another list")
    names = [name for name, known in SPLIT_NAMES.items() if known == split]
    return [_entry(row, names, videos()) for row in rows]


def _entry(row: Row, splits: Sequence[str], videos: FileIndex) -> Entry:
    missing = ({"label"} | _OFFICIAL) - set(row.cells)
    if missing:
        raise VideoMambaError(f"{row.origin}: has no {sorted(missing)[0]}; fix the line")
    start, end = (int(number(row.cells[key], f"the {key}", row.origin)) for key in ("time_start", "time_end"))
    label, stem = row.cells["label"], f"{row.cells['youtube_id']}_{start:06d}_{end:06d}"
    folders = (f"{label}/", f"{label.replace(' ', '_')}/", "")
    below_split = (f"{split}/{folder}{stem}" for folder in folders for split in splits)
    return Entry(videos.find(chain(below_split, [stem])), label=label, origin=row.origin)
