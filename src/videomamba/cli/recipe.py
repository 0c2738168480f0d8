"""What the commands of all recipes share: settings from preset, file and options, the list of presets, a run, its accuracy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from videomamba.cli.output import counter, note, print_json, print_table

if TYPE_CHECKING:
    from videomamba.recipes.catalogue import Catalogue, Config
    from videomamba.recipes.config import TrainConfig
    from videomamba.training.run import Trained

_FRESH = "--fresh"
_LEFT = ("preset", "starts from", "teacher")
"""Columns of text."""


def run_recipe(
    arguments: list[str],
    catalogue: Catalogue[Config],
    *,
    description: str,
    check: Callable[[Config], object],
    run: Callable[[Config, bool], object],
) -> int:
    """The command of a recipe: `run(config, fresh)`, or what `--help`, `--presets` and `--print-config` ask for.

    `check` raises VideoMambaError for settings that do not fit together, before PyTorch's training parts are imported.
    """
    from videomamba.cli.options import PRINT_CONFIG
    from videomamba.recipes.load import to_yaml

    if "--presets" in arguments:
        return _list(catalogue, [argument for argument in arguments if argument != "--presets"])
    fresh = _FRESH in arguments
    arguments = [argument for argument in arguments if argument != _FRESH]
    config = recipe_config(arguments, catalogue, description)
    if PRINT_CONFIG in arguments:
        print(to_yaml(config), end="")
        return 0
    check(config)
    run(config, fresh)
    return 0


def recipe_config(arguments: list[str], catalogue: Catalogue[Config], description: str) -> Config:
    """The settings that the arguments of the command describe, unchecked; `--help` prints them and exits."""
    from videomamba.cli.options import parse_config
    from videomamba.recipes.presets import preset_of

    return parse_config(
        catalogue.kind,
        arguments,
        prog=f"videomamba {catalogue.command}",
        description=description,
        presets=lambda name: preset_of(catalogue, name).config,
    )


def trained_with_notes(config: Config, recipe: Callable[..., Trained], fresh: bool) -> Trained:
    """The run of `recipe`, after the notes of its preset; then a line for each of the first skipped videos."""
    from videomamba.recipes.presets import preset
    from videomamba.recipes.videos import name_failures

    if config.preset is not None:
        for text in preset(config.preset).published.notes:
            note(f"{config.preset}: {text}")
    trained = recipe(config, fresh=fresh, notify=note)
    name_failures(trained.progress.failed_videos.items(), "skipped", note)
    return trained


def train_and_print(config: TrainConfig, fresh: bool) -> None:
    """A supervised run, its accuracy by the protocol of its settings, and the published one beside it."""
    from videomamba.recipes.presets import preset
    from videomamba.recipes.supervised import train_and_evaluate

    measured = train_and_evaluate(config, fresh=fresh, notify=note, counter=counter)
    print(f"{measured.weights}: {measured.result}")
    published = None if config.preset is None else preset(config.preset).published
    if published is not None and published.top1 is not None:
        print(f"published for {config.preset}: top-1 {published.top1} % ({published.protocol})")


def _list(catalogue: Catalogue[Any], options: list[str]) -> int:
    from videomamba.schema import VideoMambaError

    if options not in ([], ["--json"]):
        raise VideoMambaError(f"{' '.join(options)}: does not go with --presets, which takes --json only")
    rows = catalogue.table()
    if options:
        for row in rows:
            print_json(row)
    else:
        filled = [column for column in rows[0] if any(row[column] is not None for row in rows)]
        columns = [column for column in filled if column != "model"]  # whose size is part of the name
        left = tuple(i for i, column in enumerate(columns) if column in _LEFT)
        print_table(columns, [["-" if row[c] is None else str(row[c]) for c in columns] for row in rows], left=left)
        print(f"`videomamba {catalogue.command} --preset NAME --print-config` shows all settings of one.")
    return 0
