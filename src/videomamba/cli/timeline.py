"""`videomamba timeline`: what happens when in videos of any length."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from videomamba.cli.annotated import SaveVideo, annotated_files, save_annotated
from videomamba.cli.model_options import Files, Model, ModelOptions, Stride, Window, each, find_files, without_videos
from videomamba.cli.output import Json, clock, complain, counter, note, print_answers, print_table
from videomamba.cli.targets import check_names
from videomamba.schema import counted

if TYPE_CHECKING:
    from videomamba.serving.shots.records import MotionSpan
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
    unsure: Annotated[
        float, arg(metavar="P", help='call the motion of the camera "unsure" where no class has this probability')
    ] = 0.6,
    out: Annotated[
        Path | None,
        arg(
            metavar="FOLDER",
            help="write NAME.timeline.json and NAME.timeline.png there, and shots as NAME.shots.csv and NAME.edl",
            help_behavior_hint="",
        ),
    ] = None,
    save_video: SaveVideo = None,
    model: Model = ModelOptions(),
    json: Json = False,
) -> int:
    """Show what happens when in videos: a window slides over each, and segments of one class are listed.

    A segment begins where a class reaches the threshold and continues while its probability is at least one half. With a
    model of camera motion, whose classes are motions, "cut" and "fade", shots and transitions are listed instead. Files that
    fail are listed on stderr; the others are still done, and the exit code is then 1.
    """
    from videomamba.serving.shots.records import knows_shots
    from videomamba.serving.timeline import timeline as look

    paths = find_files("timeline", files)
    predictor = model.open(silent=without_videos(paths))
    if out is not None:
        _prepare(out, [path for path in paths if isinstance(path, Path)])
    draws = out is None or _can_draw()
    edits = out is not None and knows_shots(predictor.labels) and _can_edit()
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
                unsure=unsure,
                progress=tick,
            )
        if out is not None:
            found.write(out, picture=draws, edit_list=edits)
            _note_rate(found)
        if path in copies:
            save_annotated(found, copies[path])
        return found

    failed = print_answers(each(paths, answer), _print, json=json)
    return failed if draws else 1


def _prepare(out: Path, paths: Sequence[Path]) -> None:
    from videomamba.files import clear_remains, make_folder

    check_names(paths, what="timeline")
    make_folder(out)
    for pattern in ("*.timeline.*", "*.shots.csv", "*.edl"):
        clear_remains(out, pattern)


def _can_draw() -> bool:
    from videomamba.schema import VideoMambaError

    try:
        importlib.import_module("videomamba.evaluation.plot")
    except VideoMambaError as error:
        complain(f"{error}; the timelines are written as JSON only")
        return False
    return True


def _can_edit() -> bool:
    from videomamba.schema import VideoMambaError

    try:
        importlib.import_module("videomamba.serving.shots.edit_list")
    except VideoMambaError as error:
        note(f"{error}; the shots are written as CSV only")
        return False
    return True


def _note_rate(found: Timeline) -> None:
    """Says where timecodes are not those of the frames of the video."""
    from videomamba.serving.shots.timecode import timecode_rate

    if found.shots and found.variable_rate:
        note(
            f"{found.path}: its frame rate varies; timecodes count frames at its average, {found.video.fps:.2f} a second"
        )
    rate = float(timecode_rate(found.video.fps))
    if found.shots and abs(rate / max(found.video.fps, 1e-9) - 1) > 1e-3:
        note(f"{found.path}: timecodes are at {rate:.5g} frames a second; there are none for {found.video.fps:.5g}")


def _print(found: Timeline) -> None:
    print(
        f"{found.path}  ({found.model}, {found.duration:.1f} s; {counted(len(found.starts), 'window')} of "
        f"{found.window:g} s every {found.stride:g} s)"
    )
    if found.shots:
        _print_shots(found)
        return
    segments = found.segments()
    if not segments:
        print(f"  no class reaches {found.threshold:g} anywhere", flush=True)
        return
    rows = [[clock(s.start), clock(s.end), s.label, f"{100 * s.score:.1f} %"] for s in segments]
    print_table(["start", "end", "class", "score"], rows, left=(2,))


def _print_shots(found: Timeline) -> None:
    rows = [
        [
            str(number),
            clock(shot.start),
            clock(shot.end),
            ", ".join(_motion(span, alone=len(shot.motions) == 1) for span in shot.motions),
        ]
        for number, shot in enumerate(found.shots, 1)
    ]
    print_table(["shot", "start", "end", "camera"], rows, left=(3,))
    if found.transitions:
        rows = [
            [
                clock(t.time),
                t.kind,
                f"{clock(t.start)} to {clock(t.end)}" if t.kind == "fade" else "",
                f"{100 * t.score:.1f} %",
            ]
            for t in found.transitions
        ]
        print_table(["time", "transition", "lasts", "score"], rows, left=(1, 2))


def _motion(span: MotionSpan, *, alone: bool) -> str:
    """pan_left 93 % (0:01.0 to 0:02.5)"""
    score = f" {100 * span.score:.0f} %" if span.score else ""
    return f"{span.label}{score}" + ("" if alone else f" ({clock(span.start)} to {clock(span.end)})")
