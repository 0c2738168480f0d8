"""The option --save-video: where the annotated copy of each video goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from videomamba.cli.output import counter

if TYPE_CHECKING:
    from videomamba.schema import Prediction, VideoError
    from videomamba.serving.timeline import Timeline

SaveVideo = Annotated[
    Path | None,
    arg(
        metavar="FILE_OR_FOLDER",
        help="draw label and score on every frame of a copy, without sound: a file such as out.mp4 for one video, "
        "else a folder for NAME.labelled.mp4; needs matplotlib",
        help_behavior_hint="",
    ),
]


def annotated_files(out: Path | None, paths: Sequence[Path | VideoError]) -> Mapping[Path, Path]:
    """The file for the annotated copy of each video; empty without `out`. A folder is created.

    Raises VideoMambaError for one file and several videos, for two videos of one name, for a file that is there already, and
    without matplotlib.
    """
    from videomamba.files import make_folder
    from videomamba.schema import VideoMambaError
    from videomamba.serving.timeline import timeline_name

    videos = [path for path in paths if isinstance(path, Path)]
    if out is None or not videos:
        return {}
    import videomamba.evaluation.lettering  # noqa: F401  # an absent matplotlib is an error now, not after the first answer

    if out.suffix and not out.is_dir():
        if len(paths) > 1:
            raise VideoMambaError(
                f"--save-video {out}: holds one video, here are {len(paths)}; give a folder without a dot"
            )
        return _new({videos[0]: out})
    make_folder(out, option="--save-video")
    copies = {path: out / f"{timeline_name(path)}.labelled.mp4" for path in videos}
    owners: dict[Path, Path] = {}
    for path, copy in copies.items():
        other = owners.setdefault(copy, path)
        if other is not path:
            raise VideoMambaError(f"{path}: its copy would replace that of {other}; give each its own --save-video")
    return _new(copies)


def _new(copies: Mapping[Path, Path]) -> Mapping[Path, Path]:
    from videomamba.schema import VideoMambaError

    for copy in copies.values():
        if copy.exists():
            raise VideoMambaError(f"--save-video: {copy} is there already; remove it or give another name")
    return copies


def save_annotated(answer: Prediction | Timeline, out: Path) -> None:
    """Writes the video of `answer` with its labels to `out`. Raises VideoError as `serving.annotated.annotate` does."""
    from videomamba.serving.annotated import annotate, captions_of

    with counter(f"drawing on {Path(answer.path).name}") as tick:
        annotate(answer.path, out, captions_of(answer), progress=tick)
