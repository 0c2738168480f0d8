"""The presets of one recipe: runs as named settings, with what is published of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Generic, TypeVar

from videomamba.recipes.config import RecipeConfig
from videomamba.recipes.load import load
from videomamba.schema import Settings, VideoMambaError, nearest_name

Config = TypeVar("Config", bound=RecipeConfig)


class Published(Settings):
    """The top-1 in percent that the paper's authors report for a preset; None where no number was verified."""

    top1: float | None = None
    protocol: str = ""
    source: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Preset(Generic[Config]):
    """A named run and its published result."""

    name: str
    config: Config
    published: Published


class Catalogue(Generic[Config]):
    """The presets of `videomamba COMMAND`, whose settings are a `kind`; made when one is first needed.

    `columns` are those of the table that only this recipe has: a title, and the cell of a config.
    """

    def __init__(
        self,
        command: str,
        kind: type[Config],
        make: Callable[[], Iterable[Preset[Config]]],
        *,
        columns: Mapping[str, Callable[[Config], str | None]],
    ) -> None:
        self.command, self.kind = command, kind
        self._make, self._columns = make, columns

    @cached_property
    def presets(self) -> Mapping[str, Preset[Config]]:
        return {one.name: one for one in self._make()}

    def __contains__(self, name: object) -> bool:
        return name in self.presets

    def __getitem__(self, name: str) -> Preset[Config]:
        """Raises VideoMambaError with the nearest name."""
        if name not in self.presets:
            advice = nearest_name(name, self.presets, otherwise=f"`videomamba {self.command} --presets` lists them")
            raise VideoMambaError(f"preset {name}: unknown; {advice}")
        return self.presets[name]

    def load(self, path: Path) -> Config:
        """The settings of a YAML file, over those of the preset that it names. Raises VideoMambaError with file and key."""
        return load(self.kind, path, presets=lambda name: self[name].config)

    def table(self) -> list[dict[str, str | float | None]]:
        """A row for each preset: its model, data, length and published accuracy."""
        return [
            {
                "preset": made.name,
                "model": made.config.model.name,
                "clip": "x".join(map(str, (made.config.clip.num_frames, *made.config.clip.image_size))),
                "epochs": made.config.optim.epochs,
                "batch": made.config.optim.batch_size,
                "starts from": made.config.model.weights,
                **{title: cell(made.config) for title, cell in self._columns.items()},
                "top-1": made.published.top1,
            }
            for made in self.presets.values()
        ]
