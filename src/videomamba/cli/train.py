"""`videomamba train`: any supervised run, from a preset, a file, options, or all three."""

from __future__ import annotations

from typing import TYPE_CHECKING

from videomamba.cli.output import counter, note, print_json, print_table

if TYPE_CHECKING:
    from videomamba.recipes.config import TrainConfig

_DESCRIPTION = """Train on a data set with a published recipe, a YAML file, settings of your own, or all three together.

The command line overrides the file, and the file overrides the preset.
`videomamba train --presets` lists the published recipes.
An interrupted run in the folder run.out is resumed; `--fresh` removes the files of an earlier run there and begins anew."""
_FRESH = "--fresh"


def train(arguments: list[str]) -> int:
    """Trains, then evaluates by the protocol of the settings; an interrupted run in the same folder is resumed."""
    from videomamba.cli.options import PRINT_CONFIG
    from videomamba.recipes.config import check_config
    from videomamba.recipes.load import to_yaml
    from videomamba.recipes.presets import preset

    if "--presets" in arguments:
        return _presets([argument for argument in arguments if argument != "--presets"])
    fresh = _FRESH in arguments
    arguments = [argument for argument in arguments if argument != _FRESH]
    config = train_config(arguments)
    if PRINT_CONFIG in arguments:
        print(to_yaml(config), end="")
        return 0
    check_config(config)  # before PyTorch's training parts are imported

    from videomamba.recipes.supervised import train_and_evaluate

    measured = train_and_evaluate(config, fresh=fresh, notify=note, counter=counter)
    print(f"{measured.weights}: {measured.result}")
    published = None if config.preset is None else preset(config.preset).published
    if published is not None and published.top1 is not None:
        print(f"published for {config.preset}: top-1 {published.top1} % ({published.protocol})")
    return 0


def train_config(arguments: list[str]) -> TrainConfig:
    """The settings that the arguments of `videomamba train` describe, unchecked; `--help` prints them and exits."""
    from videomamba.cli.options import parse_config
    from videomamba.recipes.config import TrainConfig
    from videomamba.recipes.presets import preset

    return parse_config(
        TrainConfig,
        arguments,
        prog="videomamba train",
        description=_DESCRIPTION,
        presets=lambda name: preset(name).config,
    )


def _presets(options: list[str]) -> int:
    from videomamba.recipes.presets import presets_table
    from videomamba.schema import VideoMambaError

    if options not in ([], ["--json"]):
        raise VideoMambaError(f"{' '.join(options)}: does not go with --presets, which takes --json only")
    rows = presets_table()
    if options:
        for row in rows:
            print_json(row)
    else:
        columns = [column for column in rows[0] if column != "model"]  # whose size is part of the name
        print_table(columns, [["-" if row[c] is None else str(row[c]) for c in columns] for row in rows], left=(0, 4))
        print("`videomamba train --preset NAME --print-config` shows all settings of one.")
    return 0
