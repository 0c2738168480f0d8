"""`videomamba evaluate`: the accuracy of a network on a data set."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from videomamba.cli.model_options import AnyDevice, Labels, Precision, Weights, class_names
from videomamba.cli.output import Json, complain, counter, note, noted, print_json, print_table
from videomamba.cli.targets import check_target
from videomamba.data.settings import DataSettings


def evaluate(
    weights: Weights,
    root: Annotated[Positional[Path], arg(metavar="ROOT", help="folder of the data set")],
    /,
    *,
    split: Annotated[
        Literal["auto", "all", "train", "val", "test"],
        arg(help="videos that are measured; auto: the test split, else all that the network was not trained on"),
    ] = "auto",
    views: Annotated[str | None, arg(metavar="CLIPSxCROPS", help="views; default: those of the zoo, else 1x1")] = None,
    labels: Labels = None,
    device: AnyDevice = "auto",
    precision: Precision = "fp32",
    per_class: Annotated[bool, arg(help="print a table of the classes")] = False,
    confusion: Annotated[Path | None, arg(metavar="FILE.png", help="draw confusion matrix; needs matplotlib")] = None,
    report: Annotated[Path | None, arg(metavar="FILE.html", help="write a page of results; needs matplotlib")] = None,
    data: DataSettings = DataSettings(),
    json: Json = False,
) -> int:
    """Measure a network on the videos of a data set: top-1, top-5, mean class accuracy; squared error in regression.

    A line on stderr says which videos are measured, and why: the test split of a data set that has one; all videos of another
    data set, or those that a weights file of `train` or `finetune` was not trained on. Videos that cannot be read count as
    missed and are listed. Under torchrun the processes share the videos.
    """
    from videomamba.evaluation.results import ClassificationResult
    from videomamba.recipes.evaluate import evaluate as run
    from videomamba.schema import VideoMambaError
    from videomamba.weights.pretrained import open_pretrained

    if data.cache is not None:
        raise VideoMambaError("--data.cache: an evaluation decodes the videos themselves; remove the option")
    if data.root is not None:
        raise VideoMambaError(f"--data.root {data.root}: the data set is already {root}; remove the option")
    for option, path in (("--confusion", confusion), ("--report", report)):
        if path is not None and not path.absolute().parent.is_dir():
            raise VideoMambaError(f"{option} {path}: its folder does not exist; create it first")
    if confusion is not None:  # a missing package is an error now, not after the evaluation
        from videomamba.evaluation.plot import save_confusion
    if report is not None:
        from videomamba.evaluation.report import facts_of_run, write_report
    read = (root, weights, labels)
    check_target("--report", report, endings=(".html", ".htm"), inputs=read)
    check_target("--confusion", confusion, endings=(".png", ".svg", ".pdf"), inputs=read)
    started = time.monotonic()
    opened = open_pretrained(weights)
    for remark in filter(None, (opened.assumed, opened.knows)):
        note(remark)
    said: list[str] = []
    with counter("evaluating") as tick:
        result = run(
            opened,
            data.model_copy(update={"root": root}),
            split=split,
            views=views,
            labels=class_names(labels),
            device=device,
            precision=precision,
            progress=tick,
            notify=noted(said),
        )
    if json:
        print_json({"model": weights, **result.as_dict(), "videos": said[-1]})
    elif per_class and isinstance(result, ClassificationResult):
        rows = [
            [c.label, str(c.count), str(c.correct), str(c.missed), "-" if c.accuracy is None else f"{c.accuracy:.1%}"]
            for c in result.per_class
        ]
        print_table(["class", "videos", "correct", "missed", "accuracy"], rows)
    for missed, reason in result.failures:
        complain(f"missed {missed}: {reason}")
    if not json:
        print(result)
    if confusion is not None:
        if not isinstance(result, ClassificationResult):
            raise VideoMambaError("--confusion: a regression has no classes to confuse; try --report")
        save_confusion(confusion, result.confusion, result.labels)
    if report is not None:
        facts = {"videos": said[-1], **({"model": opened.knows} if opened.knows else {})}
        facts |= facts_of_run(time.monotonic() - started)
        write_report(report, title=f"{weights} on {root}", config={"weights": weights}, result=result, facts=facts)
    return 0
