"""`videomamba timeline`: what happens when in videos of any length."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from videomamba.cli.annotated import SaveVideo, annotated_files, save_annotated
from videomamba.cli.model_options import Files, Model, ModelOptions, Stride, Window, each, find_files, without_videos
from videomamba.cli.output import Json, clock, complain, counter, print_answers, print_table

if TYPE_CHECKING:
    from videomamba.serving.timeline import Timeline


def timeline(
    files: Files,
    /,
    *,
    window: Window = None,
    stride: Stride = None,
    threshold: Annotated[float, arg(help="probability at which a segment begins")] = 0.75,
    bridge: Annotated[float, arg(metavar="S", help="close gaps in a class of at most this many seconds")] = 0.0,
    shortest: Annotated[float, arg(metavar="S", help="drop segments that are shorter than this many seconds")] = 0.0,
    out: Annotated[
        Path | None,
        arg(metavar="FOLDER", help="write NAME.timeline.json and NAME.timeline.png there", help_behavior_hint=""),
    ] = None,
    save_video: SaveVideo = None,
    model: Model = ModelOptions(),
    json: Json = False,
) -> int:
    """Show what happens when in videos: a window slides over each, and segments of one class are listed.

    A segment begins where a class reaches the threshold and continues while its probability is at least one half. Files that
    fail are listed on stderr; the others are still done, and the exit code is then 1.
    """
    from videomamba.serving.timeline import timeline as look

    paths = find_files("timeline", files)
    predictor = model.open(silent=without_videos(paths))
    if out is not None:
        _prepare(out, [path for path in paths if isinstance(path, Path)])
    draws = out is None or _can_draw()
    copies = annotated_files(save_video, paths)

    def answer(path: Path) -> Timeline:
        with counter(path.name) as tick:
            found = look(
                predictor,
                path,
                window=window,
                stride=stride,
                threshold=threshold,
                bridge=bridge,
                shortest=shortest,
                progress=tick,
            )
        if out is not None:
            found.write(out, picture=draws)
        if path in copies:
            save_annotated(found, copies[path])
        return found

    failed = print_answers(each(paths, answer), _print, json=json)
    return failed if draws else 1


def _prepare(out: Path, paths: Sequence[Path]) -> None:
    from videomamba.files import clear_remains, make_folder
    from videomamba.schema import VideoMambaError
    from videomamba.serving.timeline import timeline_name

    taken: dict[str, Path] = {}
    for path in paths:
        other = taken.setdefault(timeline_name(path), path)
        if other is not path:
            raise VideoMambaError(f"{path}: its timeline would replace that of {other}; give each its own --out")
    make_folder(out)
    clear_remains(out, "*.timeline.*")


def _can_draw() -> bool:
    from videomamba.schema import VideoMambaError

    try:
        importlib.import_module("videomamba.evaluation.plot")
    except VideoMambaError as error:
        complain(f"{error}; the timelines are written as JSON only")
        return False
    return True


def _print(found: Timeline) -> None:
    print(
        f"{found.path}  ({found.model}, {found.duration:.1f} s; {len(found.starts)} windows of {found.window:g} s "
        f"every {found.stride:g} s)"
    )
    segments = found.segments()
    if not segments:
        print(f"  no class reaches {found.threshold:g} anywhere", flush=True)
        return
    rows = [[clock(s.start), clock(s.end), s.label, f"{100 * s.score:.1f} %"] for s in segments]
    print_table(["start", "end", "class", "score"], rows, left=(2,))
