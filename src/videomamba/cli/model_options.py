"""The options that all commands share that ask a model about videos, and what they open."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from tyro.conf import Positional, arg

from videomamba.cli.output import usable_device

if TYPE_CHECKING:
    from videomamba.schema import VideoError
    from videomamba.serving.predictor import Predictor

Result = TypeVar("Result")

_AS_TRAINED = "(default: what the model was trained with)"


@dataclass(frozen=True)
class ModelOptions:
    """Which model answers, and how it runs."""

    model: Annotated[str, arg(help="zoo name (see `videomamba zoo`) or weights file")] = "videomamba_micro_synthetic"
    labels: Annotated[
        Path | None,
        arg(
            metavar="FILE",
            help="text file with one class name a line",
            help_behavior_hint="(default: the names in the weights file)",
        ),
    ] = None
    frames: Annotated[int | None, arg(metavar="T", help="frames in a clip", help_behavior_hint=_AS_TRAINED)] = None
    size: Annotated[
        int | None, arg(metavar="PIXELS", help="side of the picture in pixels", help_behavior_hint=_AS_TRAINED)
    ] = None
    device: Annotated[str, arg(help="cpu, cuda, mps, ...")] = "cpu"
    precision: Annotated[Literal["fp32", "bf16"], arg(help="of the matrix products; the scan is always fp32")] = "fp32"

    def open(self) -> Predictor:
        """The model, ready to be asked."""
        from videomamba.data.sets.formats.table import read_names
        from videomamba.serving.predictor import Predictor

        return Predictor.from_pretrained(
            self.model,
            labels=None if self.labels is None else read_names(self.labels),
            num_frames=self.frames,
            image_size=self.size,
            device=usable_device(self.device),
            precision=self.precision,
        )


Model = Annotated[ModelOptions, arg(name="")]  # without a name its options have no prefix
Files = Annotated[
    Positional[tuple[str, ...]],
    arg(metavar="FILES_OR_FOLDERS", help="videos, images, or folders of them", help_behavior_hint=""),
]
Top = Annotated[int, arg(help="classes to show for each answer")]
Window = Annotated[
    float | None,
    arg(
        metavar="S",
        help="seconds in a window",
        help_behavior_hint="(default: the length of the clips that the model was trained on)",
    ),
]
Stride = Annotated[
    float | None,
    arg(
        metavar="S",
        help="seconds between the starts of windows",
        help_behavior_hint="(default: half a window)",
    ),
]


def check_top(top: int) -> None:
    from videomamba.schema import VideoMambaError

    if top < 1:
        raise VideoMambaError(f"--top {top}: give at least 1 class")


def find_files(command: str, files: Sequence[str]) -> list[Path | VideoError]:
    """The videos at each of `files`, or why there are none."""
    from videomamba.schema import VideoError, VideoMambaError
    from videomamba.video.open import find_videos

    if not files:
        raise VideoMambaError(
            f"{command}: no file given; try `videomamba {command} clip.mp4` or `videomamba {command} --help`"
        )
    if "" in files:
        raise VideoMambaError(f'{command}: "" names no file; is a variable in the command line empty?')
    paths: list[Path | VideoError] = []
    for name in files:
        try:
            paths += find_videos(name)
        except VideoError as error:
            paths.append(error)
    return paths


def each(paths: Sequence[Path | VideoError], look: Callable[[Path], Result]) -> Iterator[Result | VideoError]:
    """`look(path)` of each path, in order; the error of a video takes the place of its answer."""
    from videomamba.schema import VideoError

    for path in paths:
        try:
            yield path if isinstance(path, VideoError) else look(path)
        except VideoError as error:
            yield error
