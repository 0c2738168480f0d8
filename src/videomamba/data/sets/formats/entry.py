"""The result of the readers of all formats: entries as they were written, and a reader for each split."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from videomamba.schema import IgnoredFile, Symmetries, VideoMambaError, one_form

Split = Literal["train", "val", "test"]
Selection = Literal["train", "val", "test", "all"]
"""A split, or all videos of a data set."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One video as in its list or folder: `label` is still text (an index or a class name), `path` is complete.

    `label` and `name`, the class name next to an index, are in one Unicode form; `path` is as stored. `duration` is the
    length of the complete video in seconds.
    """

    path: str
    label: str | None = None
    name: str | None = None
    target: float | None = None
    span: tuple[float, float] | None = None
    duration: float | None = None
    num_frames: int | None = None
    split: str | None = None
    origin: str = ""

    def __post_init__(self) -> None:
        for key in ("label", "name"):
            if (text := getattr(self, key)) is not None:
                object.__setattr__(self, key, one_form(text))


@dataclass(frozen=True)
class Source:
    """A data set that a reader has found but not yet read.

    `parts` reads each split of the data set. `labels` reads its own class names; None: they follow from its training
    entries. `symmetries` None: they follow from the class names. `nameless_mirror`: mirrored videos keep their class even
    if the classes have no names, or the annotations are targets. `ignored` lists the files of a split that are not read.
    """

    parts: Mapping[Split, Callable[[], Sequence[Entry]]]
    labels: Callable[[], Sequence[str]] | None = None
    symmetries: Symmetries | None = None
    nameless_mirror: bool = False
    ignored: Mapping[Split, Callable[[], Sequence[IgnoredFile]]] = field(default_factory=dict)


def number(text: str, what: str, origin: str) -> float:
    """`text` as a finite number; raises VideoMambaError that names `origin`."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if value - value != 0:  # neither NaN nor infinite
        raise VideoMambaError(f"{origin}: {what} {text!r} is not a number; fix the line")
    return value
