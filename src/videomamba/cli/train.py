"""`videomamba train`: any supervised run, from a preset, a file, options, or all three."""

from __future__ import annotations

from typing import TYPE_CHECKING

from videomamba.cli.recipe import recipe_config, run_recipe, train_and_print

if TYPE_CHECKING:
    from videomamba.recipes.config import TrainConfig

_DESCRIPTION = """Train on a data set with a published recipe, a YAML file, settings of your own, or all three together.

The command line overrides the file, and the file overrides the preset.
`videomamba train --presets` lists the published recipes.
An interrupted run in the folder run.out is resumed; `--fresh` removes the files of an earlier run there and begins anew."""


def train(arguments: list[str]) -> int:
    """Trains, then evaluates by the protocol of the settings; an interrupted run in the same folder is resumed."""
    from videomamba.recipes.config import check_config
    from videomamba.recipes.train_presets import TRAIN

    return run_recipe(arguments, TRAIN, description=_DESCRIPTION, check=check_config, run=train_and_print)


def train_config(arguments: list[str]) -> TrainConfig:
    """The settings that the arguments of `videomamba train` describe, unchecked; `--help` prints them and exits."""
    from videomamba.recipes.train_presets import TRAIN

    return recipe_config(arguments, TRAIN, _DESCRIPTION)
