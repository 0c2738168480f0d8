"""From the scores of records to the metrics of a test: one answer per video, counted exactly.

A video is identified by its full path, never by its basename (Breakfast has one basename under several cameras). A video
that cannot be read, or whose answer is not finite, is missed: listed, and in classification counted as wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from videomamba.evaluation.results import ClassificationResult, ClassScore, Estimate, Mistake, RegressionResult
from videomamba.schema import VideoMambaError, VideoSet

NOT_FINITE = "the network's answer is not finite"


@dataclass(frozen=True)
class ScoredVideo:
    """A video with one answer: the records whose scores are averaged, as indices into the VideoSet, and the truth.

    `span` in seconds where the answer is about that part of the video only.
    """

    path: str
    records: tuple[int, ...]
    label: int | None
    target: float | None
    span: tuple[float, float] | None = None


def videos_of(video_set: VideoSet) -> tuple[ScoredVideo, ...]:
    """The videos of a split, in order of first appearance; a test gives one answer for each.

    Records of one path are windows of one video. If a path has parts with different truths, all records of the set are
    annotated parts, and each is scored separately. Raises VideoMambaError for one part with two truths, and for a split
    without records.
    """
    if not video_set.records:
        raise VideoMambaError(f"{video_set.name}: no videos to evaluate; name another split or fix its list")
    groups: dict[str, list[int]] = {}
    for i, record in enumerate(video_set.records):
        groups.setdefault(record.path, []).append(i)
    truths = [(record.label, record.target) for record in video_set.records]
    if any(truths[i] != truths[group[0]] for group in groups.values() for i in group):
        seen: dict[tuple[str, tuple[float, float] | None], int] = {}
        for i, record in enumerate(video_set.records):
            first = seen.setdefault((record.path, record.span), i)
            if truths[first] != truths[i]:
                raise VideoMambaError(
                    f"{record.origin or video_set.name}: {record.path} has another label or target than in "
                    f"{video_set.records[first].origin or 'an earlier record'}; keep one of them, or give each its span"
                )
        return tuple(
            ScoredVideo(record.path, (i,), *truth, record.span)
            for i, (record, truth) in enumerate(zip(video_set.records, truths, strict=True))
        )
    return tuple(ScoredVideo(path, tuple(group), *truths[group[0]]) for path, group in groups.items())


def merge_scores(
    videos: Sequence[ScoredVideo], records: Sequence[int], scores: Tensor
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """One row of scores for each video: the mean over its records that have a score.

    `scores` is (k, c) float, row i for record `records[i]`, in any order: the mean is taken in fp64 in the order of the
    data set, so that it does not depend on the processes. Returns (v, c) float64 and (v,) bool, which videos have an
    answer: a video without a scored record, or with a number that is not finite, has none (its row is zero).
    Raises ValueError for another shape or a record scored twice.
    """
    if scores.ndim != 2 or len(scores) != len(records):
        raise ValueError(f"scores must be ({len(records)}, classes), got {tuple(scores.shape)}")
    rows = {record: row for row, record in enumerate(records)}
    if len(rows) != len(records):
        raise ValueError("a record is scored twice")
    values = scores.detach().double().cpu().numpy()
    merged = np.zeros((len(videos), values.shape[1]))
    answered = np.zeros(len(videos), dtype=np.bool_)
    for v, video in enumerate(videos):
        found = [values[rows[record]] for record in video.records if record in rows]
        if found:
            mean = np.sum(found, axis=0) / len(found)
            if np.isfinite(mean).all():
                merged[v], answered[v] = mean, True
    return merged, answered


def classification_report(
    video_set: VideoSet, records: Sequence[int], scores: Tensor, failures: Sequence[tuple[int, str]], *, protocol: str
) -> ClassificationResult:
    """The result of a test. `records`, `scores` (k, c) as in `merge_scores`; `failures` are (record, reason) of all others.

    A tie goes to the class of lowest index, in top-1 and in top-5. Raises ValueError when a record is neither scored nor
    failed, or both, or c is not the number of classes; VideoMambaError as `videos_of`.
    """
    num_classes = len(video_set.labels)
    if scores.ndim == 2 and scores.shape[1] != num_classes:
        raise ValueError(f"scores must have {num_classes} classes, got {tuple(scores.shape)}")
    videos, merged, answered = _merge(video_set, records, scores, failures)
    labels = np.array([video.label for video in videos])
    answers = merged.argmax(axis=1)
    right = answered & (answers == labels)
    true_scores = np.take_along_axis(merged, labels[:, None], axis=1)
    better = (merged > true_scores) | ((merged == true_scores) & (np.arange(num_classes) < labels[:, None]))
    confusion = np.zeros((num_classes, num_classes), dtype=np.int64)
    np.add.at(confusion, (labels[answered], answers[answered]), 1)
    wrong = [
        Mistake(videos[v].path, int(labels[v]), int(answers[v]), float(merged[v, answers[v]]), videos[v].span)
        for v in np.flatnonzero(answered & ~right)
    ]
    of_class = [labels == i for i in range(num_classes)]
    return ClassificationResult(
        protocol=_extend(protocol, videos, len(video_set)),
        num_videos=len(videos),
        num_missed=int((~answered).sum()),
        correct1=int(right.sum()),
        correct5=int((answered & (better.sum(axis=1) < 5)).sum()) if num_classes > 5 else None,
        per_class=tuple(
            ClassScore(name, int(mine.sum()), int((right & mine).sum()), int((mine & ~answered).sum()))
            for name, mine in zip(video_set.labels, of_class, strict=True)
        ),
        confusion=confusion,
        mistakes=tuple(sorted(wrong, key=lambda mistake: -mistake.score)),
        failures=_all_failures(video_set, videos, answered, failures),
    )


def regression_report(
    video_set: VideoSet, records: Sequence[int], values: Tensor, failures: Sequence[tuple[int, str]], *, protocol: str
) -> RegressionResult:
    """The result of a test of a regression. `values` is (k,) float, otherwise as `classification_report`."""
    videos, merged, answered = _merge(video_set, records, values.reshape(-1, 1), failures)
    return RegressionResult(
        protocol=_extend(protocol, videos, len(video_set)),
        num_missed=int((~answered).sum()),
        estimates=tuple(
            Estimate(video.path, float(video.target), float(value), video.span)
            for video, value, known in zip(videos, merged[:, 0], answered, strict=True)
            if known and video.target is not None
        ),
        failures=_all_failures(video_set, videos, answered, failures),
    )


def _merge(
    video_set: VideoSet, records: Sequence[int], scores: Tensor, failures: Sequence[tuple[int, str]]
) -> tuple[tuple[ScoredVideo, ...], NDArray[np.float64], NDArray[np.bool_]]:
    # A forgotten record would count as unreadable and silently change the result.
    if sorted([*records, *(record for record, _ in failures)]) != list(range(len(video_set))):
        raise ValueError(f"each of the {len(video_set)} records must be scored or failed, and only once")
    videos = videos_of(video_set)
    return videos, *merge_scores(videos, records, scores)


def _extend(protocol: str, videos: Sequence[ScoredVideo], num_records: int) -> str:
    if len(videos) < num_records:
        return f"{protocol}, mean over windows of a video"
    return protocol if len({video.path for video in videos}) == len(videos) else f"{protocol}, parts of videos"


def _all_failures(
    video_set: VideoSet, videos: Sequence[ScoredVideo], answered: NDArray[np.bool_], failures: Sequence[tuple[int, str]]
) -> tuple[tuple[str, str], ...]:
    """(path, reason) in the order of the data set: unreadable records, then videos whose answer is not finite."""
    failed = {record for record, _ in failures}
    return (
        *((video_set.records[record].path, reason) for record, reason in sorted(failures)),
        *(
            (video.path, NOT_FINITE)
            for video, known in zip(videos, answered, strict=True)
            if not known and not failed.issuperset(video.records)
        ),
    )
