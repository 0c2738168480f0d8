"""`videomamba predict`: of clips, of whole videos, over time, live."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from videomamba.cli.output import Json, complain, print_json, print_prediction, progress, usable_device

if TYPE_CHECKING:
    from videomamba.schema import VideoError, Views
    from videomamba.serving.predictor import Predictor


def predict(
    files: Annotated[
        Positional[tuple[str, ...]],
        arg(
            metavar="FILES_OR_FOLDERS",
            help="videos, images, or folders of them; with --live one source: rtsp://..., http://..., "
            "camera:0 or /dev/video0, or - for stdin",
        ),
    ],
    /,
    *,
    model: Annotated[str, arg(help="zoo name (see `videomamba zoo`) or weights file")] = "videomamba_micro_synthetic",
    top: Annotated[int | None, arg(help="classes to show for each answer; default: 5, with --live 1")] = None,
    views: Annotated[str | None, arg(help="clips x crops to average over, such as 4x3; default: 1x1")] = None,
    labels: Annotated[
        Path | None, arg(metavar="FILE", help="text file with one class name a line, instead of the file's own names")
    ] = None,
    frames: Annotated[
        int | None, arg(metavar="T", help="frames in a clip; default: what the model was trained with")
    ] = None,
    size: Annotated[
        int | None,
        arg(metavar="PIXELS", help="side of the picture in pixels; default: what the model was trained with"),
    ] = None,
    device: Annotated[str, arg(help="cpu, cuda, mps, ...")] = "cpu",
    precision: Annotated[Literal["fp32", "bf16"], arg(help="of the matrix products; the scan is fp32 always")] = "fp32",
    json: Json = False,
    whole: Annotated[bool, arg(help="all of each video in one pass, however long, instead of a clip of it")] = False,
    fps: Annotated[float | None, arg(help="--whole: frames looked at a second; default: all")] = None,
    stream: Annotated[
        Literal["fp32", "bf16"] | None,
        arg(help="--whole: the residual stream, which grows with the video; bf16 halves it; default: fp32"),
    ] = None,
    lean: Annotated[
        bool, arg(help="--whole: let nothing but the residual stream grow; takes about a third longer")
    ] = False,
    scratch: Annotated[
        Path | None, arg(metavar="FOLDER", help="--whole: keep what grows in a file there instead of in memory")
    ] = None,
    timeline: Annotated[bool, arg(help="what happens when: windows that slide over each video, merged")] = False,
    live: Annotated[bool, arg(help="a stream as it comes, until it ends or Ctrl-C")] = False,
    window: Annotated[
        float | None,
        arg(
            metavar="S", help="--timeline, --live: seconds looked at together; default: the clips of the training data"
        ),
    ] = None,
    stride: Annotated[
        float | None, arg(metavar="S", help="--timeline, --live: seconds between windows; default: half a window")
    ] = None,
    threshold: Annotated[
        float | None, arg(help="--timeline, --live: the least probability that counts; default: 0.75, live 0")
    ] = None,
    bridge: Annotated[
        float | None, arg(metavar="S", help="--timeline: gaps in a class of at most so many seconds are closed")
    ] = None,
    shortest: Annotated[float | None, arg(metavar="S", help="--timeline: segments that last less are left out")] = None,
    out: Annotated[
        Path | None, arg(metavar="FOLDER", help="--timeline: write NAME.timeline.json and NAME.timeline.png there")
    ] = None,
    drop: Annotated[
        Literal["latest", "all"] | None,
        arg(
            help="--live: when the machine is too slow, latest answers about now and drops what is old, all drops "
            "nothing and lets the source wait; default: latest"
        ),
    ] = None,
    follow: Annotated[bool, arg(help="--live: a file that is still being written")] = False,
    timeout: Annotated[
        float | None, arg(metavar="S", help="--live: seconds to wait for an address; default: 10")
    ] = None,
    reconnect: Annotated[
        int | None, arg(help="--live: how often to call an address again that broke off; default: 3")
    ] = None,
) -> int:
    """Classify videos. Files that fail are named on stderr, the others are still done, and the exit code is then 1."""
    from videomamba.data.sets.formats.table import read_names
    from videomamba.schema import VideoMambaError, Views
    from videomamba.serving.predictor import Predictor

    if not files:
        raise VideoMambaError(
            "predict: no file given; try `videomamba predict clip.mp4` or `videomamba predict --help`"
        )
    if "" in files:
        raise VideoMambaError('predict: "" names no file; an empty variable in the command line?')
    if top is not None and top < 1:
        raise VideoMambaError(f"--top {top}: at least one class must be shown")
    parsed = Views.parse(views or "1x1")
    chosen = [name for name, given in (("--whole", whole), ("--timeline", timeline), ("--live", live)) if given]
    if len(chosen) > 1:
        raise VideoMambaError(f"{' '.join(chosen)}: are different answers; choose one")
    mode = chosen[0] if chosen else ""
    for option, given, of in (
        ("--views", views, ("",)),
        ("--fps", fps, ("--whole",)),
        ("--stream", stream, ("--whole",)),
        ("--lean", lean or None, ("--whole",)),
        ("--scratch", scratch, ("--whole",)),
        ("--top", top, ("", "--whole", "--live")),
        ("--window", window, ("--timeline", "--live")),
        ("--stride", stride, ("--timeline", "--live")),
        ("--threshold", threshold, ("--timeline", "--live")),
        ("--bridge", bridge, ("--timeline",)),
        ("--shortest", shortest, ("--timeline",)),
        ("--out", out, ("--timeline",)),
        ("--drop", drop, ("--live",)),
        ("--follow", follow or None, ("--live",)),
        ("--timeout", timeout, ("--live",)),
        ("--reconnect", reconnect, ("--live",)),
    ):
        if given is not None and mode not in of:
            belongs = " or ".join(name or "clips" for name in of)
            raise VideoMambaError(f"{option}: belongs to {belongs}, see `videomamba predict --help`")
    if live and len(files) > 1:
        raise VideoMambaError(f"--live: takes one source, got {len(files)}")
    predictor = Predictor.from_pretrained(
        model,
        labels=None if labels is None else read_names(labels),
        num_frames=frames,
        image_size=size,
        device=usable_device(device),
        precision=precision,
    )
    if live:
        from videomamba.cli.live import live as watch
        from videomamba.cli.timeline import clip_seconds

        window = clip_seconds(predictor.labels) if window is None else window
        return watch(
            predictor,
            files[0],
            window=window,
            stride=window / 2 if stride is None else stride,
            drop=drop or "latest",
            top=top or 1,
            threshold=threshold or 0.0,
            follow=follow,
            timeout=10.0 if timeout is None else timeout,
            reconnect=3 if reconnect is None else reconnect,
            json=json,
        )
    paths = _listed(files)
    if whole:
        from videomamba.cli.whole import whole as look

        return look(
            predictor, paths, fps=fps, stream=stream or "fp32", lean=lean, scratch=scratch, top=top or 5, json=json
        )
    if timeline:
        from videomamba.cli.timeline import DEFAULT_THRESHOLD
        from videomamba.cli.timeline import timeline as find

        return find(
            predictor,
            paths,
            window=window,
            stride=stride,
            threshold=DEFAULT_THRESHOLD if threshold is None else threshold,
            bridge=bridge or 0.0,
            shortest=shortest or 0.0,
            out=out,
            json=json,
        )
    return _clips(predictor, paths, views=parsed, top=top or 5, json=json)


def _listed(given: Sequence[str]) -> list[Path | VideoError]:
    """The videos at each of `given`, or why there are none."""
    from videomamba.schema import VideoError
    from videomamba.video.open import find_videos

    paths: list[Path | VideoError] = []
    for name in given:
        try:
            paths += find_videos(name)
        except VideoError as error:
            paths.append(error)
    return paths


def _clips(predictor: Predictor, paths: Sequence[Path | VideoError], *, views: Views, top: int, json: bool) -> int:
    from videomamba.schema import VideoError

    readable = [path for path in paths if isinstance(path, Path)]
    answers = predictor.predict_many(readable, top=top, views=views)
    merged = (path if isinstance(path, VideoError) else next(answers) for path in paths)
    failed = 0
    for answer in progress(merged, total=len(paths), what="predicting"):
        if isinstance(answer, VideoError):
            failed += 1
            complain(str(answer))
            if json:
                print_json({"path": answer.path, "error": answer.reason})
        elif json:
            print_json(answer.as_dict())
        else:
            print_prediction(answer)
    return 1 if failed else 0
