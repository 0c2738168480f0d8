"""Records with texts as columns: a hundred bytes or so for a pair, where records as objects take 600.

Paths and texts are two blobs of UTF-8 with the places where each ends, so that processes share them and Python's garbage
collector has nothing to visit. A record is made when it is asked for.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from videomamba.schema import Annotation, Captions, Choices, CompactRecords, Question, VideoRecord

TextKind = type[Captions] | type[Question] | type[Choices]

_Integers = NDArray[np.int64] | NDArray[np.int32]


class TextRecords(CompactRecords):
    """Records with captions, questions or choices; made by `TextColumns`."""

    def __init__(self, columns: TextColumns) -> None:
        self._kind = columns.kind
        self._prefixes, self._lists = tuple(columns.prefixes), tuple(columns.lists)
        self._paths, self._path_ends = bytes(columns.paths), _frozen(columns.path_ends)
        self._texts, self._text_ends = bytes(columns.texts), _frozen(columns.text_ends)
        self._firsts, self._prefix = _frozen(columns.firsts), _frozen(columns.prefix)
        self._list, self._entry = _frozen(columns.list), _frozen(columns.entry)
        self._right = _frozen(columns.right) if columns.kind is Choices else None
        self._spans = np.frombuffer(columns.spans, np.float64).reshape(-1, 2) if columns.any_span else None

    @property
    def kind(self) -> type:
        return self._kind

    @property
    def nbytes(self) -> int:
        """The bytes of all columns."""
        return len(self._paths) + len(self._texts) + sum(column.nbytes for column in self._columns())

    def __len__(self) -> int:
        return len(self._path_ends)

    @overload
    def __getitem__(self, index: int) -> VideoRecord: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[VideoRecord, ...]: ...

    def __getitem__(self, index: int | slice) -> VideoRecord | tuple[VideoRecord, ...]:
        if isinstance(index, slice):
            return tuple(self._record(place) for place in range(*index.indices(len(self))))
        place = int(index) + len(self) if index < 0 else int(index)
        if not 0 <= place < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        return self._record(place)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TextRecords):
            return NotImplemented
        if self is other:
            return True
        if self._kind is not other._kind or len(self) != len(other) or self._texts != other._texts:
            return False
        return all(one == two for one, two in zip(self, other, strict=True))

    def __hash__(self) -> int:
        return hash((self._kind, len(self), len(self._texts)))

    def __repr__(self) -> str:
        return f"TextRecords({len(self)} with {self._kind.__name__})"

    def path(self, place: int) -> str:
        """The path of record `place`, without making the record."""
        start = int(self._path_ends[place - 1]) if place else 0
        name = self._paths[start : int(self._path_ends[place])].decode("utf-8", "surrogatepass")
        return self._prefixes[int(self._prefix[place])] + name

    def texts(self, place: int) -> tuple[str, ...]:
        """The captions, the choices, or the question and its answers of record `place`."""
        first = int(self._firsts[place])
        last = int(self._firsts[place + 1]) if place + 1 < len(self) else len(self._text_ends)
        start = int(self._text_ends[first - 1]) if first else 0
        found = []
        for end in self._text_ends[first:last].tolist():
            found.append(self._texts[start:end].decode())
            start = end
        return tuple(found)

    def _record(self, place: int) -> VideoRecord:
        span = None
        if self._spans is not None and (end := float(self._spans[place, 1])) > 0:
            span = float(self._spans[place, 0]), end
        where = self._lists[int(self._list[place])]
        number = int(self._entry[place])
        return VideoRecord(
            path=self.path(place),
            annotation=self._annotation(place),
            span=span,
            origin=f"{where} {number}" if number else where,
        )

    def _annotation(self, place: int) -> Annotation:
        texts = self.texts(place)
        if self._kind is Question:
            return Question(texts[0], texts[1:])
        return Captions(texts) if self._right is None else Choices(texts, int(self._right[place]))

    def _columns(self) -> Iterator[NDArray[np.int64] | NDArray[np.int32] | NDArray[np.float64]]:
        yield from (self._path_ends, self._text_ends, self._firsts, self._prefix, self._list, self._entry)
        yield from (column for column in (self._right, self._spans) if column is not None)


class TextColumns:
    """The columns of `TextRecords` while they are filled, one record after the other."""

    def __init__(self, kind: TextKind) -> None:
        self.kind = kind
        self.prefixes: dict[str, int] = {}
        self.lists: dict[str, int] = {}
        self.paths, self.texts = bytearray(), bytearray()
        self.path_ends, self.text_ends, self.firsts = array("q"), array("q"), array("q")
        self.prefix, self.list, self.entry, self.right = array("i"), array("i"), array("i"), array("i")
        self.spans = array("d")
        self.any_span = False

    def add(
        self,
        path: str,
        texts: Sequence[str],
        *,
        base: str = "",
        right: int = 0,
        span: tuple[float, float] | None = None,
        list_name: str,
        entry: int,
    ) -> None:
        """Appends a record. `base` is a beginning that many paths share, such as their folder; `entry` counts from 1."""
        shared = base if base and path.startswith(base) else ""
        self.prefix.append(self.prefixes.setdefault(shared, len(self.prefixes)))
        self.list.append(self.lists.setdefault(list_name, len(self.lists)))
        self.entry.append(entry)
        self.right.append(right)
        self.paths += path[len(shared) :].encode("utf-8", "surrogatepass")
        self.path_ends.append(len(self.paths))
        self.firsts.append(len(self.text_ends))
        for text in texts:
            self.texts += text.encode()
            self.text_ends.append(len(self.texts))
        self.spans.extend(span or (0.0, 0.0))
        self.any_span = self.any_span or span is not None


def _frozen(values: array[int]) -> _Integers:
    found: NDArray[np.int64] = np.frombuffer(values, dtype=f"i{values.itemsize}")
    return found
