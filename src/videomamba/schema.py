"""The records that the layers exchange: small, frozen, checked on creation, cheap to print.

Shape letters: t frames, h height, w width, c channels (RGB order everywhere).

Nothing here imports PyTorch: tensors are checked through `shape` and `dtype` only.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class VideoMambaError(Exception):
    """Something that the user can fix. The message is one line that names the file or key and says what to do."""


class VideoError(VideoMambaError):
    """A video (or folder of frames) that cannot be read. The message starts with its path."""

    def __init__(self, path: object, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = str(path)
        self.reason = reason

    def __reduce__(self) -> tuple[type[VideoError], tuple[str, str]]:
        # By default an exception is pickled with its message only, which does not fit `__init__`.
        return type(self), (self.path, self.reason)


class WeightsError(VideoMambaError):
    """A weights file that cannot be found, read, or loaded completely into the model."""


def nearest_name(name: str, known: Iterable[str], *, otherwise: str) -> str:
    """Advice for an unknown `name`: "did you mean 'tiny'?" with the closest of `known`, `otherwise` if none is close."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else otherwise


def one_form(name: str) -> str:
    """A class name in Unicode's composed form, NFC. macOS may store "é" as two characters, lists write it as one."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def counted(number: int, noun: str, plural: str = "") -> str:
    """ "1 epoch", "2 epochs"; `plural` where it is not `noun` with an s."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True, repr=False)
class VideoInfo:
    """The facts of an open video: measured, not copied from the container's header.

    `num_frames` counts the frames that can be presented; `fps` is the average rate (0.0 for a single frame); `height` and
    `width` are the size of the upright picture, after `rotation` (degrees clockwise, a multiple of 90) was applied.
    `notes` say where the file's own table or times were not followed, because the decoder or the times contradict them.
    """

    path: str
    num_frames: int
    fps: float
    duration: float
    height: int
    width: int
    rotation: int = 0
    codec: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _require(self.num_frames > 0, f"{self.path}: a video has at least one frame, got {self.num_frames}")
        _require(self.height > 0 and self.width > 0, f"{self.path}: empty picture {self.width}x{self.height}")

    @property
    def spacing(self) -> float:
        """The mean time between two frames in seconds, 0 for a single one."""
        return 1 / self.fps if self.fps else 0.0

    def __repr__(self) -> str:
        size = f"{self.width}x{self.height}"
        return f"VideoInfo({self.path!r}, {self.num_frames} frames, {self.fps:.3g} fps, {size}, {self.codec})"


@dataclass(frozen=True, repr=False)
class Frames:
    """Decoded pictures of one video: `data` (t, h, w, 3) uint8 RGB, upright.

    `indices[i]` is the position of picture i in presentation order, `timestamps[i]` its time in seconds.
    """

    data: Tensor
    indices: tuple[int, ...]
    timestamps: tuple[float, ...]
    path: str = ""

    def __post_init__(self) -> None:
        shape = tuple(self.data.shape)
        _require(len(shape) == 4 and shape[3] == 3, f"Frames.data must be (t, h, w, 3), got {shape}")
        _require(str(self.data.dtype) == "torch.uint8", f"Frames.data must be uint8, got {self.data.dtype}")
        _require(len(self.indices) == shape[0], f"{len(self.indices)} indices for {shape[0]} frames")
        _require(len(self.timestamps) == shape[0], f"{len(self.timestamps)} timestamps for {shape[0]} frames")

    def __len__(self) -> int:
        return len(self.indices)

    def part(self, start: int, stop: int) -> Frames:
        """Pictures start..stop-1, sharing memory."""
        return Frames(self.data[start:stop], self.indices[start:stop], self.timestamps[start:stop], self.path)

    def __repr__(self) -> str:
        return f"Frames({tuple(self.data.shape)} uint8, {self.path!r})"


@dataclass(frozen=True, repr=False)
class Clip:
    """The input of the network: `data` (3, t, h, w) float, normalised; `indices` are the frames that it was made from."""

    data: Tensor
    indices: tuple[int, ...] = ()
    path: str = ""

    def __post_init__(self) -> None:
        shape = tuple(self.data.shape)
        _require(len(shape) == 4 and shape[0] == 3, f"Clip.data must be (3, t, h, w), got {shape}")
        _require(self.data.is_floating_point(), f"Clip.data must be floating point, got {self.data.dtype}")
        _require(len(self.indices) in (0, shape[1]), f"{len(self.indices)} indices for {shape[1]} frames")

    def __repr__(self) -> str:
        return f"Clip({tuple(self.data.shape)} {str(self.data.dtype).removeprefix('torch.')}, {self.path!r})"


@dataclass(frozen=True, slots=True)
class ClassLabel:
    """The class of a video, as its index in the class names of the set."""

    index: int


@dataclass(frozen=True, slots=True)
class Number:
    """The number that a regression learns to estimate."""

    value: float


@dataclass(frozen=True, slots=True)
class Captions:
    """One or several sentences, each of which describes the complete video."""

    texts: tuple[str, ...]

    def __post_init__(self) -> None:
        _require(len(self.texts) > 0, "captions need at least one text")


@dataclass(frozen=True, slots=True)
class Question:
    """A question about the video and the answers that count as right."""

    text: str
    answers: tuple[str, ...]

    def __post_init__(self) -> None:
        _require(len(self.answers) > 0, f"question {self.text!r} needs at least one answer")


@dataclass(frozen=True, slots=True)
class Choices:
    """Several sentences, of which the one at index `right` describes the video: multiple choice."""

    texts: tuple[str, ...]
    right: int

    def __post_init__(self) -> None:
        _require(0 <= self.right < len(self.texts), f"choice {self.right} is not in 0..{len(self.texts) - 1}")


Annotation = ClassLabel | Number | Captions | Question | Choices

Task = Literal["classification", "regression", "captions", "questions", "choices", "unlabelled"]

_TASKS: dict[type, tuple[Task, str]] = {
    ClassLabel: ("classification", "a class"),
    Number: ("regression", "a number"),
    Captions: ("captions", "captions"),
    Question: ("questions", "a question"),
    Choices: ("choices", "sentences to choose from"),
    type(None): ("unlabelled", "no annotation"),
}


@dataclass(frozen=True, slots=True)
class VideoRecord:
    """One entry of a data set: a video (file, folder of frames, image), or a part of one, and its annotation.

    `path` is complete and identifies the video: scores of several records with one path are merged. `annotation` is None
    for an unlabelled video. `span` is (start, end) in seconds, None for the complete video. A folder of frames may have
    `num_frames` and the names of its files, `frame_name.format(i)` counting from 1. `origin` is the place where the record
    was written ("train.csv, line 7").
    """

    path: str
    annotation: Annotation | None = None
    span: tuple[float, float] | None = None
    num_frames: int | None = None
    frame_name: str | None = None
    origin: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        _require(self.span is None or 0 <= self.span[0] < self.span[1], f"{self.path}: empty span {self.span}")
        _require((self.num_frames is None) == (self.frame_name is None), f"{self.path}: frames need number and names")

    @property
    def label(self) -> int | None:
        """The index of the class, None where the annotation is not a class."""
        return self.annotation.index if isinstance(self.annotation, ClassLabel) else None

    @property
    def target(self) -> float | None:
        """The number to estimate, None where the annotation is not a number."""
        return self.annotation.value if isinstance(self.annotation, Number) else None


class CompactRecords(Sequence[VideoRecord], ABC):
    """Records that are stored as columns and made when they are asked for, for sets of millions.

    All have an annotation of the type `kind`, which is no class.
    """

    @property
    @abstractmethod
    def kind(self) -> type: ...


@dataclass(frozen=True)
class Symmetries:
    """The class of a changed video: entry i is the new class of a video of class i.

    `mirror` swaps left and right, `upside_down` top and bottom, `backwards` plays the video from its end. None: the class
    of the changed video is unknown, so the change is not allowed. An ordinary data set has only `mirror`, the identity.
    """

    mirror: tuple[int, ...] | None = None
    upside_down: tuple[int, ...] | None = None
    backwards: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class IgnoredFile:
    """A file or folder below that of a data set or a command that is not read, and why.

    `empty_class`: the folder of a class that holds no videos.
    """

    path: str
    reason: str
    empty_class: bool = False

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True, repr=False)
class VideoSet:
    """One split of a data set: its records, all with the same kind of annotation, and the class names in index order.

    `ignored` are the files in its folders that are no records.

    Only classification has class names. `task` follows from both: a set without records or annotations, and without
    class names, is "unlabelled".

    Raises VideoMambaError, naming the record's origin, for a label that has no class name and for mixed annotations.
    """

    name: str
    records: Sequence[VideoRecord]
    labels: tuple[str, ...] = ()
    symmetries: Symmetries = Symmetries()
    ignored: tuple[IgnoredFile, ...] = field(default=(), compare=False)
    task: Task = field(init=False)

    def __post_init__(self) -> None:
        if isinstance(self.records, CompactRecords):
            kind = self.records.kind
        else:
            kind = ClassLabel if self.labels else type(self.records[0].annotation if self.records else None)
        object.__setattr__(self, "task", _TASKS[kind][0])
        for record in () if isinstance(self.records, CompactRecords) else self.records:
            if type(record.annotation) is not kind:
                raise VideoMambaError(
                    f"{record.origin or record.path}: has {_TASKS[type(record.annotation)][1]}, but {self.name} is a set of "
                    f"videos with {_TASKS[kind][1]}; give all of them the same kind of annotation"
                )
            if record.label is not None and not 0 <= record.label < len(self.labels):
                raise VideoMambaError(
                    f"{record.origin or record.path}: label {record.label} is not in 0..{len(self.labels) - 1}, "
                    f"the {len(self.labels)} classes of {self.name}; fix the line or the class names"
                )

    @property
    def regression(self) -> bool:
        return self.task == "regression"

    @property
    def outputs(self) -> int:
        """The number of outputs of a head: one for each class, or one number to estimate.

        Raises VideoMambaError for a set with neither classes nor numbers.
        """
        if self.task not in ("classification", "regression"):
            raise VideoMambaError(
                f"{self.name}: needs a class or a number for each video, but is {self.task}; "
                "give a data set with labels or targets"
            )
        return 1 if self.regression else len(self.labels)

    def __len__(self) -> int:
        return len(self.records)

    def __repr__(self) -> str:
        kind = f"{len(self.labels)} classes" if self.labels else self.task
        return f"VideoSet({self.name!r}, {len(self.records)} records, {kind})"


@dataclass(frozen=True)
class ScoredLabel:
    """A class name and its probability in [0, 1]."""

    label: str
    score: float


@dataclass(frozen=True)
class Prediction:
    """The best classes of one video, best first. `model` is the name of the network that answered, "" where it has none."""

    path: str
    predictions: tuple[ScoredLabel, ...]
    seconds: float = field(default=0.0, compare=False)
    model: str = ""

    def __post_init__(self) -> None:
        scores = [p.score for p in self.predictions]
        _require(scores == sorted(scores, reverse=True), f"{self.path}: predictions must be sorted, best first")

    @property
    def top(self) -> ScoredLabel:
        return self.predictions[0]

    def as_dict(self) -> dict[str, object]:
        """The JSON form: {"path": ..., "model": ..., "predictions": [{"label": ..., "score": ...}, ...]}."""
        best = [{"label": p.label, "score": p.score} for p in self.predictions]
        return {"path": self.path, "model": self.model, "predictions": best}


MOST_VIEWS = 1000
"""The most views of one video; the paper's tests use up to 12."""


@dataclass(frozen=True)
class Views:
    """The views of a test: `clips` in time by `crops` in space. Printed and parsed as clips x crops: "4x3"."""

    clips: int = 1
    crops: int = 1

    def __post_init__(self) -> None:
        if self.clips < 1 or self.crops < 1:
            raise ValueError(f"views need at least 1 clip and 1 crop, got {self.clips}x{self.crops}")

    def __len__(self) -> int:
        return self.clips * self.crops

    def __str__(self) -> str:
        return f"{self.clips}x{self.crops}"

    @classmethod
    def parse(cls, text: str | Views) -> Views:
        """Read "4x3" as 4 clips x 3 crops; `Views` are returned unchanged. Raises VideoMambaError for anything else."""
        if isinstance(text, Views):
            return text
        found = re.fullmatch(r"\s*([1-9][0-9]*)\s*x\s*([1-9][0-9]*)\s*", text, re.IGNORECASE | re.ASCII)
        if found is None:
            raise VideoMambaError(f"views {text!r}: write clips x crops as two whole numbers, for example 4x3 or 1x1")
        views = cls(int(found[1]), int(found[2]))
        if len(views) > MOST_VIEWS:
            raise VideoMambaError(f"views {text!r}: are {len(views)} clips of a video; give at most {MOST_VIEWS}")
        return views


class Settings(BaseModel):
    """Settings of one part of a run: frozen, and an unknown field is an error.

    `replaces` names, for a setting, those that a choice of it resets to None, unless they are chosen too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    replaces: ClassVar[Mapping[str, tuple[str, ...]]] = {}


class Preprocess(Settings):
    """How a file becomes a clip. Stored with the weights; training, testing and serving build the pipeline from it.

    Spatial: scale the picture, then crop `image_size`. `resize` cover: so that it just covers `image_size / crop_ratio`,
    keeping its aspect; stretch: to exactly that size, as in the tests of the released video-text models.
    Temporal: `uniform` takes the middle of `num_frames` equal segments of the complete video (sparse sampling of Kinetics,
    Breakfast, COIN, LVU), `tsn` uses Something-Something V2's segments, `segments` those of the released video-text models,
    `dense` takes every `sampling_rate`-th frame, `window` the middles of `num_frames` equal parts of `clip_seconds` seconds.
    `clip_seconds` is the length of video that one training clip covered (training measures the median of its videos), None
    if it is unknown: the default window of timelines and live streams. `antialias` is off for the released weights, which
    were trained without it.
    """

    num_frames: int = Field(default=8, ge=1)
    image_size: tuple[int, int] = (224, 224)
    crop_ratio: float = Field(default=1.0, gt=0, le=1)
    resize: Literal["cover", "stretch"] = "cover"
    sampling: Literal["uniform", "tsn", "segments", "dense", "window"] = "uniform"
    sampling_rate: int = Field(default=1, ge=1)
    clip_seconds: float | None = Field(default=None, gt=0)
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    antialias: bool = True

    @model_validator(mode="after")
    def _positive(self) -> Self:
        if min(self.image_size) < 1 or min(self.std) <= 0:
            raise ValueError(f"image_size and std must be positive, got {list(self.image_size)} and {list(self.std)}")
        return self


def check_labels(labels: Sequence[str], num_classes: int, source: str) -> tuple[str, ...]:
    """`labels` as a tuple in `one_form`, or VideoMambaError when their number is not the model's number of classes."""
    others = [label for label in labels if not isinstance(label, str)]
    if others:
        raise VideoMambaError(f"{source}: a class name is text, got {others[0]!r}")
    if len(labels) != num_classes:
        raise VideoMambaError(
            f"{source}: {len(labels)} class names for a model with {num_classes} classes; give one name per class"
        )
    return tuple(map(one_form, labels))
