"""`videomamba distill`: a supervised run with a teacher."""

from __future__ import annotations

from videomamba.cli.recipe import run_recipe, train_and_print

_DESCRIPTION = """Train a network that also learns from a smaller trained one (self-distillation), then measure its accuracy.

A large network overfits: its accuracy on videos that it has not seen stays low. Here a smaller network that is already trained,
the teacher, sees the same clips, and the features of the student are drawn towards the teacher's while it learns the classes.
The result is a network of the student's size like any other; the teacher is not part of it.

    videomamba distill --preset k400-middle-f8-distilled --data.root /data/kinetics
    videomamba distill --teacher.weights runs/small/best.safetensors --model.name videomamba_middle --data.root my_videos

The teacher is a weights file, a zoo name, or a CLIP of transformers; both networks must cut a clip into the same patches.
All other settings are those of `videomamba train`. The command line overrides the file, and the file overrides the preset.
`videomamba distill --presets` lists the presets.
An interrupted run in the folder run.out is resumed; `--fresh` removes the files of an earlier run there and begins anew."""


def distill(arguments: list[str]) -> int:
    """Trains with a teacher, then evaluates by the protocol of the settings; an interrupted run is resumed."""
    from videomamba.recipes.config import check_distillation
    from videomamba.recipes.distill_presets import DISTILL

    return run_recipe(arguments, DISTILL, description=_DESCRIPTION, check=check_distillation, run=train_and_print)
