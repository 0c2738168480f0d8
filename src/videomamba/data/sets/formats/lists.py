"""Lists of videos: the format `list`, and its parts that the formats of published data sets use."""

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
"""The column names of which a header has at least one."""
_TRAIN, _VAL, _TEST = get_args(Split)
SPLIT_NAMES: Mapping[str, Split] = {
    **dict.fromkeys(("train", "training"), _TRAIN),
    **dict.fromkeys(("val", "validate", "validation", "valid"), _VAL),
    **dict.fromkeys(("test", "testing"), _TEST),
}

_MOST_FRAMES = 1_000_000
"""In a folder: the names of its files are in memory while it is open."""

PATH_LABEL: Mapping[int, Sequence[str]] = {2: ("path", "label")}
PATH_LABEL_DURATION: Mapping[int, Sequence[str]] = {2: ("path", "label"), 3: ("path", "label", "duration")}


def find_list(settings: DataSettings, *, annotated: bool = True) -> Source:
    """Lists as .csv, .tsv, .txt (comma, semicolon, tab or white space between columns) or .jsonl (one object per line).

    With a header, or keys, the columns are path (or video, file, filename and similar), label (or class, class_id) as an
    index or a name, or `target` for regression, and optionally class_name, start, end, duration (seconds), num_frames of a
    folder of frames, split; others are ignored. Without a header a line is path and label. Paths are relative to the root,
    or without one to the folder of their list. The splits are the files named in the settings, else train, val and test
    in the root, else one list (train or annotations) with a column `split`; else a share of the training list is held out.
    Without `annotated` a path is enough; a line without a header is then a path, or path and label.
    """
    files = find_lists(settings)
    for file in files.values():
        if file.suffix.lower() == ".json":
            raise VideoMambaError(f"{file}: is not a list; give .jsonl with one object per line, or set data.format")
    if not files or list(files) == ["train"]:
        single = files.get("train") or list_named(settings.root, "annotations")
        if single is None:
            raise VideoMambaError(
                f"{settings.root}: no list here; looked for train, val, test and annotations with one of the endings "
                f"{', '.join(SUFFIXES)}; name your lists with data.train and data.val"
            )
        return _by_column(single, settings, annotated=annotated)
    parts = {
        split: cache(partial(_of_one_split, file, split, settings, annotated=annotated))
        for split, file in files.items()
    }
    return Source(parts, labels=labels_beside(settings.root or next(iter(files.values())).parent))


def find_lists(settings: DataSettings, folders: Sequence[str] = ("",)) -> dict[Split, Path]:
    """The lists named in the settings, else root/<folder>/train.csv and so on, in the first of `folders` with a list.

    Named lists are relative to the working folder or to the root. Raises VideoMambaError for one that is in neither.
    """
    root, found = settings.root, dict[Split, Path]()
    for folder in folders:
        for name, split in SPLIT_NAMES.items():
            if split not in found and (file := list_named(root and root / folder, name)):
                found[split] = file
        if found:
            break
    given: dict[Split, Path | None] = {"train": settings.train, "val": settings.val, "test": settings.test}
    for split, file in given.items():
        if file is not None:
            places = [file] if root is None else [file, root / file]
            place = next((place for place in places if place.is_file()), None)
            if place is None:
                where = root or "a root"
                raise VideoMambaError(f"data.{split} {file}: no such file, neither here nor in {where}; check the name")
            found[split] = place
    return found


def list_named(folder: Path | None, stem: str) -> Path | None:
    """The list <folder>/<stem> with one of the endings of lists."""
    if folder is None:
        return None
    return next((file for suffix in SUFFIXES if (file := folder / f"{stem}{suffix}").is_file()), None)


def labels_beside(folder: Path) -> Callable[[], Sequence[str]] | None:
    """A reader of `labels.txt`, one class name per line; None if the folder has none."""
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
    """The entries of one list; `locate` completes the paths of the list (default: below the root).

    `plain` names the columns of a list without header. If `annotated`, each entry must have a label or a target.
    Raises VideoMambaError that names file and line.
    """
    plain = plain if annotated else {1: ("path",), **plain}
    rows = read_rows(file, plain=plain, marks=MARKS, name=shown(file, settings.root))
    base = str(settings.root if settings.root is not None else file.parent)
    return to_entries(rows, locate or partial(os.path.join, base), annotated=annotated)


def to_entries(
    rows: Sequence[Row], locate: Callable[[str], str], *, regression: bool = False, annotated: bool = True
) -> list[Entry]:
    """Entries from rows with the columns of `find_list`; see `read_list`. In `regression` labels are targets."""
    _check_columns(rows[0], annotated=annotated)
    return [_entry(row, locate, regression=regression, annotated=annotated) for row in rows]


def duration_of(row: Row) -> float | None:
    """The seconds in the column `duration`, None if it is empty. Raises VideoMambaError for an invalid duration."""
    if "duration" not in row.cells:
        return None
    duration = number(row.cells["duration"], "the duration", row.origin)
    if duration <= 0:
        raise VideoMambaError(f"{row.origin}: the duration {duration:g} is not above 0; fix the line")
    return duration


def shown(file: Path, root: Path | None) -> str:
    """The name of a list in errors: its path from the root, else as given."""
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
    frames = _first(cells, ("num_frames", "total_frames"))
    num_frames = None if frames is None else number(frames, "the number of frames", origin)
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
        raise VideoMambaError(f"{origin}: {start:g} to {end:g} s is not a part of a video; fix the line")
    return start, end


def _check_columns(row: Row, *, annotated: bool) -> None:
    """Refuses a list without the needed columns, with the names of its columns."""
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
    """One list: divided by its column `split` if it has one, else all of it is for training."""
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
    """The list of one split; a column `split` chooses its lines, so that one file may serve several splits."""
    entries = read_list(file, settings, annotated=annotated)
    if any(entry.split for entry in entries):
        entries = [entry for entry in entries if SPLIT_NAMES.get((entry.split or "").lower()) == split]
        if not entries:
            raise VideoMambaError(f"{shown(file, settings.root)}: its column split has no line for {split}; fix it")
    return entries


def _first(cells: Mapping[str, str], names: Sequence[str]) -> str | None:
    return next((cells[name] for name in names if name in cells), None)
