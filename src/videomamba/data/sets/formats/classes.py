"""The class names of a data set, and the class of a written label."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from videomamba.data.sets.formats.entry import Entry, Source
from videomamba.data.sets.formats.table import read_names
from videomamba.data.settings import DataSettings
from videomamba.schema import ClassLabel, Number, VideoMambaError, one_form

_INDEX = re.compile(r"[+-]?[0-9]{1,18}")  # longer ones are names: int() rejects the longest
_FRACTION = re.compile(r"[+-]?[0-9]*\.[0-9]+")
_SYNSET = re.compile(r"(n[0-9]{8}) ")  # a line of a labels file of ImageNet: n01440764 tench
_MOST_CLASSES = 100_000
"""The limit for labels as indices: a larger number is an id or a time, and that many names would fill the memory."""


_NUMBERED = re.compile(r"class_[0-9]+")


def numbered_class(index: int) -> str:
    """The name of a class of which only the index is known."""
    return f"class_{index}"


@dataclass(frozen=True)
class Classes:
    """`names` in index order, empty in regression. `by_name`: the indices if labels are written as names."""

    names: tuple[str, ...]
    by_name: Mapping[str, int] | None

    @property
    def named(self) -> bool:
        """Whether the names describe the classes, and are not class_0, class_1, ..."""
        return not all(map(_NUMBERED.fullmatch, self.names))

    def annotation(self, entry: Entry) -> ClassLabel | Number:
        """The annotation of an entry. Raises VideoMambaError for an unknown class name or the other kind."""
        where = entry.origin or entry.path
        if not self.names:
            if entry.target is None:
                raise VideoMambaError(f"{where}: has no target, unlike the training list; fix the line")
            return Number(entry.target)
        if entry.label is None:
            raise VideoMambaError(f"{where}: has a target where the training list has labels; fix the line")
        return ClassLabel(self._index(entry.label, where))

    def _index(self, label: str, where: str) -> int:
        if self.by_name is None and _INDEX.fullmatch(label):
            return int(label)
        index = None if self.by_name is None else self.by_name.get(label)
        if index is None:
            some = ", ".join(self.names[:4]) + (", ..." if len(self.names) > 4 else "")
            raise VideoMambaError(
                f"{where}: class {label!r} is not one of the {len(self.names)} classes of the training videos ({some}); "
                "fix it, or name all classes with data.labels"
            )
        return index


def find_classes(
    source: Source,
    entries: Sequence[Entry],
    settings: DataSettings,
    labels: Sequence[str] | None,
    *,
    without_train: bool = False,
) -> Classes:
    """The classes of a data set, for `entries` of any split; see `read_dataset` for the order of preference.

    With `without_train` the other splits name the classes where there are no training videos. Raises VideoMambaError when
    the classes have no names, or two have the same name.
    """
    deciding = entries
    if "train" in source.parts:
        deciding = source.parts["train"]()
    elif without_train:
        deciding = [entry for part in source.parts.values() for entry in part()]
    written = {entry.label for entry in deciding if entry.label is not None}
    if not written:
        return Classes((), None)
    indexed = all(map(_INDEX.fullmatch, written))
    known = _known_names(source, settings, labels)
    if known is not None:
        names, where = known
        _check_distinct(names, where)
        return Classes(names, _mapping(names) if not indexed or written <= set(names) else None)
    if "train" not in source.parts and not without_train:
        raise VideoMambaError(
            f"{entries[0].origin}: the class names come from the training list; give it with data.train, or data.labels"
        )
    if indexed:
        return Classes(_names_beside(deciding), None)
    fraction = next((e for e in deciding if e.label is not None and _FRACTION.fullmatch(e.label)), None)
    if fraction is not None:
        raise VideoMambaError(
            f"{fraction.origin}: label {fraction.label} is not a class; for regression start the list with a line path,target"
        )
    names = tuple(sorted(written))
    return Classes(names, _mapping(names))


def _known_names(
    source: Source, settings: DataSettings, labels: Sequence[str] | None
) -> tuple[tuple[str, ...], str] | None:
    """(names, their source) if something other than the training list names the classes."""
    if labels is not None:
        return tuple(map(one_form, labels)), "labels"
    if settings.labels is not None:
        return read_names(settings.labels), str(settings.labels)
    return None if source.labels is None else (tuple(map(one_form, source.labels())), str(settings.root))


def _mapping(names: Sequence[str]) -> dict[str, int]:
    synsets = {match[1]: index for index, name in enumerate(names) if (match := _SYNSET.match(name))}
    return {name: index for index, name in enumerate(names)} | synsets


def _names_beside(entries: Sequence[Entry]) -> tuple[str, ...]:
    """The names next to the indices, `numbered_class` for an index without name."""
    firsts: dict[int, Entry] = {}
    for entry in entries:
        if entry.label is not None:
            first = firsts.setdefault(int(entry.label), entry)
            if first.name != entry.name:
                raise VideoMambaError(
                    f"{entry.origin}: class {entry.label} is called {entry.name or 'nothing'}, but {first.name or 'nothing'} "
                    f"in {first.origin}; rename the column if it does not name classes"
                )
    if min(firsts) < 0:
        raise VideoMambaError(f"{firsts[min(firsts)].origin}: label {min(firsts)} is below 0; count classes from 0")
    if max(firsts) >= _MOST_CLASSES:
        raise VideoMambaError(f"{firsts[max(firsts)].origin}: label {max(firsts)} is not a class index; count from 0")
    names = tuple((e.name if (e := firsts.get(i)) else None) or numbered_class(i) for i in range(max(firsts) + 1))
    _check_distinct(names, entries[0].origin)
    return names


def _check_distinct(names: Sequence[str], where: str) -> None:
    name, count = Counter(names).most_common(1)[0] if names else ("", 1)
    if count > 1:
        raise VideoMambaError(f"{where}: two classes are called {name!r}; give each its own name")
