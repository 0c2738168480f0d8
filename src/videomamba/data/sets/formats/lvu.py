"""LVU, long-form video understanding: nine tasks on clips of movies. Source of files and constants: ViS4mer, 2204.01692."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path

from videomamba.data.sets.formats.classes import numbered_class
from videomamba.data.sets.formats.entry import Entry, Source, number
from videomamba.data.sets.formats.file_index import FileIndex
from videomamba.data.sets.formats.folder import the_root
from videomamba.data.sets.formats.lists import (
    MARKS,
    PATH_LABEL_DURATION,
    duration_of,
    find_lists,
    shown,
    to_entries,
)
from videomamba.data.sets.formats.table import Row, read_rows
from videomamba.data.settings import DataSettings, LvuTask
from videomamba.schema import VideoMambaError

NUM_CLASSES: Mapping[LvuTask, int] = {
    "relationship": 4,
    "way_speaking": 5,
    "scene": 6,
    "director": 10,
    "genre": 4,
    "writer": 10,
    "year": 9,
}

# The published means of ln(views) and 10 likes / (likes + dislikes), which are subtracted from the targets.
VIEWS_MEAN = 11.76425435683139
LIKES_MEAN = 9.138220535629456

_FOLDERS = ("", "lvu_1.0")
_VIDEO_FOLDERS = ("", "videos/", "mc_videos/")


def find_lvu(settings: DataSettings) -> Source:
    """<task>/train.csv, val.csv and test.csv in root or root/lvu_1.0, and lvu_durations.csv next to the tasks.

    The columns, separated by white space, are `class_id class_name youtube_id imdb_id`; of like_ratio
    `like_count dislike_count youtube_id imdb_id`; of view_count `view_count youtube_id imdb_id`. The targets become
    10 likes / (likes + dislikes) and ln(views), minus their published means. The videos are <youtube_id>.mp4 (or another
    video suffix) in root, root/videos or root/mc_videos. Class ids without videos are named class_<id>. Or lists without
    header, as in the original: `path,label` or `path,label,duration`; in regression label is the target, on this scale.

    For windows, durations come from the lists, then from lvu_durations.csv; a video in neither is opened.
    """
    root, task = the_root(settings), settings.task
    if task is None:
        tasks = ", ".join((*NUM_CLASSES, "like_ratio", "view_count"))
        raise VideoMambaError(f"task: LVU has nine tasks; choose one with data.task: {tasks}")
    lists = find_lists(settings, [str(Path(folder) / task) for folder in _FOLDERS])
    if not lists:
        raise VideoMambaError(f"{root}: no LVU task {task} here; looked for {task}/train.csv, also in lvu_1.0")
    videos = cache(partial(FileIndex, root, depth=1))
    durations = cache(partial(_durations, root))
    parts = {s: cache(partial(_read, f, task, settings, videos, durations)) for s, f in lists.items()}
    return Source(
        parts,
        labels=cache(partial(_labels, lists.get("train"), task, settings)) if task in NUM_CLASSES else None,
        nameless_mirror=True,
    )


def _rows(file: Path, settings: DataSettings) -> list[Row]:
    return read_rows(file, plain=PATH_LABEL_DURATION, marks=MARKS, name=shown(file, settings.root))


def _read(
    file: Path,
    task: LvuTask,
    settings: DataSettings,
    videos: Callable[[], FileIndex],
    durations: Callable[[], Mapping[str, float]],
) -> Sequence[Entry]:
    rows = _rows(file, settings)
    if "youtube_id" not in rows[0].cells:
        return to_entries(rows, partial(os.path.join, str(settings.root)), regression=task not in NUM_CLASSES)
    return [_entry(row, task, videos(), durations()) for row in rows]


def _entry(row: Row, task: LvuTask, videos: FileIndex, durations: Mapping[str, float]) -> Entry:
    video = _cell(row, "youtube_id")
    return Entry(
        path=videos.find(f"{folder}{video}" for folder in _VIDEO_FOLDERS),
        label=_cell(row, "class_id") if task in NUM_CLASSES else None,
        target=None if task in NUM_CLASSES else _target(row, task),
        duration=durations.get(video),
        origin=row.origin,
    )


def _target(row: Row, task: LvuTask) -> float:
    columns = ["view_count"] if task == "view_count" else ["like_count", "dislike_count"]
    counts = [number(_cell(row, column), column, row.origin) for column in columns]
    if min(counts) < 0 or sum(counts) <= 0:
        raise VideoMambaError(f"{row.origin}: {' and '.join(columns)} must be above 0; fix the line")
    return math.log(counts[0]) - VIEWS_MEAN if task == "view_count" else 10 * counts[0] / sum(counts) - LIKES_MEAN


def _cell(row: Row, column: str) -> str:
    if column not in row.cells:
        raise VideoMambaError(f"{row.origin}: has no {column}; is this the list of another task?")
    return row.cells[column]


def _labels(file: Path | None, task: LvuTask, settings: DataSettings) -> Sequence[str]:
    names = {i: numbered_class(i) for i in range(NUM_CLASSES[task])}
    for row in _rows(file, settings) if file is not None else ():
        if {"class_id", "class_name"} <= set(row.cells) and row.cells["class_id"].isdigit():
            # The lists write \N for an unknown writer.
            names[int(row.cells["class_id"])] = row.cells["class_name"].replace("\\N", "unknown")
    return [names[i] for i in range(NUM_CLASSES[task])]


def _durations(root: Path) -> Mapping[str, float]:
    file = next((f for folder in _FOLDERS if (f := root / folder / "lvu_durations.csv").is_file()), None)
    if file is None:
        return {}
    rows = read_rows(file, plain={2: ("videoid", "duration")}, marks=("videoid",), name=shown(file, root))
    known = ((row.cells.get("videoid"), duration_of(row)) for row in rows)
    return {video: duration for video, duration in known if video is not None and duration is not None}
