"""The presets of all recipes. Their names are unique, so that a name alone says which recipe makes the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from videomamba.recipes.catalogue import Catalogue, Config, Preset
from videomamba.recipes.config import RecipeConfig
from videomamba.recipes.distill_presets import DISTILL
from videomamba.recipes.load import read_names
from videomamba.recipes.pretrain_presets import PRETRAIN
from videomamba.recipes.text.presets import VIDEO_TEXT
from videomamba.recipes.text.questions_presets import QUESTIONS
from videomamba.recipes.train_presets import TRAIN
from videomamba.schema import VideoMambaError, nearest_name

CATALOGUES: tuple[Catalogue[Any], ...] = (TRAIN, DISTILL, PRETRAIN, VIDEO_TEXT, QUESTIONS)


def preset_names() -> list[str]:
    """The names that `preset` knows."""
    return [name for catalogue in CATALOGUES for name in catalogue.presets]


def preset(name: str) -> Preset[Any]:
    """The preset called `name`, of any recipe. Raises VideoMambaError with the nearest name."""
    for catalogue in CATALOGUES:
        if name in catalogue:
            return catalogue[name]
    commands = " and ".join(f"`videomamba {catalogue.command} --presets`" for catalogue in CATALOGUES)
    raise VideoMambaError(
        f"preset {name}: unknown; {nearest_name(name, preset_names(), otherwise=f'{commands} list them')}"
    )


def preset_of(catalogue: Catalogue[Config], name: str) -> Preset[Config]:
    """The preset `name` of one recipe. Raises VideoMambaError that names the nearest, or the recipe that has it."""
    for other in CATALOGUES:
        if other is not catalogue and name in other:
            raise VideoMambaError(f"preset {name}: is a preset of `videomamba {other.command}`; use that command")
    return catalogue[name]


def preset_or_file(name: str) -> RecipeConfig:
    """The settings of a preset, or of the YAML file `name`, of any recipe.

    The recipe of a file is that of the preset it names, else the first that has all its sections. Raises VideoMambaError
    with the nearest name, or file and key.
    """
    config: RecipeConfig
    if not name.endswith((".yaml", ".yml")):
        config = preset(name).config
        return config
    sections, named = read_names(Path(name))
    known = [one for one in CATALOGUES if named is not None and named in one]
    fitting = [one for one in CATALOGUES if sections <= one.kind.model_fields.keys()]
    config = (*known, *fitting, TRAIN)[0].load(Path(name))
    return config
