"""`videomamba search`: moments of an index that fit a sentence, a video, or a moment of one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from videomamba.cli.model_options import AnyDevice, check_files
from videomamba.cli.output import Json, clock, note, print_json, print_table, usable_device
from videomamba.cli.targets import check_target
from videomamba.schema import counted

if TYPE_CHECKING:
    from videomamba.serving.search.moments import Moment
    from videomamba.serving.search.search import Search


def search(
    text: Annotated[
        Positional[str | None],
        arg(metavar="TEXT", help='a sentence, such as "a red square moves left"', help_behavior_hint=""),
    ] = None,
    /,
    *,
    index: Annotated[str, arg(metavar="X.lance", help="that `videomamba index` made")],
    video: Annotated[
        Path | None, arg(metavar="FILE", help="search by example: a video or an image", help_behavior_hint="")
    ] = None,
    like: Annotated[
        str | None,
        arg(
            metavar="FILE@SECONDS",
            help="search by a moment, such as clip.mp4@12.5, of the index or of another file",
            help_behavior_hint="",
        ),
    ] = None,
    top: Annotated[int, arg(help="moments to show")] = 10,
    path: Annotated[
        str | None,
        arg(
            metavar="PATTERN",
            help="only videos whose path in the index fits, such as 'holidays/*'",
            help_behavior_hint="",
        ),
    ] = None,
    min_duration: Annotated[
        float | None, arg(metavar="S", help="only videos of at least this many seconds", help_behavior_hint="")
    ] = None,
    max_duration: Annotated[
        float | None, arg(metavar="S", help="only videos of at most this many seconds", help_behavior_hint="")
    ] = None,
    merge: Annotated[
        Literal["moments", "videos", "none"],
        arg(help="of windows that overlap only the best; of each video only the best; or show all windows"),
    ] = "moments",
    sheet: Annotated[
        Path | None,
        arg(metavar="FILE.png", help="also draw the moments as one picture; needs matplotlib", help_behavior_hint=""),
    ] = None,
    model: Annotated[
        str | None,
        arg(metavar="FILE", help="the weights of the index, if they were moved", help_behavior_hint=""),
    ] = None,
    device: AnyDevice = "auto",
    json: Json = False,
) -> int:
    """Find moments in indexed videos: by a sentence, by an example (--video), or by a moment (--like).

    The answer has the file, its times and the score, the cosine between query and moment. A sentence needs an index of a
    video-text model. Paths are relative to the indexed folder.
    """
    from videomamba.schema import VideoMambaError
    from videomamba.serving.search.search import Search

    if sum(query is not None for query in (text, video, like)) != 1:
        raise VideoMambaError("search: give one query: a sentence, --video FILE, or --like FILE@SECONDS")
    check_files("search", [index])
    check_target("--sheet", sheet, endings=(".png",), inputs=(video,))
    if sheet is not None:
        from videomamba.evaluation import lettering  # noqa: F401 a missing package is an error before the search
    opened = Search(index, model=model, device=usable_device(device))
    if not opened.complete:
        note(f"{index}: the last run of `videomamba index` did not finish; its videos so far answer")
    ask: Callable[..., list[Moment]]
    if text is not None:
        ask = partial(opened.text, text)
    elif video is not None:
        ask = partial(opened.video, video)
    else:
        ask = partial(opened.like, str(like))
    moments = ask(top=top, path=path, min_duration=min_duration, max_duration=max_duration, merge=merge)
    for remark in opened.remarks:
        note(remark)
    for moment in moments if json else ():
        print_json(moment.as_dict())
    if not json:
        _print(opened, moments)
    if sheet is not None:
        if not moments:
            note(f"--sheet {sheet}: not written, as nothing was found")
            return 0
        from videomamba.serving.search.sheet import write_sheet

        write_sheet(sheet, moments)
        note(f"{sheet}: {counted(len(moments), 'moment')}")
    return 0


def _print(opened: Search, moments: list[Moment]) -> None:
    if not moments:
        print(f"{opened.address}: no video fits --path, --min-duration and --max-duration", flush=True)
        return
    print(f"{opened.folder}  ({opened.settings.model}, {counted(opened.windows, 'window')})")
    rows = [[moment.path, clock(moment.start), clock(moment.end), f"{moment.score:.3f}"] for moment in moments]
    print_table(["file", "start", "end", "score"], rows)
