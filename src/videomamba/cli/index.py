"""`videomamba index`: a folder of videos made searchable."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from videomamba.cli.model_options import AnyDevice, check_files
from videomamba.cli.output import Json, VideoBar, note, print_json, usable_device
from videomamba.schema import counted

_AS_BEFORE = "of an existing index: as it is"


def index(
    folder: Annotated[Positional[str], arg(metavar="FOLDER", help="videos, also in folders below it")],
    /,
    *,
    out: Annotated[
        str,
        arg(metavar="X.lance", help="the index: a folder, or the URL of one in object storage (s3://, gs://, az://)"),
    ],
    model: Annotated[
        str | None,
        arg(
            metavar="NAME",
            help="zoo name or weights file; one that reads no text searches by example only",
            help_behavior_hint=f"(default: the packaged model, which knows sentences about moving shapes; {_AS_BEFORE})",
        ),
    ] = None,
    window: Annotated[
        float | None,
        arg(
            metavar="S",
            help="seconds in a window",
            help_behavior_hint=f"(default: the length of the clips that the model was trained on; {_AS_BEFORE})",
        ),
    ] = None,
    stride: Annotated[
        float | None,
        arg(
            metavar="S",
            help="seconds between the starts of windows",
            help_behavior_hint=f"(default: half a window; {_AS_BEFORE})",
        ),
    ] = None,
    frames: Annotated[
        int | None, arg(metavar="T", help="frames in a clip", help_behavior_hint="(default: as trained)")
    ] = None,
    size: Annotated[
        int | None, arg(metavar="PIXELS", help="side of the picture", help_behavior_hint="(default: as trained)")
    ] = None,
    precision: Annotated[
        Literal["fp32", "bf16"] | None,
        arg(help="of the matrix products", help_behavior_hint=f"(default: fp32; {_AS_BEFORE})"),
    ] = None,
    device: AnyDevice = "auto",
    batch: Annotated[int, arg(metavar="VIDEOS", help="written at once, the most that a kill costs")] = 16,
    retry: Annotated[bool, arg(help="try videos again that could not be read before")] = False,
    json: Json = False,
) -> int:
    """Make a folder of videos searchable: each is cut into overlapping windows, and each window becomes a vector.

    The run may be interrupted at any moment, and the same command resumes it. Later it adds new videos, drops those that are
    gone and reads changed ones again. Videos that cannot be read are listed, the others are still done, and the exit code is
    then 1. `videomamba search` asks questions.
    """
    from videomamba.serving.search.index import build_index

    check_files("index", [folder, out])
    with VideoBar() as shown:
        report = build_index(
            folder,
            out,
            model=model,
            window=window,
            stride=stride,
            num_frames=frames,
            image_size=size,
            device=usable_device(device),
            precision=precision,
            batch=batch,
            retry=retry,
            progress=shown.videos,
            notify=shown.note,
        )
    if json:
        print_json({"out": out, **vars(report)})
    if report.unreadable:
        note(f"{counted(report.unreadable, 'video')} could not be read before and did not change; --retry tries again")
    done = f"{report.added} added, {report.changed} changed, {report.gone} gone, {report.unchanged} unchanged"
    print(
        f"{out}: {counted(report.videos, 'video')} in {counted(report.windows, 'window')}; {done}"
        + (f", {report.failed} failed" if report.failed else ""),
        file=sys.stderr if json else sys.stdout,
        flush=True,
    )
    return 1 if report.failed else 0
