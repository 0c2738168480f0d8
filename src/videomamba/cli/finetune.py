"""`videomamba finetune`: from a folder of videos to a network."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from videomamba.cli.model_options import AnyDevice
from videomamba.cli.output import Json, counter, note, print_json


def finetune(
    folder: Annotated[Positional[Path], arg(metavar="FOLDER", help="a folder of videos for each class, or lists")],
    /,
    *,
    out: Annotated[
        Path | None,
        arg(metavar="FOLDER", help="where everything is written; default: runs/finetune/<name of the data>"),
    ] = None,
    weights: Annotated[
        str | None, arg(metavar="WEIGHTS", help="zoo name or weights file to start from; default: the best available")
    ] = None,
    epochs: Annotated[int | None, arg(help="passes over the data; default: by its size")] = None,
    seed: Annotated[int, arg(help="seed of all random draws")] = 0,
    device: AnyDevice = "auto",
    fresh: Annotated[bool, arg(help="begin anew: remove the files of an earlier run in the same folder")] = False,
    json: Json = False,
) -> int:
    """Fine-tune on your own videos: choose settings, train, evaluate, write a model for `predict` and a report.

    An interrupted run in the same folder is resumed; --fresh replaces it. OUT/config.yaml has all settings; `train --config`
    takes a copy.
    """
    from videomamba.evaluation.results import ClassificationResult
    from videomamba.recipes.finetune import finetune as run

    tuned = run(
        folder,
        out,
        weights=weights,
        epochs=epochs,
        seed=seed,
        device=device,
        fresh=fresh,
        notify=note,
        counter=counter,
    )
    if json:
        print_json(tuned.as_dict())
        return 0
    print(tuned.result)
    print(f"model    {tuned.model}\nreport   {tuned.report}\nsettings {tuned.settings}")
    if isinstance(tuned.result, ClassificationResult):
        print(f"\nNow:  videomamba predict FILES_OR_FOLDERS --model {shlex.quote(str(tuned.model))}")
    return 0
