"""`videomamba predict`: the class of each video."""

from __future__ import annotations

from pathlib import Path

from videomamba.cli.model_options import ClipsByCrops, Files, Model, ModelOptions, Top, check_top, find_files
from videomamba.cli.output import Json, print_answers, print_prediction, progress


def predict(
    files: Files, /, *, top: Top = 5, views: ClipsByCrops = "1x1", model: Model = ModelOptions(), json: Json = False
) -> int:
    """Classify videos: the best classes of each.

    The model sees a few frames spread over the video. `videomamba timeline` shows what happens when, `videomamba whole` reads
    all frames of a long video. Files that fail are listed on stderr; the others are still done, and the exit code is then 1.
    """
    from videomamba.schema import VideoError, Views

    paths = find_files("predict", files)
    check_top(top)
    parsed = Views.parse(views)
    answers = model.open().predict_many([path for path in paths if isinstance(path, Path)], top=top, views=parsed)
    merged = (path if isinstance(path, VideoError) else next(answers) for path in paths)
    return print_answers(progress(merged, total=len(paths), what="predicting"), print_prediction, json=json)
