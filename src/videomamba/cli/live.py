"""`videomamba live`: a line for each window of a stream, until the stream ends or Ctrl-C."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from videomamba.cli.model_options import Model, ModelOptions, Stride, Top, Window
from videomamba.cli.output import Json, clock, note, print_json, waiting

if TYPE_CHECKING:
    from videomamba.serving.live import LiveAnswer


def live(
    source: Annotated[
        Positional[str],
        arg(metavar="SOURCE", help="rtsp://..., http://..., camera:0 or /dev/video0, - for stdin, or a file"),
    ],
    /,
    *,
    window: Window = None,
    stride: Stride = None,
    top: Top = 1,
    threshold: Annotated[float, arg(help="show classes of at least this probability")] = 0.0,
    unsure: Annotated[
        float, arg(metavar="P", help='a model of camera motion says "unsure" where no class has this probability')
    ] = 0.6,
    drop: Annotated[
        Literal["latest", "all"],
        arg(help="on a slow machine: latest drops older pictures; all drops nothing and lets the source wait"),
    ] = "latest",
    follow: Annotated[bool, arg(help="the file is still being written: wait for more of it")] = False,
    timeout: Annotated[float, arg(metavar="S", help="seconds to wait for an address")] = 10.0,
    reconnect: Annotated[int, arg(help="how many times in a row to reopen an address after it fails")] = 3,
    model: Model = ModelOptions(),
    json: Json = False,
) -> int:
    """Watch a camera, an address or a pipe, and show what happens in its latest seconds again and again.

    Ends with the stream or with Ctrl-C, both with exit code 0. On stderr the first line names model and window, the last
    one counts answers, drops and skips. An MP4 file is given by its name: a pipe cannot be read from its end, where most MP4
    files have their index.
    """
    from videomamba.schema import VideoMambaError
    from videomamba.serving.live import watch

    if not source:
        raise VideoMambaError('live: "" names no source; is a variable in the command line empty?')
    watched = watch(
        model.open(),
        source,
        window=window,
        stride=stride,
        drop=drop,
        top=top,
        threshold=threshold,
        unsure=unsure,
        follow=follow,
        timeout=timeout,
        reconnect=reconnect,
        notify=note,
    )
    broken: VideoMambaError | None = None
    with watched:
        try:
            for answer in waiting(watched, what=f"watching {watched.pictures.name}"):
                if watched.answered == 1:
                    windows = f"windows of {watched.windows.window:g} s every {watched.windows.stride:g} s"
                    note(f"{watched.pictures.name}: {windows}, answers by {answer.model}")
                if json:
                    print_json(answer.as_dict())
                else:
                    print(_line(answer), flush=True)
        except KeyboardInterrupt:
            pass
        except VideoMambaError as error:
            broken = error
    if broken is None or watched.answered:
        lost = f"{watched.pictures.dropped} pictures dropped, {watched.skipped} windows skipped"
        note(f"{watched.pictures.name}: {watched.answered} windows answered, {lost} (policy: {drop})")
        if drop == "latest" and watched.skipped and watched.pictures.can_wait:
            note("for a file, or a pipe from a file, --drop all answers every window")
    if broken is not None:
        raise broken
    return 0


def _line(answer: LiveAnswer) -> str:
    """0:00:04.0  waving 87.3 %, turning 5.0 %  delay 0.12 s  dropped 0"""
    classes = ", ".join(f"{p.label} {100 * p.score:.1f} %" for p in answer.predictions) or "-"
    if answer.unsure:
        classes = f"unsure ({classes})"
    if answer.transition is not None:
        classes += f"  {answer.transition.kind} at {clock(answer.transition.time, hours=True)}"
    return f"{clock(answer.end, hours=True)}  {classes}  delay {answer.delay:.2f} s  dropped {answer.dropped}"
