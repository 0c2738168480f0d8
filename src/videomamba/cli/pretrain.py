"""`videomamba pretrain`: masked pretraining, aligned with a teacher."""

from __future__ import annotations

import math
import shlex
from typing import TYPE_CHECKING

from videomamba.cli.recipe import run_recipe, trained_with_notes

if TYPE_CHECKING:
    from videomamba.recipes.pretrain_config import PretrainConfig

_DESCRIPTION = """Pretrain on videos without labels: the network sees a fifth of each clip and learns a teacher's features.

The teacher is a CLIP of transformers (extra `text`) or another VideoMamba. `videomamba finetune FOLDER --weights
OUT/best.safetensors` then learns classes from few labels.
The command line overrides the file of --config, and the file overrides the preset.
`videomamba pretrain --presets` lists the published recipes; `videomamba data sheet CLIP --mask NAME` draws a mask.
An interrupted run in the folder run.out is resumed; `--fresh` removes the files of an earlier run there and begins anew."""


def pretrain(arguments: list[str]) -> int:
    """Pretrains; an interrupted run in the same folder is resumed."""
    from videomamba.recipes.pretrain_config import check_pretrain
    from videomamba.recipes.pretrain_presets import PRETRAIN

    return run_recipe(arguments, PRETRAIN, description=_DESCRIPTION, check=check_pretrain, run=_run)


def _run(config: PretrainConfig, fresh: bool) -> None:
    from videomamba.recipes.pretrain import pretrain as recipe

    trained = trained_with_notes(config, recipe, fresh)
    weights, best = trained.last, trained.progress.best
    if best is not None and math.isfinite(best):
        weights = trained.best
        print(f"{weights}: alignment loss {-best:.4f} on the validation split")
    print(f"Now:  videomamba finetune FOLDER --weights {shlex.quote(str(weights))}")
