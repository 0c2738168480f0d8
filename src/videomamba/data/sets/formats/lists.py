"""Lists of videos: the format `list`, and what the formats of published data sets share with it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import get_args

from videomamba.data.sets.formats.entry import Entry, Source, Split, number
from videomamba.data.sets.formats.table import SUFFIXES, Row, read_names, read_rows
from videomamba.data.settings import DataSettings
from videomamba.schema import VideoMambaError

PATHS = (
    *("path", "video", "file", "filename", "file_name", "filepath", "file_path"),
    *("video_path", "videopath", "video_name", "video_file"),
)
LABELS = ("label", "class_id", "class")
NAMES = ("class_name", "name", "action", "class")
MARKS = (*PATHS, *LABELS, "youtube_id")
"""What a header has: no line without one is taken for it."""
SPLIT_NAMES: Mapping[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "validate": "val",
    "validation": "val",
    "valid": "val",
    "test": "test",
    "testing": "test",
}

_MOST_FRAMES = 1_000_000
"""In a folder, where each is a file whose name is kept in memory while it is open."""

PATH_LABEL: Mapping[int, Sequence[str]] = {2: ("path", "label")}
PATH_LABEL_DURATION: Mapping[int, Sequence[str]] = {2: ("path", "label"), 3: ("path", "label", "duration")}


def find_list(settings: DataSettings, *, annotated: bool = True) -> Source:
    """Lists as .csv, .tsv, .txt (comma, semicolon, tab or white space between columns) or .jsonl (an object a line).

    With a header, or keys, the columns are path (or video, file, filename and the like), label (or class, class_id) as an
    index or a name, or `target` for regression, and where wanted class_name, start, end, duration (seconds), num_frames of
    a folder of frames, split; others are ignored. Without a header a line is path and label. Paths begin at the root,
    without one at the folder of their list. The splits are the files that the settings name, else train, val and test
    beside each other in the root, else one list (train or annotations) with a column `split`; else a share of the training
    list is held out. Not `annotated`, a path is enough; without a header a line is then a path, or path and label.
    """
    files = default_lists(settings.root) | given_lists(settings)
    for file in files.values():
        if file.suffix.lower() == ".json":
            raise VideoMambaError(
                f"{file}: is not a list; give .jsonl with an object a line, or the data.format it belongs to"
            )
    if not files or list(files) == ["train"]:
        whole = files.get("train") or _named(settings.root, ("annotations",))
        if whole is None:
            raise VideoMambaError(
                f"{settings.root}: no list here; looked for train, val, test and annotations with one of the endings "
                f"{', '.join(SUFFIXES)}; name your lists with data.train and data.val"
            )
        return _by_column(whole, settings, annotated=annotated)
    parts = {
        split: cache(partial(_of_one_split, file, split, settings, annotated=annotated))
        for split, file in files.items()
    }
    return Source(parts, labels=labels_beside(settings.root or next(iter(files.values())).parent))


def given_lists(settings: DataSettings) -> dict[Split, Path]:
    """The lists that the settings name, each found from the working folder or from the root.

    Raises VideoMambaError for a file that is in neither.
    """
    given: dict[Split, Path | None] = {"train": settings.train, "val": settings.val, "test": settings.test}
    return {split: _given(file, split, settings.root) for split, file in given.items() if file is not None}


def default_lists(root: Path | None, folders: Sequence[str] = ("",)) -> dict[Split, Path]:
    """The lists root/<folder>/train.csv and so on, of the first of `folders` that holds any."""
    found: dict[Split, Path] = {}
    for folder in folders:
        for name, split in SPLIT_NAMES.items():
            file = _named(None if root is None else root / folder, (name,))
            if file is not None:
                found.setdefault(split, file)
        if found:
            break
    return found


def labels_beside(folder: Path) -> Callable[[], Sequence[str]] | None:
    """Reads `labels.txt`, one class name a line, where the folder has one."""
    file = folder / "labels.txt"
    return partial(read_names, file) if file.is_file() else None


def read_list(
    file: Path,
    settings: DataSettings,
    *,
    plain: Mapping[int, Sequence[str]] = PATH_LABEL,
    locate: Callable[[str], str] | None = None,
    annotated: bool = True,
) -> list[Entry]:
    """The entries of one list; `locate` makes a complete path of what the list says (default: below the root).

    `plain` names the columns of a list without header. Each entry has a label or a target where it must be `annotated`.
    Raises VideoMambaError that names file and line.
    """
    plain = plain if annotated else {1: ("path",), **plain}
    rows = read_rows(file, plain=plain, marks=MARKS, name=shown(file, settings.root))
    base = str(settings.root if settings.root is not None else file.parent)
    return to_entries(rows, locate or partial(os.path.join, base), annotated=annotated)


def to_entries(
    rows: Sequence[Row], locate: Callable[[str], str], *, regression: bool = False, annotated: bool = True
) -> list[Entry]:
    """Rows with the columns that `find_list` names as entries; see `read_list`. In `regression` labels are targets."""
    _check_columns(rows[0], annotated=annotated)
    return [_entry(row, locate, regression=regression, annotated=annotated) for row in rows]


def duration_of(row: Row) -> float | None:
    """Seconds in the column `duration`, None where it is empty. Raises VideoMambaError for what is not a duration."""
    if "duration" not in row.cells:
        return None
    duration = number(row.cells["duration"], "the duration", row.origin)
    if duration <= 0:
        raise VideoMambaError(f"{row.origin}: the duration {duration:g} is not above 0; fix the line")
    return duration


def shown(file: Path, root: Path | None) -> str:
    """What errors call a list: its path from the root, else as it was given."""
    return file.relative_to(root).as_posix() if root is not None and file.is_relative_to(root) else str(file)


def _entry(row: Row, where: Callable[[str], str], *, regression: bool, annotated: bool) -> Entry:
    cells, origin = row.cells, row.origin
    path, label = _first(cells, PATHS), _first(cells, LABELS)
    if path is None:
        raise VideoMambaError(f"{origin}: has no path; fix the line")
    target = label if regression and label is not None else cells.get("target")
    if target is not None:
        label = None
    elif label is None and annotated:
        raise VideoMambaError(f"{origin}: has no label; fix the line")
    duration = duration_of(row)
    num_frames = number(cells[key], "the number of frames", origin) if (key := _frames(cells)) else None
    if num_frames is not None and not (1 <= num_frames <= _MOST_FRAMES and num_frames == int(num_frames)):
        raise VideoMambaError(f"{origin}: {num_frames:g} is not a number of frames; fix the line")
    return Entry(
        path=where(path),
        label=label,
        name=next((cells[name] for name in NAMES if name in cells and cells[name] != label), None),
        target=None if target is None else number(target, "the target", origin),
        span=_span(cells, duration, origin),
        duration=duration,
        num_frames=None if num_frames is None else int(num_frames),
        split=cells.get("split"),
        origin=origin,
    )


def _span(cells: Mapping[str, str], duration: float | None, origin: str) -> tuple[float, float] | None:
    if "start" not in cells and "end" not in cells:
        return None
    start = number(cells["start"], "the start", origin) if "start" in cells else 0.0
    if "end" not in cells and duration is None:
        raise VideoMambaError(f"{origin}: has a start but neither end nor duration; give the end in seconds")
    end = number(cells["end"], "the end", origin) if "end" in cells else duration
    if end is None or not 0 <= start < end:
        raise VideoMambaError(f"{origin}: from {start:g} to {end:g} s is not a part of a video; fix the line")
    return start, end


def _check_columns(row: Row, *, annotated: bool) -> None:
    """A list without the needed columns is refused once, by what it has, rather than for its first line."""
    columns = ", ".join(row.cells)
    if {"youtube_id", "time_start"} <= set(row.cells):
        raise VideoMambaError(f"{row.origin}: has the columns of Kinetics' own lists; add data.format kinetics")
    if _first(row.cells, PATHS) is None:
        raise VideoMambaError(f"{row.origin}: there is no path; the columns are {columns}; name one of them path")
    if annotated and _first(row.cells, LABELS) is None and "target" not in row.cells:
        raise VideoMambaError(
            f"{row.origin}: there is no label; the columns are {columns}; name one of them label, or target for regression"
        )


def _by_column(file: Path, settings: DataSettings, *, annotated: bool) -> Source:
    """One list: cut by its column `split` if it has one, else all of it is for training."""
    entries = read_list(file, settings, annotated=annotated)
    labels = labels_beside(settings.root or file.parent)
    if all(entry.split is None for entry in entries):
        return Source({"train": lambda: entries}, labels=labels)
    cut: dict[Split, list[Entry]] = {}
    for entry in entries:
        split = SPLIT_NAMES.get((entry.split or "").lower())
        if split is None:
            known = ", ".join(get_args(Split))
            raise VideoMambaError(f"{entry.origin}: {entry.split or 'nothing'} is not a split; write one of {known}")
        cut.setdefault(split, []).append(entry)
    return Source({split: partial(list, part) for split, part in cut.items()}, labels=labels)


def _of_one_split(file: Path, split: Split, settings: DataSettings, *, annotated: bool) -> list[Entry]:
    """A list that stands for one split; a column `split` in it chooses the lines, so that one file may be named twice."""
    entries = read_list(file, settings, annotated=annotated)
    if any(entry.split for entry in entries):
        entries = [entry for entry in entries if SPLIT_NAMES.get((entry.split or "").lower()) == split]
        if not entries:
            raise VideoMambaError(f"{shown(file, settings.root)}: its column split has no line for {split}; fix it")
    return entries


def _given(file: Path, split: Split, root: Path | None) -> Path:
    places = [file] if root is None else [file, root / file]
    for place in places:
        if place.is_file():
            return place
    raise VideoMambaError(f"--{split} {file}: no such file, neither here nor in {root or 'a root'}; check the name")


def _named(folder: Path | None, stems: Sequence[str]) -> Path | None:
    if folder is None:
        return None
    return next((f for stem in stems for suffix in SUFFIXES if (f := folder / f"{stem}{suffix}").is_file()), None)


def _first(cells: Mapping[str, str], names: Sequence[str]) -> str | None:
    for name in names:
        if name in cells:
            return cells[name]
    return None


def _frames(cells: Mapping[str, str]) -> str | None:
    return next((key for key in ("num_frames", "total_frames") if key in cells), None)
