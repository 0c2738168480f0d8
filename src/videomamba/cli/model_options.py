"""The options that several commands share: the model, how it runs, and the videos."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from tyro.conf import Positional, arg

from videomamba.cli.output import note, usable_device
from videomamba.weights.released import CAMERA_MODEL

if TYPE_CHECKING:
    from videomamba.schema import IgnoredFile, VideoError
    from videomamba.serving.predictor import Predictor

Result = TypeVar("Result")

_TRAINED = "(default: what the model was trained with)"

Weights = Annotated[Positional[str], arg(metavar="WEIGHTS", help="zoo name or weights file")]
Labels = Annotated[
    Path | None,
    arg(
        metavar="FILE",
        help="text file with one class name a line",
        help_behavior_hint="(default: the names in the weights file)",
    ),
]
NewFrames = Annotated[int | None, arg(metavar="T", help="resize the temporal positions to this many frames")]
NewSize = Annotated[
    int | tuple[int, int] | None,
    arg(metavar="PIXELS", help="resize the spatial positions to this side, or height and width, in pixels"),
]
ClipsByCrops = Annotated[str, arg(help="clips x crops to average over, such as 4x3")]
AnyDevice = Annotated[str, arg(help="cpu, cuda, mps, ...; auto: the best available")]
Precision = Annotated[Literal["fp32", "bf16"], arg(help="of the matrix products; the scan is always fp32")]


@dataclass(frozen=True)
class NetworkOptions:
    """The network, and how it runs."""

    model: Annotated[str, arg(help="zoo name or weights file; `videomamba zoo` says what the packaged ones know")] = (
        CAMERA_MODEL
    )
    frames: Annotated[int | None, arg(metavar="T", help="frames in a clip", help_behavior_hint=_TRAINED)] = None
    size: Annotated[int | None, arg(metavar="PIXELS", help="side of the picture", help_behavior_hint=_TRAINED)] = None
    device: AnyDevice = "auto"
    precision: Precision = "fp32"


@dataclass(frozen=True)
class ModelOptions(NetworkOptions):
    """A network that classifies, with its class names."""

    labels: Labels = None

    def open(self, *, silent: bool = False) -> Predictor:
        """The model, whose remarks are printed unless `silent`: for a command without a video to answer about.

        Raises WeightsError for weights that are absent or damaged, VideoMambaError for a device without support."""
        from videomamba.serving.predictor import Predictor

        predictor = Predictor.from_pretrained(
            self.model,
            labels=class_names(self.labels),
            num_frames=self.frames,
            image_size=self.size,
            device=usable_device(self.device),
            precision=self.precision,
        )
        for remark in () if silent else predictor.remarks:
            note(remark)
        return predictor


Network = Annotated[NetworkOptions, arg(name="")]  # without a name the options have no prefix
Model = Annotated[ModelOptions, arg(name="")]
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
    arg(metavar="S", help="seconds between the starts of windows", help_behavior_hint="(default: half a window)"),
]


def class_names(file: Path | None) -> tuple[str, ...] | None:
    """The names in a text file, one a line; None without a file."""
    from videomamba.data.sets.formats.table import read_names

    return None if file is None else read_names(file)


def check_top(top: int) -> None:
    from videomamba.schema import VideoMambaError

    if top < 1:
        raise VideoMambaError(f"--top {top}: give at least 1 class")


def check_files(command: str, files: Sequence[str]) -> None:
    from videomamba.schema import VideoMambaError

    if not files:
        raise VideoMambaError(f"{command}: no file given; try `videomamba {command} clip.mp4`, or --help")
    if "" in files:
        raise VideoMambaError(f'{command}: "" names no file; is a variable in the command line empty?')
    if "-" in files:
        raise VideoMambaError(f"{command}: -: only `videomamba live -` reads a pipe; give the file itself")


def find_files(command: str, files: Sequence[str]) -> list[Path | VideoError]:
    """The videos at each of `files`, or the error of a file that is none. Ignored files are named on stderr."""
    from videomamba.schema import VideoError
    from videomamba.video.find import search_videos

    check_files(command, files)
    paths: list[Path | VideoError] = []
    for name in files:
        try:
            found = search_videos(name)
        except VideoError as error:
            paths.append(error)
        else:
            paths += found.videos
            note_ignored(found.ignored)
    return paths


def note_ignored(ignored: Sequence[IgnoredFile]) -> None:
    from videomamba.video.find import describe_ignored

    for line in describe_ignored(ignored):
        note(f"ignored {line}")


def without_videos(paths: Sequence[Path | VideoError]) -> bool:
    return not any(isinstance(path, Path) for path in paths)


def each(paths: Sequence[Path | VideoError], look: Callable[[Path], Result]) -> Iterator[Result | VideoError]:
    """`look(path)` of each path, in order; the error of a video replaces its answer."""
    from videomamba.schema import VideoError

    for path in paths:
        try:
            yield path if isinstance(path, VideoError) else look(path)
        except VideoError as error:
            yield error
