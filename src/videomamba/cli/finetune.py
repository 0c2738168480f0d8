"""`videomamba finetune`: from a folder of videos to a network of one's own."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from videomamba.cli.output import Json, note, print_json
from videomamba.cli.train import measure


def finetune(
    folder: Annotated[Positional[Path], arg(metavar="FOLDER", help="a folder of videos for each class, or lists")],
    /,
    *,
    out: Annotated[
        Path | None,
        arg(metavar="FOLDER", help="where everything is written; default: runs/finetune/<name of the data>"),
    ] = None,
    weights: Annotated[
        str | None,
        arg(metavar="WEIGHTS", help="zoo name or weights file to begin with; default: the best available"),
    ] = None,
    epochs: Annotated[int | None, arg(help="times through the data; default: by its size")] = None,
    seed: Annotated[int, arg(help="of everything that is drawn")] = 0,
    device: Annotated[str, arg(help="cpu, cuda, mps, ...; auto: the best there is")] = "auto",
    json: Json = False,
) -> int:
    """Fine-tune on your own videos: choose the settings, train, evaluate, write a model that predict takes and a report.

    Goes on where an interrupted run of the same folder stopped. All settings are in OUT/config.yaml: to change one, copy
    the file and give it to `videomamba train --config`.
    """
    import shutil

    from videomamba.evaluation.report import write_report
    from videomamba.evaluation.results import ClassificationResult
    from videomamba.files import write_atomically
    from videomamba.recipes.classify import CONFIG, train
    from videomamba.recipes.finetune import plan
    from videomamba.schema import VideoMambaError
    from videomamba.training.tracking import read_metrics

    if epochs is not None and epochs < 1:
        raise VideoMambaError(f"--epochs {epochs}: give at least 1")
    if seed < 0:
        raise VideoMambaError(f"--seed {seed}: give 0 or more")
    out = out or Path("runs/finetune") / folder.absolute().name
    planned = plan(folder, out, weights=weights, epochs=epochs, seed=seed, device=device)
    for reason in planned.reasons:
        note(reason)
    config = planned.config
    trained = train(config)
    chosen, result = measure(config, trained)
    model, report = out / "model.safetensors", out / "report.html"
    write_atomically(model, lambda target: shutil.copyfile(chosen, target))
    write_report(
        report,
        title=f"Fine-tuned on {folder.absolute().name}",
        config=config.model_dump(mode="json"),
        result=result,
        history=read_metrics(out),
        skipped=tuple(trained.progress.failed_videos.items()),
        note="; ".join(planned.reasons),
    )
    if json:
        print_json({"model": str(model), "report": str(report), "config": str(out / CONFIG), **result.as_dict()})
        return 0
    print(result)
    print(f"model    {model}\nreport   {report}\nsettings {out / CONFIG}")
    if isinstance(result, ClassificationResult):
        print(f"\nNow:  videomamba predict FILES_OR_FOLDERS --model {shlex.quote(str(model))}")
    return 0
