"""How each tensor of a weights file and of the model was loaded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

HEAD = ("head.weight", "head.bias")


@dataclass(frozen=True)
class KeyReport:
    """One tensor of the model, of the file, or of both, with its shape on each side."""

    model_key: str | None
    model_shape: tuple[int, ...] | None
    file_key: str | None
    file_shape: tuple[int, ...] | None
    note: str = ""

    def __str__(self) -> str:
        text = self.model_key or self.file_key or ""
        if self.model_shape and self.file_shape and self.model_shape != self.file_shape:
            text += f" {self.file_shape} -> {self.model_shape}"
        return f"{text} ({self.note})" if self.note else text


@dataclass(frozen=True)
class LoadReport:
    """Every tensor of the model and every tensor of the file is in exactly one of the lists.

    From the file: `loaded` unchanged, `resized` to other positions, `inflated` from 2-D to 3-D, `converted` (another
    name, or chosen rows of the head). Not from the file: `zero`, `replaced` (a new, random head), `missing` (allowed; the
    model's values stay). Only in the file: `ignored` (known, but not part of this model), `unexpected` (allowed); and a
    temporal embedding that was added to the positions of a model of one time step (`converted`).

    `assumed` is one line about settings of the network that its tensors do not show: the model's, where the file does not
    state its own, or a difference from the released network; "" where the file states them.
    """

    source: str
    loaded: tuple[KeyReport, ...] = ()
    resized: tuple[KeyReport, ...] = ()
    inflated: tuple[KeyReport, ...] = ()
    converted: tuple[KeyReport, ...] = ()
    zero: tuple[KeyReport, ...] = ()
    replaced: tuple[KeyReport, ...] = ()
    missing: tuple[KeyReport, ...] = ()
    ignored: tuple[KeyReport, ...] = ()
    unexpected: tuple[KeyReport, ...] = ()
    assumed: str = ""

    @property
    def entries(self) -> tuple[KeyReport, ...]:
        """All lists together."""
        return tuple(entry for fate in FATES for entry in getattr(self, fate))

    @property
    def model_keys(self) -> tuple[str, ...]:
        return tuple(entry.model_key for entry in self.entries if entry.model_key is not None)

    @property
    def file_keys(self) -> tuple[str, ...]:
        return tuple(entry.file_key for entry in self.entries if entry.file_key is not None)

    def __str__(self) -> str:
        lines = [f"{self.source}: {len(self.model_keys)} tensors in the model, {len(self.file_keys)} in the file"]
        kept = " with the head" if HEAD[0] in [entry.model_key for entry in self.loaded] else ""
        for fate in FATES:
            entries = getattr(self, fate)
            if entries:
                names = kept if fate == "loaded" else ": " + shortened(map(str, entries))
                lines.append(f"  {fate} {len(entries)}{names}")
        if self.assumed:
            lines.append(f"  assumed: {self.assumed}")
        return "\n".join(lines)


FATES = tuple(field.name for field in fields(LoadReport) if field.name not in ("source", "assumed"))


def shortened(items: Iterable[str], limit: int = 4) -> str:
    """The first `limit` items, and the number of the others."""
    items = list(items)
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(items[:limit]) + more
