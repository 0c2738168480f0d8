"""Lists of videos or images with texts: JSON, JSONL, CSV, lines of id and caption, SQLite. Read one entry after the other."""

from __future__ import annotations

import csv
import json
import os
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from videomamba.data.sets.formats.lists import SPLIT_NAMES
from videomamba.data.sets.formats.table import read_text
from videomamba.data.sets.formats.text_entry import (
    CAPTIONS,
    MEDIA,
    QUESTIONS,
    TextEntry,
    to_entry,
    valid_name,
    valid_text,
)
from videomamba.data.settings import TextTask
from videomamba.schema import VideoMambaError, counted

SQLITE_SUFFIXES = (".sqlite", ".sqlite3", ".db")
TEXT_SUFFIXES = (".json", ".jsonl", ".csv", ".tsv", ".txt", *SQLITE_SUFFIXES)

_SPACE = re.compile(r"[ \t\n\r]*")
_PLAIN: Mapping[TextTask, Mapping[int, tuple[str, ...]]] = {
    # Six columns without a header: LSMDC, whose second to fifth are times in its film.
    "captions": {2: ("video", "caption"), 6: ("video", "", "", "", "", "caption")},
    "questions": {3: ("video", "question", "answer")},
    "choices": {},
}


def read_entries(file: Path, name: str, task: TextTask, split: str | None = None) -> Iterator[TextEntry]:
    """The entries of a list, in its order. `name` is the list in errors, `split` the part of a list that holds several.

    Raises VideoMambaError, one line that names the list and the line or entry.
    """
    suffix = file.suffix.lower()
    if suffix in SQLITE_SUFFIXES:
        yield from _sqlite(file, name, task)
    elif suffix == ".json":
        yield from _json(file, name, task, split)
    elif suffix == ".jsonl":
        for line, content in enumerate(read_text(file).split("\n"), start=1):
            if content.strip():
                origin = f"{name}, line {line}"
                yield to_entry(_object(_parsed(content, origin), origin), task, line, origin)
    elif suffix in (".csv", ".tsv"):
        yield from _table(file, name, task)
    elif suffix == ".txt":
        yield from _lines(file, name, task)
    else:
        raise VideoMambaError(f"{name}: is no list; give one of {', '.join((*TEXT_SUFFIXES, '.tar'))}")


def unit(file: Path) -> str:
    """What the entries of a list are counted as: "line" or "entry"."""
    return "line" if file.suffix.lower() in (".jsonl", ".csv", ".tsv", ".txt") else "entry"


def grouped(entries: Iterable[TextEntry]) -> Iterator[TextEntry]:
    """The captions of each video as one entry, in the order in which the videos come first."""
    found: dict[str, tuple[int, list[str]]] = {}
    for entry in entries:
        found.setdefault(entry.media[0], (entry.place, []))[1].extend(entry.texts)
    for video, (place, texts) in found.items():
        yield TextEntry((video,), tuple(texts), place, listed=True)


def _json(file: Path, name: str, task: TextTask, split: str | None) -> Iterator[TextEntry]:
    text = read_text(file)
    start = _past_space(text, 0)
    if text.startswith("[", start):
        for place, value in enumerate(_items(text, start + 1, name), start=1):
            origin = f"{name}, entry {place}"
            yield to_entry(_object(value, origin), task, place, origin)
        return
    content = _parsed(text, name)
    if not isinstance(content, dict) or not content:
        raise VideoMambaError(
            f'{name}: is neither a list [{{"video": ..., "caption": ...}}] nor a table; copy it again'
        )
    if isinstance(content.get("sentences"), list) and isinstance(content.get("videos"), list):
        yield from _msrvtt(content, name, task, split)
        return
    for place, (video, facts) in enumerate(content.items(), start=1):
        origin = f"{name}, entry {place} ({video[:60]})"
        written = facts if isinstance(facts, dict) else {"caption": facts}
        # ActivityNet: the times of sentences belong to them, not to the video.
        yield to_entry(written, task, place, origin, media=valid_name(video, origin))


def _msrvtt(content: Mapping[str, Any], name: str, task: TextTask, split: str | None) -> Iterator[TextEntry]:
    """The official file: the split of each video, and sentences with the ids of their videos."""
    if task != "captions":
        raise VideoMambaError(f"{name}: has captions, no {task}; give the list of {task}")
    parts: dict[str, str] = {}
    for place, video in enumerate(content["videos"], start=1):
        if not isinstance(video, dict) or not isinstance(video.get("video_id"), str):
            raise VideoMambaError(f"{name}, video {place}: has no video_id; copy the file again")
        parts[video["video_id"]] = SPLIT_NAMES.get(str(video.get("split", "")).lower(), "")
    several = len(set(parts.values())) > 1

    def wanted() -> Iterator[TextEntry]:
        for place, sentence in enumerate(content["sentences"], start=1):
            origin = f"{name}, sentence {place}"
            entry = to_entry(_object(sentence, origin), "captions", place, origin, media=None)
            video = str(sentence.get("video_id"))
            if video not in parts:
                raise VideoMambaError(f"{origin}: its video {video!r} is not among the videos; copy the file again")
            if split is None or not several or parts[video] == split:
                yield TextEntry((video,), entry.texts, place)

    yield from grouped(wanted())


def _items(text: str, place: int, name: str) -> Iterator[object]:
    """The values of a JSON list from `place` on, each parsed when it is reached: millions of objects would not fit."""
    decoder = json.JSONDecoder()
    place = _past_space(text, place)
    number = 0
    while not text.startswith("]", place):
        number += 1
        try:
            value, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError) as error:
            raise VideoMambaError(f"{name}, entry {number}: is not valid JSON ({error}); copy the file again") from None
        yield value
        place = _past_space(text, place)
        if text.startswith(",", place):
            place = _past_space(text, place + 1)
        elif not text.startswith("]", place):
            raise VideoMambaError(f"{name}: breaks off after entry {number}; copy the file again")
    if _past_space(text, place + 1) != len(text):
        raise VideoMambaError(f"{name}: goes on after its list; for one object a line use the ending .jsonl")


def _past_space(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    return place if found is None else found.end()


def _parsed(text: str, origin: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise VideoMambaError(f"{origin}: is not valid JSON ({error}); fix it") from None


def _object(value: object, origin: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise VideoMambaError(f'{origin}: is not an object; give {{"video": ..., "caption": ...}}')
    return {str(key).lower(): one for key, one in value.items()}


def _table(file: Path, name: str, task: TextTask) -> Iterator[TextEntry]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            first = next((line for line in lines if line.strip()), "")
            lines.seek(0)
            tab = file.suffix.lower() == ".tsv" or "\t" in first
            separator = "\t" if tab else "," if "," in first else ";"
            # Sentences of tab-separated lists hold quotation marks that open nothing.
            reader = csv.reader(
                lines,
                delimiter=separator,
                quoting=csv.QUOTE_NONE if tab else csv.QUOTE_MINIMAL,
                strict=not tab,
                skipinitialspace=not tab,
            )
            yield from _rows(reader, name, task, "tabs" if tab else "commas")
    except UnicodeDecodeError as error:
        raise VideoMambaError(f"{name}: is not UTF-8 text ({error.reason}); save it as UTF-8") from None
    except OSError as error:
        raise VideoMambaError(f"{name}: cannot be read ({error.strerror}); check name and permissions") from None


def _rows(reader: Any, name: str, task: TextTask, separator: str) -> Iterator[TextEntry]:
    columns: tuple[str, ...] | None = None
    begun = False
    line = 1
    try:
        for cells in reader:
            origin, place, line = f"{name}, line {line}", line, reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if not begun:
                begun = True
                columns = _header(cells)
                if columns is not None:
                    if len(set(columns) - {""}) < len(columns) - columns.count(""):
                        raise VideoMambaError(f"{origin}: names a column twice; name each column once")
                    continue
            fitting = columns or _PLAIN[task].get(len(cells))
            if fitting is None or len(fitting) != len(cells):
                expected = [columns] if columns else list(_PLAIN[task].values())
                names = (
                    " or ".join(",".join(filter(None, c)) for c in expected) or "a first line that names the columns"
                )
                several = len(cells) > 1
                advice = "put texts with commas into quotation marks" if several else f"separate them by {separator}"
                raise VideoMambaError(f"{origin}: has {counted(len(cells), 'column')}, expected {names}; {advice}")
            yield to_entry({k: v for k, v in zip(fitting, cells, strict=True) if k and v.strip()}, task, place, origin)
    except csv.Error as error:
        raise VideoMambaError(
            f"{name}, line {line}: cannot be split into columns ({error}); check its quotes"
        ) from None


def _header(cells: list[str]) -> tuple[str, ...] | None:
    names = tuple(cell.strip().lower().replace(" ", "_") for cell in cells)
    return names if set(names) & set(MEDIA) and set(names) & {*CAPTIONS, *QUESTIONS} else None


def _lines(file: Path, name: str, task: TextTask) -> Iterator[TextEntry]:
    """`id caption` lines, as those of MSVD, of one video together. Lines that start with # are comments."""
    if task != "captions":
        raise VideoMambaError(
            f"{name}: a .txt list has an id and a caption a line; give {task} as .json, .jsonl or .csv"
        )

    def each() -> Iterator[TextEntry]:
        for place, line in enumerate(read_text(file).split("\n"), start=1):
            origin = f"{name}, line {place}"
            if line.strip() and not line.startswith("#"):
                cells = line.split(None, 1)
                if len(cells) < 2:
                    raise VideoMambaError(f"{origin}: has no caption after the name of the video; fix the line")
                yield TextEntry(
                    (valid_name(cells[0], origin),), (valid_text(cells[1].strip(), "the caption", origin),), place
                )

    yield from grouped(each())


def _sqlite(file: Path, name: str, task: TextTask) -> Iterator[TextEntry]:
    """The table `annos`: an id, the name of a file and its caption; further columns by their names.

    The connection is opened and closed here: none is shared by processes.
    """
    advice = "give a database with a table annos of id, filename, caption"
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as base:
            columns = [str(row[1]) for row in base.execute("PRAGMA table_info(annos)")]
            if len(columns) < 3:
                found = f"a table annos of {len(columns)} columns" if columns else "no table annos"
                raise VideoMambaError(f"{name}: has {found}; {advice}")
            lowered = [column.lower() for column in columns]
            if not set(lowered[1:]) & set(MEDIA):
                lowered[1] = "video"
            if task == "captions" and not set(lowered) & set(CAPTIONS):
                lowered[2] = "caption"
            order = '"' + columns[0].replace('"', '""') + '"'
            for place, row in enumerate(base.execute(f"SELECT * FROM annos ORDER BY {order}"), start=1):
                facts = dict(zip(lowered[1:], row[1:], strict=True))
                yield to_entry(facts, task, place, f"{name}, entry {place}")
    except (sqlite3.Error, UnicodeDecodeError, OSError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise VideoMambaError(f"{name}: cannot be read as SQLite ({reason}); {advice}") from None
