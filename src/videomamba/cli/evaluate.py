"""`videomamba evaluate`: the accuracy of a network on a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from videomamba.cli.output import Json, complain, counter, print_json, print_table
from videomamba.data.settings import DataSettings


def evaluate(
    weights: Annotated[Positional[str], arg(metavar="WEIGHTS", help="zoo name or weights file")],
    root: Annotated[Positional[Path], arg(metavar="ROOT", help="folder of the data set")],
    /,
    *,
    split: Annotated[Literal["train", "val", "test"], arg(help="which videos of it")] = "test",
    views: Annotated[
        str | None, arg(metavar="CLIPSxCROPS", help="views of each video; default: the zoo's protocol, else 1x1")
    ] = None,
    labels: Annotated[
        Path | None, arg(metavar="FILE", help="text file with one class name a line, instead of the file's own names")
    ] = None,
    device: Annotated[str, arg(help="cpu, cuda, mps, ...; auto: the best there is")] = "auto",
    precision: Annotated[Literal["fp32", "bf16"], arg(help="of the matrix products; the scan is fp32 always")] = "fp32",
    per_class: Annotated[bool, arg(help="a table of the classes")] = False,
    confusion: Annotated[
        Path | None, arg(metavar="FILE.png", help="draw the confusion matrix; needs matplotlib")
    ] = None,
    report: Annotated[
        Path | None, arg(metavar="FILE.html", help="write a page with everything; needs matplotlib")
    ] = None,
    data: DataSettings = DataSettings(),
    json: Json = False,
) -> int:
    """Show every video of a data set to a network and count: top-1, top-5, mean class accuracy; squared error in regression.

    Videos that cannot be read count as missed and are listed. Under torchrun the processes share the videos.
    """
    from videomamba.data.sets.formats.table import read_names
    from videomamba.evaluation.results import ClassificationResult
    from videomamba.recipes.evaluate import evaluate as run
    from videomamba.schema import VideoMambaError

    if data.cache is not None:
        raise VideoMambaError("--data.cache: kept frames are not the video; a test decodes it, leave the option out")
    if data.root is not None:
        raise VideoMambaError(f"--data.root {data.root}: the data set is {root}, as given first; leave the option out")
    for option, path in (("--confusion", confusion), ("--report", report)):
        if path is not None and not path.absolute().parent.is_dir():
            raise VideoMambaError(f"{option} {path}: there is no such folder; make it first")
    if confusion is not None:  # a missing package is said now rather than after the evaluation
        from videomamba.evaluation.plot import save_confusion
    if report is not None:
        from videomamba.evaluation.report import write_report
    with counter("evaluating") as tick:
        result = run(
            weights,
            data.model_copy(update={"root": root}),
            split=split,
            views=views,
            labels=None if labels is None else read_names(labels),
            device=device,
            precision=precision,
            progress=tick,
        )
    if json:
        print_json(result.as_dict())
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
        write_report(report, title=f"{weights} on {root}", config={"weights": weights, "split": split}, result=result)
    return 0
