"""`videomamba predict`: the class of each video."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from videomamba.cli.annotated import SaveVideo, annotated_files, save_annotated
from videomamba.cli.model_options import (
    ClipsByCrops,
    Files,
    Model,
    ModelOptions,
    Top,
    check_top,
    find_files,
    without_videos,
)
from videomamba.cli.output import Json, print_answers, print_prediction, progress
from videomamba.cli.targets import check_target

if TYPE_CHECKING:
    from videomamba.schema import Prediction, VideoError

    Answers = Iterable[Prediction | VideoError]


def predict(
    files: Files,
    /,
    *,
    top: Top = 5,
    views: ClipsByCrops = "1x1",
    csv: Annotated[
        Path | None,
        arg(
            metavar="FILE.csv", help="also write a row for each file, with its error if it fails", help_behavior_hint=""
        ),
    ] = None,
    save_video: SaveVideo = None,
    model: Model = ModelOptions(),
    json: Json = False,
) -> int:
    """Classify videos: the best classes of each.

    The model sees a few frames spread over the video. `videomamba timeline` shows what happens when, `videomamba whole` reads
    all frames of a long video. Files that fail are listed on stderr; the others are still done, and the exit code is then 1.
    """
    from videomamba.schema import VideoError, Views

    paths = find_files("predict", files)
    check_top(top)
    parsed = Views.parse(views)
    check_target("--csv", csv, endings=(".csv",), inputs=(*files, *paths, model.model, model.labels))
    copies = annotated_files(save_video, paths)
    predictor = model.open(silent=without_videos(paths))
    found = predictor.predict_many([path for path in paths if isinstance(path, Path)], top=top, views=parsed)
    answers: Answers = (path if isinstance(path, VideoError) else next(found) for path in paths)
    if copies:
        answers = _drawn(answers, copies)
    table: AbstractContextManager[Answers] = nullcontext(answers)
    if csv is not None:
        table = _written(answers, csv, classes=min(top, len(predictor.labels)))
    with table as rows:
        return print_answers(progress(rows, total=len(paths), what="predicting"), print_prediction, json=json)


def _drawn(answers: Answers, copies: Mapping[Path, Path]) -> Iterator[Prediction | VideoError]:
    """Each answer after its annotated video is written; the error of that where it fails."""
    from videomamba.schema import Prediction, VideoError

    for answer in answers:
        if isinstance(answer, Prediction):
            try:
                save_annotated(answer, copies[Path(answer.path)])
            except VideoError as error:
                yield error
                continue
        yield answer


@contextmanager
def _written(answers: Answers, path: Path, *, classes: int) -> Iterator[Iterator[Prediction | VideoError]]:
    """The answers, each after its row is in the file, so that an interrupt loses none.

    Raises VideoMambaError where the file cannot be written.
    """
    from videomamba.schema import VideoError, VideoMambaError

    best = [f"{kind}_{place}" for place in range(1, classes + 1) for kind in ("label", "score")]

    def write() -> Iterator[Prediction | VideoError]:
        for answer in answers:
            row: dict[str, object] = {"path": answer.path}
            if isinstance(answer, VideoError):
                row["error"] = answer.reason
            else:
                cells = (cell for scored in answer.predictions for cell in (scored.label, f"{scored.score:.6f}"))
                row |= {"model": answer.model, **dict(zip(best, cells, strict=True))}
            with refused():
                table.writerow(row)
                file.flush()
            yield answer

    @contextmanager
    def refused() -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = f"cannot be written ({error.strerror}); free space or choose another file"
            raise VideoMambaError(f"--csv {path}: {reason}") from None

    with refused():
        # A name that is no text is written as on the screen.
        file = path.open("w", encoding="utf-8", errors="backslashreplace", newline="")
    with file:
        table = csv.DictWriter(file, ["path", "model", *best, "error"])
        with refused():
            table.writeheader()
        yield write()
