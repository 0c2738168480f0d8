"""The results of a test: frozen records that print their numbers with the protocol."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from videomamba.schema import Preprocess, Views, counted

_NORMAL = 1.959964  # 95 % of a normal distribution are within this many standard deviations


def confidence_interval(right: int, number: int) -> tuple[float, float]:
    """The 95 % interval (low, high), in [0, 1], of a share that was `right` of `number`: Wilson's score interval.

    Unlike the usual "plus or minus" it holds for a dozen videos and for shares near 0 and 1. Source: E. B. Wilson 1927,
    doi 10.1080/01621459.1927.10502953.
    """
    share, z2 = right / number, _NORMAL**2
    middle = share + z2 / (2 * number)
    half = _NORMAL * math.sqrt(share * (1 - share) / number + z2 / (4 * number**2))
    scale = 1 + z2 / number
    return max((middle - half) / scale, 0.0), min((middle + half) / scale, 1.0)


@dataclass(frozen=True)
class Mistake:
    """A video with a wrong answer: class indices, and the probability of the answer. `span` in seconds for a part of it."""

    path: str
    label: int
    answer: int
    score: float
    span: tuple[float, float] | None = None


@dataclass(frozen=True)
class ClassScore:
    """One class: the numbers of its videos, of its right answers, of its missed videos (also wrong)."""

    label: str
    count: int
    correct: int
    missed: int

    @property
    def accuracy(self) -> float | None:
        """Share of right answers in [0, 1], None for a class without videos."""
        return self.correct / self.count if self.count else None


@dataclass(frozen=True, eq=False, repr=False)
class ClassificationResult:
    """The result of a classification. Shares are in [0, 1], from exact counts.

    `confusion` is (c, c) int64, rows the truth, columns the answers; missed videos are in no column. `correct5` is None
    with at most 5 classes, where top-5 is always 1. `mistakes` start with the most confident. `failures` lists (path,
    reason) of every record without a score; a video is scored from its readable windows.
    """

    protocol: str
    num_videos: int
    num_missed: int
    correct1: int
    correct5: int | None
    per_class: tuple[ClassScore, ...]
    confusion: NDArray[np.int64]
    mistakes: tuple[Mistake, ...]
    failures: tuple[tuple[str, str], ...]

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(score.label for score in self.per_class)

    @property
    def top1(self) -> float:
        return self.correct1 / self.num_videos

    @property
    def top1_interval(self) -> tuple[float, float]:
        """Of the true top-1, with 95 % confidence, as the videos of a test are a sample (`confidence_interval`)."""
        return confidence_interval(self.correct1, self.num_videos)

    @property
    def top5(self) -> float | None:
        return None if self.correct5 is None else self.correct5 / self.num_videos

    @property
    def top1_readable(self) -> float | None:
        """Top-1 among the videos that were scored; None when there is none."""
        scored = self.num_videos - self.num_missed
        return self.correct1 / scored if scored else None

    @property
    def mean_class_accuracy(self) -> float:
        """The mean over the classes that have videos."""
        found = [score.accuracy for score in self.per_class if score.accuracy is not None]
        return sum(found) / len(found)

    def as_dict(self) -> dict[str, object]:
        """The JSON form: all numbers, the confusion matrix as lists, the failures; without the mistakes."""
        numbers = ("num_videos", "num_missed", "top1", "top1_interval", "top5", "top1_readable", "mean_class_accuracy")
        return {
            "protocol": self.protocol,
            **{name: getattr(self, name) for name in numbers},
            "per_class": [asdict(score) | {"accuracy": score.accuracy} for score in self.per_class],
            "confusion": self.confusion.tolist(),
            "failures": [{"path": path, "reason": reason} for path, reason in self.failures],
        }

    def __str__(self) -> str:
        low, high = self.top1_interval
        text = (
            f"top-1 {self.top1:.2%} ({self.correct1} of {self.num_videos} videos, 95% interval {low:.1%} to {high:.1%})"
        )
        if self.top5 is not None:
            text += f", top-5 {self.top5:.2%}"
        text += f", mean class accuracy {self.mean_class_accuracy:.2%}"
        if self.num_missed:
            others = "" if self.top1_readable is None else f" (top-1 of the others {self.top1_readable:.2%})"
            text += f", {self.num_missed} missed and counted as wrong{others}"
        return f"{text} [{self.protocol}]"

    def __repr__(self) -> str:
        return f"ClassificationResult({self})"


@dataclass(frozen=True)
class Estimate:
    """The network's value for a video, and the true value. `span` in seconds for a part of it."""

    path: str
    target: float
    value: float
    span: tuple[float, float] | None = None

    @property
    def error(self) -> float:
        return self.value - self.target


@dataclass(frozen=True, repr=False)
class RegressionResult:
    """The result of a regression. `mse` and `mae` are over the `estimates`, in the order of the data: without missed videos."""

    protocol: str
    num_missed: int
    estimates: tuple[Estimate, ...]
    failures: tuple[tuple[str, str], ...]

    @property
    def num_videos(self) -> int:
        return len(self.estimates) + self.num_missed

    @property
    def mse(self) -> float | None:
        """Mean squared error, None when no video was scored."""
        return sum(e.error**2 for e in self.estimates) / len(self.estimates) if self.estimates else None

    @property
    def mae(self) -> float | None:
        """Mean absolute error, None when no video was scored."""
        return sum(abs(e.error) for e in self.estimates) / len(self.estimates) if self.estimates else None

    def as_dict(self) -> dict[str, object]:
        """The JSON form: the numbers and the failures, without the estimates."""
        return {
            "protocol": self.protocol,
            "num_videos": self.num_videos,
            "num_missed": self.num_missed,
            "count": len(self.estimates),
            "mse": self.mse,
            "mae": self.mae,
            "failures": [{"path": path, "reason": reason} for path, reason in self.failures],
        }

    def __str__(self) -> str:
        if self.mse is None or self.mae is None:
            return f"no error to report: all {self.num_missed} videos were missed [{self.protocol}]"
        text = f"mean squared error {self.mse:.4f}, mean absolute error {self.mae:.4f}, {len(self.estimates)} videos"
        if self.num_missed:
            text += f", {self.num_missed} missed and excluded"
        return f"{text} [{self.protocol}]"

    def __repr__(self) -> str:
        return f"RegressionResult({self})"


def describe_protocol(preprocess: Preprocess, views: Views, *, regression: bool = False) -> str:
    """The protocol of a result: "4 clips x 3 crops, 8 frames uniform, 224x224, softmax then mean over views"."""
    merging = "mean over views" if regression else "softmax then mean over views"
    clips, crops = counted(views.clips, "clip"), counted(views.crops, "crop")
    return f"{clips} x {crops}, {describe_clip(preprocess)}, {merging}"


def describe_clip(preprocess: Preprocess) -> str:
    """The part of a protocol that says what a clip is: "8 frames uniform, 224x224". The size is width x height."""
    height, width = preprocess.image_size
    frames = f"{counted(preprocess.num_frames, 'frame')} {preprocess.sampling}"
    if preprocess.sampling == "dense":
        frames += f" every {preprocess.sampling_rate}"
    size = f"{width}x{height}{' stretched' if preprocess.resize == 'stretch' else ''}"
    return f"{frames}, {size}" + (f" (crop ratio {preprocess.crop_ratio:g})" if preprocess.crop_ratio < 1 else "")
