"""`videomamba text retrieval` and `videomamba text choice`: a video-text model on a data set with captions."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

from tyro.conf import Positional, arg

from videomamba.cli.model_options import AnyDevice, Precision
from videomamba.cli.output import Json, complain, counter, note, noted, print_json, print_table
from videomamba.cli.targets import check_target
from videomamba.data.settings import TextDataSettings

if TYPE_CHECKING:
    from videomamba.weights.video_text import PretrainedVideoText

_TRAINED = "(default: what the model was trained with)"
_SHOWN = 20  # missed videos that are named

TextWeights = Annotated[Positional[str], arg(metavar="WEIGHTS", help="zoo name or weights file of a video-text model")]
Root = Annotated[Positional[Path], arg(metavar="DATA", help="folder of the data set, or one list of its texts")]
Split = Annotated[
    Literal["auto", "train", "val", "test"],
    arg(help="list that is measured; auto: that of the test, else of validation, else of training"),
]
Frames = Annotated[int | None, arg(metavar="T", help="frames of each video", help_behavior_hint=_TRAINED)]
Size = Annotated[int | None, arg(metavar="PIXELS", help="side of the picture", help_behavior_hint=_TRAINED)]
MaxLength = Annotated[
    int | None, arg(metavar="N", help="most tokens of a text; longer ones lose their end", help_behavior_hint=_TRAINED)
]
Vocabulary = Annotated[
    str | None,
    arg(
        metavar="BERT",
        help="vocabulary of weights without one: vocab.txt, its folder, or a BERT's name",
        help_behavior_hint="(default: bert-base-uncased)",
    ),
]
Out = Annotated[Path | None, arg(metavar="FILE.json", help="write the result with the answer to each query")]


class _Report(Protocol):
    @property
    def failures(self) -> tuple[tuple[str, str], ...]: ...
    def as_dict(self) -> dict[str, object]: ...
    def queries(self) -> list[dict[str, object]]: ...


def retrieval(
    weights: TextWeights,
    root: Root,
    /,
    *,
    protocol: Annotated[
        Literal["msrvtt", "didemo", "activitynet", "lsmdc", "msvd"] | None,
        arg(help="published test: reads the data set, and cuts texts, as it does; its numbers are shown"),
    ] = None,
    split: Split = "auto",
    rerank: Annotated[int, arg(metavar="K", help="best candidates that are matched; 0: dual encoder alone")] = 128,
    merge_captions: Annotated[
        bool, arg(help="equal captions are one text, for which each of their videos is right")
    ] = False,
    max_length: MaxLength = None,
    frames: Frames = None,
    size: Size = None,
    vocabulary: Vocabulary = None,
    keep_gb: Annotated[
        float, arg(metavar="GB", help="memory for tokens of videos; the others are encoded twice")
    ] = 4.0,
    device: AnyDevice = "auto",
    precision: Precision = "fp32",
    out: Out = None,
    data: TextDataSettings = TextDataSettings(),
    json: Json = False,
) -> int:
    """Measure how well captions find their videos and videos their captions: R@1, R@5, R@10, median and mean rank.

    Of the dual encoder, which compares one vector a text with those of a video, and after the best candidates were put in the
    order of their match, for which the text tower reads each video. Wrong candidates with an equal score count as better.
    Videos that cannot be read count as wrong and are listed. Under torchrun the processes share the videos.
    """
    from videomamba.recipes.retrieval import evaluate_retrieval
    from videomamba.recipes.text.protocols import PROTOCOLS
    from videomamba.schema import VideoMambaError

    if rerank < 0 or not 0 <= keep_gb < math.inf:
        name, value = ("--rerank", rerank) if rerank < 0 else ("--keep-gb", keep_gb)
        raise VideoMambaError(f"{name} {value}: give 0 or more")
    opened, settings = _prepared(weights, root, data, out, frames=frames, size=size, vocabulary=vocabulary)
    said: list[str] = []
    with counter("measuring") as tick:
        report = evaluate_retrieval(
            opened,
            settings,
            protocol=protocol,
            split=split,
            rerank=rerank or None,
            max_length=max_length,
            merge_captions=merge_captions,
            keep_bytes=int(keep_gb * 2**30),
            device=device,
            precision=precision,
            progress=tick,
            notify=noted(said),
        )
    published = {} if protocol is None else PROTOCOLS[protocol].published_for(Path(weights).name)
    facts: dict[str, object] = {"published": {corpus: row._asdict() for corpus, row in published.items()}}
    _finish(report, weights, said, facts if published else {}, out=out, json=json)
    if not json:
        rows = [
            [
                method,
                direction,
                *(f"{100 * share:.1f}" for share in (r.r1, r.r5, r.r10)),
                f"{r.median:g}",
                f"{r.mean:.1f}",
            ]
            for method, direction, r in report.rows
        ]
        for corpus, row in published.items():
            for direction, shares in (("text to video", row.t2v), ("video to text", row.v2t)):
                rows.append([f"published, {corpus}", direction, *map(str, shares), "-", "-"])
        print_table(["", "direction", "R@1", "R@5", "R@10", "median rank", "mean rank"], rows, left=(0, 1))
        print(f"[{report.protocol}]")
    return 0


def choice(
    weights: TextWeights,
    root: Root,
    /,
    *,
    split: Split = "auto",
    max_length: MaxLength = None,
    frames: Frames = None,
    size: Size = None,
    vocabulary: Vocabulary = None,
    device: AnyDevice = "auto",
    precision: Precision = "fp32",
    out: Out = None,
    data: TextDataSettings = TextDataSettings(),
    json: Json = False,
) -> int:
    """Measure multiple choice: for which share of the videos the right one of several texts has the highest score.

    The score is 0.7 times the probability of a match plus 0.3 times the similarity, as for MSRVTT-MC. A tie is wrong. Videos
    that cannot be read count as wrong and are listed. Under torchrun the processes share the videos.
    """
    from videomamba.recipes.choices import evaluate_choices

    opened, settings = _prepared(weights, root, data, out, frames=frames, size=size, vocabulary=vocabulary)
    said: list[str] = []
    with counter("measuring") as tick:
        report = evaluate_choices(
            opened,
            settings,
            split=split,
            max_length=max_length,
            device=device,
            precision=precision,
            progress=tick,
            notify=noted(said),
        )
    _finish(report, weights, said, {}, out=out, json=json)
    if not json:
        print(report)
    return 0


def _prepared(
    weights: str,
    root: Path,
    data: TextDataSettings,
    out: Path | None,
    *,
    frames: int | None,
    size: int | None,
    vocabulary: str | None,
) -> tuple[PretrainedVideoText, TextDataSettings]:
    """The model and the settings of its data, after a check of the options."""
    from videomamba.schema import VideoMambaError
    from videomamba.weights.video_text import open_video_text

    if data.cache is not None:
        raise VideoMambaError("--data.cache: a test decodes the videos themselves; remove the option")
    if out is not None and not out.absolute().parent.is_dir():
        raise VideoMambaError(f"--out {out}: its folder does not exist; create it first")
    check_target("--out", out, endings=(".json",), inputs=(weights, root, data.train, data.val, data.test))
    _check_replaced(out)
    if root.is_file():
        if data.test is not None:
            raise VideoMambaError(f"--data.test {data.test}: the list is already {root}; remove the option")
        update: dict[str, Any] = {"test": root}
    else:
        if data.root is not None:
            raise VideoMambaError(f"--data.root {data.root}: the data set is already {root}; remove the option")
        update = {"root": root}
    opened = open_video_text(weights, num_frames=frames, image_size=size, tokenizer=vocabulary)
    for remark in filter(None, (opened.assumed, opened.knows)):
        note(remark)
    return opened, data.model_copy(update=update)


def _finish(
    report: _Report, weights: str, said: list[str], facts: dict[str, object], *, out: Path | None, json: bool
) -> None:
    """Names the missed videos, prints and writes the result as JSON where that is wanted."""
    import os

    for missed, reason in report.failures[:_SHOWN]:
        complain(f"missed {missed}: {reason}")
    if len(report.failures) > _SHOWN:
        complain(f"missed {len(report.failures) - _SHOWN} more; --json and --out list all")
    record = {"model": weights, **report.as_dict(), **facts, "notes": said}
    if json:
        print_json(record)
    if out is not None and os.environ.get("RANK", "0") == "0":
        _write(out, {**record, "queries": report.queries()})


def _check_replaced(out: Path | None) -> None:
    """Raises VideoMambaError where `out` is a file that is no result: lists that are found in a folder have usual names."""
    import json

    from videomamba.schema import VideoMambaError

    if out is None or not out.exists():
        return
    try:
        record = json.loads(out.read_bytes())
    except (OSError, ValueError):
        record = None
    if not isinstance(record, dict) or not {"model", "protocol", "queries"} <= record.keys():
        raise VideoMambaError(f"--out {out}: exists and is no earlier result; give another name, or remove the file")


def _write(out: Path, record: dict[str, object]) -> None:
    import json

    from videomamba.files import write_atomically

    text = json.dumps(record, indent=1)  # escapes what is no valid text
    write_atomically(out, lambda target: target.write_text(text + "\n", encoding="utf-8"))
