"""`videomamba data`: check a data set; show what the network sees of it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args

from tyro.conf import Positional, arg

from videomamba.cli.output import Json, cell, complain, counter, print_json, print_table
from videomamba.cli.sheet import sheet
from videomamba.data.settings import Format, LvuTask, TextTask

if TYPE_CHECKING:
    from videomamba.data.sets.check import Report, Spread
    from videomamba.data.sets.formats.entry import Split

_SHOWN = 20


def check(
    root: Annotated[
        Positional[Path | None], arg(metavar="FOLDER", help="the data set; lists are relative to it")
    ] = None,
    /,
    *,
    format: Annotated[
        Format, arg(help="layout of the data set; auto: a folder for each class, lists, or shards")
    ] = "auto",
    train: Annotated[Path | None, arg(metavar="LIST", help="the training videos; default: those of the format")] = None,
    val: Annotated[Path | None, arg(metavar="LIST", help="the validation videos")] = None,
    test: Annotated[Path | None, arg(metavar="LIST", help="the test videos")] = None,
    labels: Annotated[Path | None, arg(metavar="FILE", help="class names, one a line; default: the data's")] = None,
    val_fraction: Annotated[float, arg(help="share of each class held out without a validation split")] = 0.2,
    split_seed: Annotated[int, arg(help="seed of the choice of these videos")] = 0,
    task: Annotated[LvuTask | None, arg(help="which of the nine tasks of LVU")] = None,
    window: Annotated[float | None, arg(help="cut videos into windows of this many seconds")] = None,
    stride: Annotated[float, arg(help="seconds between the starts of windows")] = 16.0,
    frame_name: Annotated[str, arg(help="names of the files in a folder of frames, numbered from 1")] = "img_{:05}.jpg",
    texts: Annotated[
        TextTask | None, arg(help="which texts to read; default: captions where format or lists have texts")
    ] = None,
    captions: Annotated[
        Literal["each", "paragraph"], arg(help="several captions of a video: each describes it, or together they do")
    ] = "each",
    also: Annotated[tuple[Path, ...], arg(metavar="LIST", help="further training lists of videos with texts")] = (),
    clean: Annotated[
        bool, arg(help="clean texts (lower case, no punctuation), as the released weights expect; off: as they are")
    ] = True,
    unlabelled: Annotated[bool, arg(help="check videos only, of any folder or lists of paths")] = False,
    split: Annotated[Literal["train", "val", "test", "all"], arg(help="which videos to check")] = "all",
    decode: Annotated[bool, arg(help="decode 8 pictures of each video, not only one: slower, finds more")] = False,
    workers: Annotated[int, arg(help="videos opened at once")] = 2,
    json: Json = False,
) -> int:
    """Read a data set as training would, open each video, and report its contents and faults.

    Reports the classes, durations, frames and sizes; files that are missing or cannot be read; videos that are in two splits,
    or twice in one, or have two labels; spans outside of their video; files in its folders that are ignored. Of videos with
    texts also captions that are empty, too long or lost by cleaning. The exit code is 1
    if training or evaluation would fail or mislead; classes without videos in a list, ignored files, repeated lines and
    similar faults are notes.
    """
    from pydantic import ValidationError

    from videomamba.data.sets.check import check_dataset
    from videomamba.data.sets.check_texts import check_texts
    from videomamba.data.sets.formats.text_sources import has_texts
    from videomamba.data.settings import TextDataSettings, TextFormat
    from videomamba.schema import VideoMambaError

    try:
        settings = TextDataSettings(
            root=root,
            format=format,
            train=train,
            val=val,
            test=test,
            labels=labels,
            val_fraction=val_fraction,
            split_seed=split_seed,
            task=task,
            window=window,
            stride=stride,
            frame_name=frame_name,
            captions=captions,
            also=also,
            clean=clean,
        )
    except ValidationError as error:
        first = error.errors()[0]
        option = str(first["loc"][0]).replace("_", "-")
        raise VideoMambaError(f"--{option} {first['input']}: {first['msg'].lower()}") from None
    with counter("opening") as tick:
        splits: tuple[Split, ...] | None = None if split == "all" else (split,)
        try:
            if texts is None and (format in get_args(TextFormat) or (format == "auto" and has_texts(settings))):
                texts = "captions"
            if texts is not None and not unlabelled:
                report = check_texts(settings, splits, task=texts, decode=decode, workers=workers, progress=tick)
            else:
                report = check_dataset(
                    settings, splits, annotated=not unlabelled, decode=decode, workers=workers, progress=tick
                )
        except VideoMambaError as error:
            raise VideoMambaError(_as_options(str(error))) from None
    if json:
        for line in report.as_dicts():
            print_json(line)
    else:
        _print(report, decoded=decode)
        if splits is None and [s.split for s in report.splits] == ["train", "val"]:
            print("There is no test split: the videos of val are used.")
    return 0 if report.ok else 1


def _as_options(message: str) -> str:
    """A message about settings, which `train` has as data.NAME, with the names of the options of `check`."""
    written = re.sub(r"(?<!\S)data\.(also|captions|format|labels|task|test|train|val|window)\b", r"--\1", message)
    return re.sub(r"(?<!\S)data\.root\b", "FOLDER", written)


def _print(report: Report, *, decoded: bool) -> None:
    columns = ["", *(s.split for s in report.splits)]
    facts: dict[str, list[str]] = {
        "records": [str(s.records) for s in report.splits],
        "videos": [str(s.videos) for s in report.splits],
        "classes": [str(len(s.classes)) if s.classes else "-" for s in report.splits],
        "classes without videos": [str(len(s.empty)) if s.classes else "-" for s in report.splits],
        "records of a class": [_counts([count for _, count in s.classes]) for s in report.splits],
        "annotations": [s.task if s.task == "unlabelled" else "-" for s in report.splits],
        "texts": ["-" if s.texts is None else str(s.texts) for s in report.splits],
        "words of a text": [_spread(s.words) for s in report.splits],
        "targets": [_spread(s.targets) for s in report.splits],
        "seconds": [_spread(s.seconds) for s in report.splits],
        "frames": [_spread(s.frames) for s in report.splits],
        "width": [_spread(s.width) for s in report.splits],
        "height": [_spread(s.height) for s in report.splits],
    }
    print_table(columns, [[name, *cells] for name, cells in facts.items() if set(cells) != {"-"}])
    print("Three numbers are the lowest, the median and the highest.")
    kinds = defaultdict(list)
    for problem in report.problems:
        kinds[problem.kind, problem.serious].append(problem)
    for (kind, serious), problems in kinds.items():
        for problem in problems[:_SHOWN]:
            where = ": ".join(part for part in (problem.path, problem.reason) if part)
            complain(f"{'' if serious else 'note: '}{problem.split}, {kind}: {where}")
        if len(problems) > _SHOWN:
            complain(f"... and {len(problems) - _SHOWN} more of this kind; --json lists all")
    count = sum(problem.serious for problem in report.problems)
    print(f"{count} problem{'s' if count > 1 else ''}" if count else "nothing wrong", end="")
    print("" if decoded else "; only the first picture of each video was decoded, --decode checks more")


def _counts(counts: list[int]) -> str:
    from videomamba.data.sets.check import Spread

    return _spread(Spread.of(counts))


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return "-"
    values = (spread.lowest, spread.median, spread.highest)
    return " / ".join(cell(float(value)) for value in values)


COMMANDS: Mapping[str, Callable[..., int]] = {"check": check, "sheet": sheet}
