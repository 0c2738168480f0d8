"""Lists of videos as text: columns (comma, semicolon, tab, white space), with or without header, or JSON objects."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videomamba.schema import VideoMambaError, one_form

SUFFIXES = (".csv", ".tsv", ".jsonl", ".txt")

_NO_NAME = re.compile(r"[./\\]|^[+-]?[0-9]+$")
"""A file or folder, or a number: not the name of a column."""
_INDEXED = re.compile(r"\s[+-]?[0-9]+\s*$")


@dataclass(frozen=True, slots=True)
class Row:
    """One line: its cells by the name of their column, in lower case; empty cells are dropped."""

    origin: str
    cells: dict[str, str]


def read_text(file: Path) -> str:
    """The text of a list. Raises VideoMambaError, one line that starts with the file."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise VideoMambaError(f"{file}: is not UTF-8 text ({error.reason}); save it as UTF-8") from None
    except OSError as error:
        raise VideoMambaError(f"{file}: cannot be read ({error.strerror}); check name and permissions") from None
    if "\0" in text:  # UTF-16 without byte order mark, or a damaged file; no path may contain it
        raise VideoMambaError(f"{file}: is not UTF-8 text (null characters); save it as UTF-8")
    return text


def read_json(file: Path) -> Any:
    """Raises VideoMambaError, one line that starts with the file, when it is not valid JSON."""
    try:
        return json.loads(read_text(file))
    except (ValueError, RecursionError) as error:
        raise VideoMambaError(f"{file}: is not valid JSON ({error}); copy it again") from None


def read_names(file: Path) -> tuple[str, ...]:
    """Class names, one per line, in index order, each in `one_form`.

    Raises VideoMambaError for an empty or repeated name, or no names.
    """
    names = read_text(file).rstrip().split("\n")
    seen: dict[str, int] = {}
    for line, raw in enumerate(names, start=1):
        name = one_form(raw.strip())
        if not name:
            raise VideoMambaError(f"{file}, line {line}: is empty; give one class name per line")
        if name in seen:
            raise VideoMambaError(f"{file}, line {line}: {name!r} is also in line {seen[name]}; name each class once")
        seen[name] = line
    return tuple(seen)


def read_rows(file: Path, *, plain: Mapping[int, Sequence[str]], marks: Sequence[str], name: str = "") -> list[Row]:
    """All lines of `file` that are not empty.

    A first line that holds one of `marks`, but no number, file or folder, is a header; spaces in its names count as
    underscores. Without one, a line of n columns has the columns `plain[n]`. The separator is a tab, a comma or a semicolon
    if at least half of the first lines have it, else white space; then columns are split from the right, so that a path
    may contain spaces. JSON values that are lists or objects are ignored. `name` is the name of the file in errors.

    Raises VideoMambaError for a file without lines or that cannot be read, and, with its number, for a line that does not
    fit.
    """
    name = name or str(file)
    text = read_text(file)
    if file.suffix.lower() == ".jsonl":
        rows = list(_objects(text, name))
    else:
        rows = list(_lines(text, plain, marks, name, tab=file.suffix.lower() == ".tsv"))
    if not rows:
        raise VideoMambaError(f"{name}: holds no videos; give one per line")
    return rows


def _objects(text: str, name: str) -> Iterator[Row]:
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        origin = f"{name}, line {line}"
        try:
            cells = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise VideoMambaError(f"{origin}: is not valid JSON ({error}); give one object per line") from None
        if not isinstance(cells, dict):
            raise VideoMambaError(f'{origin}: is not a JSON object; give {{"path": ..., "label": ...}}')
        written = {k: str(v).strip() for k, v in cells.items() if v is not None and not isinstance(v, dict | list)}
        yield Row(origin, {_column(key): value for key, value in written.items() if value})


def _lines(
    text: str, plain: Mapping[int, Sequence[str]], marks: Sequence[str], name: str, *, tab: bool
) -> Iterator[Row]:
    first = [line for line in text.split("\n")[:50] if line.strip()]
    half = len(first) / 2
    separator = next((s for s in ("\t", ",", ";") if first and sum(s in line for line in first) >= half), None)
    if tab and first and separator != "\t" and 1 not in plain:
        raise VideoMambaError(f"{name}: has lines without a tab; separate the columns of a .tsv file by tabs")
    columns: Sequence[str] | None = None
    spaces = min(plain) - 1
    if spaces == 0 and all(_INDEXED.search(line) for line in first):
        spaces = 1  # paths may contain spaces, but rarely do all of them end in a space and a number
    spaced = ((n, [line]) for n, line in enumerate(text.split("\n"), start=1) if line.strip())
    for place, (line, cells) in enumerate(_separated(text, separator, name) if separator else spaced):
        origin = f"{name}, line {line}"
        if place == 0:
            columns = _header(cells if separator else cells[0].split(), marks)
            if columns is not None:
                if len(set(columns)) < len(columns):
                    raise VideoMambaError(f"{origin}: names a column twice; name each column once")
                continue
        if not separator:
            cells = cells[0].rsplit(None, len(columns) - 1 if columns else spaces)
        fitting = columns or plain.get(len(cells), ())
        if len(cells) != len(fitting):
            expected = [columns] if columns else list(plain.values())
            names = " or ".join(",".join(c) for c in expected)
            advice = "fix the line" + ("" if columns else ", or start the file with a line that names its columns")
            raise VideoMambaError(f"{origin}: has {len(cells)} columns, expected {names}; {advice}")
        yield Row(origin, {key: cell.strip() for key, cell in zip(fitting, cells, strict=True) if cell.strip()})


def _header(cells: Sequence[str], marks: Sequence[str]) -> Sequence[str] | None:
    names = [_column(cell) for cell in cells]
    return names if set(names) & set(marks) and not any(_NO_NAME.search(name) for name in names) else None


def _column(name: str) -> str:
    return name.strip().lower().replace(" ", "_")


def _separated(text: str, separator: str, name: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True, skipinitialspace=True)
    line = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise VideoMambaError(
            f"{name}, line {line}: cannot be split into columns ({error}); check its quotes"
        ) from None
