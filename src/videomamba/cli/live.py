"""`videomamba predict --live SOURCE`: a line an answer, until the stream ends or Ctrl-C."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from videomamba.cli.output import note, print_json, waiting

if TYPE_CHECKING:
    from videomamba.serving.live import LiveAnswer
    from videomamba.serving.predictor import Predictor


def live(
    predictor: Predictor,
    source: str,
    *,
    window: float,
    stride: float,
    drop: Literal["latest", "all"] = "latest",
    top: int = 1,
    threshold: float = 0.0,
    follow: bool = False,
    timeout: float = 10.0,
    reconnect: int = 3,
    json: bool = False,
) -> int:
    """Prints the answers of `serving.live.watch` as they come; the last line, on stderr, counts what was lost.

    Ctrl-C is how a camera's run ends: the exit code is 0 then, as it is at the end of the stream. Raises VideoMambaError
    for options out of range, and for a source that cannot be watched or broke off for good (after the last line where there
    were answers).
    """
    from videomamba.schema import VideoMambaError
    from videomamba.serving.live import watch

    if not 0 <= threshold <= 1:
        raise VideoMambaError(f"threshold {threshold:g}: give a probability, 0 to 1")
    if not timeout > 0:
        raise VideoMambaError(f"timeout {timeout:g}: give the seconds to wait for an address, such as 10")
    if reconnect < 0 or top < 1:
        raise VideoMambaError(f"reconnect {reconnect}, top {top}: give at least 0 attempts and 1 class")
    watched = watch(
        predictor,
        source,
        window=window,
        stride=stride,
        drop=drop,
        top=top,
        threshold=threshold,
        follow=follow,
        timeout=timeout,
        reconnect=reconnect,
        notify=note,
    )
    broken: VideoMambaError | None = None
    with watched:
        try:
            for answer in waiting(watched, what=f"watching {watched.pictures.name}"):
                if json:
                    print_json(answer.as_dict())
                else:
                    print(_line(answer), flush=True)
        except KeyboardInterrupt:
            pass
        except VideoMambaError as error:
            broken = error
    if broken is not None and watched.answered == 0:
        raise broken
    lost = f"{watched.pictures.dropped} pictures dropped, {watched.skipped} windows skipped"
    note(f"{watched.pictures.name}: {watched.answered} windows answered, {lost} (policy: {drop})")
    if broken is not None:
        raise broken
    return 0


def _line(answer: LiveAnswer) -> str:
    """0:00:04.0  waving 87.3 %, turning 5.0 %  delay 0.12 s  dropped 0"""
    minutes, seconds = divmod(round(answer.end, 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    classes = ", ".join(f"{p.label} {100 * p.score:.1f} %" for p in answer.predictions) or "-"
    return f"{hours}:{minutes:02d}:{seconds:04.1f}  {classes}  delay {answer.delay:.2f} s  dropped {answer.dropped}"
