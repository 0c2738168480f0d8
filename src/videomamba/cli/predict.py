"""`videomamba predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from videomamba.cli.output import Json, complain, print_json, print_table, progress, usable_device


def predict(
    files: Annotated[
        Positional[tuple[str, ...]], arg(metavar="FILES_OR_FOLDERS", help="videos, images, or folders of them")
    ],
    /,
    *,
    model: Annotated[
        str, arg(help="zoo name (see `videomamba zoo`) or checkpoint file")
    ] = "videomamba_micro_synthetic",
    top: Annotated[int, arg(help="classes to show for each video")] = 5,
    views: Annotated[str, arg(help="clips x crops to average over, such as 1x1 or 4x3")] = "1x1",
    labels: Annotated[
        Path | None, arg(metavar="FILE", help="text file with one class name a line, for a checkpoint without names")
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
) -> int:
    """Classify videos. Files that fail are named on stderr, the others are still done, and the exit code is then 1."""
    from videomamba.data.decode import find_videos
    from videomamba.evaluation.views import Views
    from videomamba.schema import VideoError, VideoMambaError
    from videomamba.serving.predictor import Predictor, read_labels

    if not files:
        raise VideoMambaError(
            "predict: no file given; try `videomamba predict clip.mp4` or `videomamba predict --help`"
        )
    if "" in files:
        raise VideoMambaError('predict: "" names no file; an empty variable in the command line?')
    if top < 1:
        raise VideoMambaError(f"--top {top}: at least one class must be shown")
    parsed = Views.parse(views)
    predictor = Predictor.from_pretrained(
        model,
        labels=None if labels is None else read_labels(labels),
        num_frames=frames,
        image_size=size,
        device=usable_device(device),
        precision=precision,
    )
    paths: list[Path | VideoError] = []
    for given in files:
        try:
            paths += find_videos(given)
        except VideoError as error:
            paths.append(error)
    readable = [path for path in paths if isinstance(path, Path)]
    answers = predictor.predict_many(readable, top=top, views=parsed)
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
            print(f"{answer.path}  ({answer.seconds:.2f} s)")
            rows = [[p.label, f"{100 * p.score:.1f} %", "#" * round(30 * p.score)] for p in answer.predictions]
            print_table(["class", "score", ""], rows, left=(0, 2))
    return 1 if failed else 0
