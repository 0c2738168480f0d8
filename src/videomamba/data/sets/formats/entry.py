"""What the readers of all formats hand over: entries as they were written, and where each split of a data set is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from videomamba.schema import Symmetries, VideoMambaError

Split = Literal["train", "val", "test"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One video as its list or folder names it: `label` is still text (an index or a class name), `path` complete.

    `name` is the class name that stands beside an index. `duration` is that of the whole video in seconds.
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


@dataclass(frozen=True)
class Source:
    """A data set that a reader has found, nothing of it read yet.

    `parts` reads each split that the data set itself has. `labels` are its own class names, None where only its training
    entries tell them. `symmetries` are known of the data set; None: told from the names of its classes. `nameless_mirror`
    says that mirrored videos keep their class even where the classes have no names, or are no classes but targets.
    """

    parts: Mapping[Split, Callable[[], Sequence[Entry]]]
    labels: Callable[[], Sequence[str]] | None = None
    symmetries: Symmetries | None = None
    nameless_mirror: bool = False


def number(text: str, what: str, origin: str) -> float:
    """`text` as a finite number; raises VideoMambaError that names `origin`."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if value - value != 0:  # neither NaN nor infinite
        raise VideoMambaError(f"{origin}: {what} {text!r} is not a number; fix the line")
    return value
