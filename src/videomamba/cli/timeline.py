"""`videomamba predict --timeline`: what happens when in films of any length."""

from __future__ import annotations

import importlib
import json as json_text
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videomamba.cli.output import complain, counter, print_json, print_table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from videomamba.evaluation.segments import Segment
    from videomamba.schema import VideoError
    from videomamba.serving.predictor import Predictor
    from videomamba.serving.timeline import Timeline

DEFAULT_THRESHOLD = 0.75
MORE_LIKELY_THAN_NOT = 0.5
"""A segment begins where a class reaches the threshold and goes on as long as it has this probability."""
_TOP = 5  # classes of each window in the JSON
_THUMBNAILS = 10


def timeline(
    predictor: Predictor,
    files: Sequence[Path | VideoError],
    *,
    window: float | None = None,
    stride: float | None = None,
    threshold: float = DEFAULT_THRESHOLD,
    bridge: float = 0.0,
    shortest: float = 0.0,
    out: Path | None = None,
    json: bool = False,
) -> int:
    """Prints the segments of each film, and writes NAME.timeline.json and NAME.timeline.png into the folder `out`.

    A VideoError among `files` is a name that was given in vain: it is told in its place. `window` and `stride` are seconds;
    None: the length of the clips that the model was trained on, as far as its classes tell, and half the window. `bridge`
    closes gaps in a class of at most so many seconds, `shortest` drops segments that last less. Returns 1 when a film could
    not be read or a picture that was asked for not be drawn.
    """
    from videomamba.evaluation.segments import cell_edges, find_segments
    from videomamba.schema import VideoError, VideoMambaError
    from videomamba.serving.timeline import timeline as look

    if not 0 < threshold <= 1:
        raise VideoMambaError(f"--threshold {threshold:g}: give a probability above 0 and at most 1")
    window = clip_seconds(predictor.labels) if window is None else window
    stride = window / 2 if stride is None else stride
    for option, value in (("--window", window), ("--stride", stride)):
        if not 0 < value < float("inf"):
            raise VideoMambaError(f"{option} {value:g}: give seconds above 0")
    for option, value in (("--bridge", bridge), ("--shortest", shortest)):
        if not 0 <= value < float("inf"):
            raise VideoMambaError(f"{option} {value:g}: give seconds, 0 or more")
    if stride > window:
        raise VideoMambaError(
            f"--stride {stride:g}: is longer than the window of {window:g} s, so that parts of the film would not be seen"
        )
    failed = 0
    if out is not None:
        _prepare(out, [file for file in files if isinstance(file, Path)])
        failed += not _can_draw()
    draw = out is not None and not failed
    for file in files:
        try:
            if not isinstance(file, Path):
                raise file
            with counter(file.name) as moved:
                thumbnails = _THUMBNAILS if draw else 0
                found = look(predictor, file, window=window, stride=stride, thumbnails=thumbnails, progress=moved)
        except VideoError as error:
            failed += 1
            # An image of a folder may be what failed: the answer is about the folder that was asked for.
            path = str(file) if isinstance(file, Path) else file.path
            reason = error.reason if error.path == path else str(error)
            complain(f"{path}: {reason}")
            if json:
                print_json({"path": path, "error": reason})
            continue
        edges = cell_edges(found.starts, found.window, found.duration)
        segments = find_segments(
            found.scores,
            edges,
            found.labels,
            threshold=threshold,
            keep=min(threshold, MORE_LIKELY_THAN_NOT),
            bridge=bridge,
            shortest=shortest,
        )
        record = _record(found, segments, threshold)
        if json:
            print_json(record)
        else:
            _print(found, segments, threshold)
        if out is not None:
            _write(out, file, record)
        if draw and out is not None:
            _draw(out, file, found, segments, edges)
    return 1 if failed else 0


def clip_seconds(labels: Sequence[str]) -> float:
    """How long the clips are, in seconds, of the data set whose classes these are.

    Clips of `videomamba synth` last 2 s and those of Something-Something V2 about 4 s; Kinetics, and what is not known, 10 s.
    """
    from videomamba.synthetic.dataset import ACTIONS
    from videomamba.weights.zoo import labels_of, zoo_entry, zoo_names

    if tuple(labels) == ACTIONS:
        return 2.0
    shorter = (zoo_entry(name) for name in zoo_names())
    if any(entry.labels == "something_something_v2" and labels_of(entry) == tuple(labels) for entry in shorter):
        return 4.0
    return 10.0


def _prepare(out: Path, files: Sequence[Path]) -> None:
    from videomamba.files import clear_remains
    from videomamba.schema import VideoMambaError

    taken: dict[str, Path] = {}
    for file in files:
        other = taken.setdefault(_name(file), file)
        if other is not file:
            raise VideoMambaError(f"{file}: its timeline would replace that of {other}; give them one --out each")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VideoMambaError(f"--out {out}: cannot be made a folder ({error.strerror}); choose another") from None
    clear_remains(out, "*.timeline.*")


def _name(file: Path) -> str:
    """The file's name without its ending; that of a folder of images, "." included, whole."""
    return file.stem if file.suffix and not file.is_dir() else file.resolve().name


def _can_draw() -> bool:
    from videomamba.schema import VideoMambaError

    try:
        importlib.import_module("videomamba.evaluation.plot")
    except VideoMambaError as error:
        complain(f"{error}; the timelines are written as JSON only")
        return False
    return True


def _record(found: Timeline, segments: Sequence[Segment], threshold: float) -> dict[str, Any]:
    import numpy as np

    best = np.argsort(-found.scores, axis=1, kind="stable")[:, :_TOP]
    length = min(found.window, found.duration)
    return {
        "path": found.video.path,
        "seconds": round(found.duration, 6),
        "fps": found.video.fps,
        "frames": found.video.num_frames,
        "frames_decoded": found.frames_decoded,
        "window": found.window,
        "stride": found.stride,
        "threshold": threshold,
        "segments": [
            {"label": s.label, "start": round(s.start, 6), "end": round(s.end, 6), "score": s.score, "peak": s.peak}
            for s in segments
        ],
        "windows": [
            {
                "start": round(float(start), 6),
                "end": round(float(start) + length, 6),
                "top": [{"label": found.labels[c], "score": float(found.scores[i, c])} for c in best[i]],
            }
            for i, start in enumerate(found.starts)
        ],
    }


def _write(out: Path, file: Path, record: dict[str, Any]) -> None:
    from videomamba.files import write_atomically

    text = json_text.dumps(record, allow_nan=False, indent=1) + "\n"
    write_atomically(
        out / f"{_name(file)}.timeline.json", lambda target: target.write_text(text, encoding="utf-8", newline="\n")
    )


def _draw(out: Path, file: Path, found: Timeline, segments: Sequence[Segment], edges: NDArray[np.float64]) -> None:
    from videomamba.evaluation.plot import save_timeline
    from videomamba.files import write_atomically

    title = f"{file.name}: windows of {found.window:g} s every {found.stride:g} s"
    write_atomically(
        out / f"{_name(file)}.timeline.png",
        lambda target: save_timeline(
            target, found.scores, edges, found.labels, segments, found.thumbnails, title=title
        ),
    )


def _print(found: Timeline, segments: Sequence[Segment], threshold: float) -> None:
    print(
        f"{found.video.path}  ({found.duration:.1f} s; {len(found.starts)} windows of {found.window:g} s "
        f"every {found.stride:g} s)"
    )
    if not segments:
        print(f"  no class reaches {threshold:g} anywhere", flush=True)
        return
    rows = [[_clock(s.start), _clock(s.end), s.label, f"{100 * s.score:.1f} %"] for s in segments]
    print_table(["start", "end", "class", "score"], rows, left=(2,))


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(10 * seconds), 600)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest / 10:04.1f}" if hours else f"{minutes}:{rest / 10:04.1f}"
