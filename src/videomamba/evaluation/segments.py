"""From the scores of windows to segments of time: arithmetic on arrays, without a video or a network.

The score of a window is most reliable at its centre, so each window represents the cell of time around its centre, halfway
to the centres of its neighbours. The mean of all windows over a moment would be smoother, but an action as long as a window
fills only one: averaged with neighbours that see half of it, its score falls below any useful threshold. Segments of a
single window can be dropped afterwards by a shortest length.

Shape letters: k windows, c classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_WITHIN = 1e-6  # seconds of rounding error


@dataclass(frozen=True)
class Segment:
    """One class from `start` to `end` seconds. `score` is its mean probability over that time, `peak` the highest."""

    label: str
    start: float
    end: float
    score: float
    peak: float


def cell_edges(starts: NDArray[np.float64], window: float, duration: float) -> NDArray[np.float64]:
    """(k + 1,) seconds: window i represents the time from edge i to edge i + 1.

    The edges are halfway between the centres of neighbouring windows; the first cell starts with the video, the last one
    ends with it. `starts` (k,) ascend.
    """
    centres = starts + min(window, duration) / 2
    return np.concatenate([[0.0], (centres[1:] + centres[:-1]) / 2, [duration]])


def find_segments(
    scores: NDArray[np.floating],
    edges: NDArray[np.float64],
    labels: Sequence[str],
    *,
    threshold: float,
    keep: float | None = None,
    bridge: float = 0.0,
    shortest: float = 0.0,
) -> list[Segment]:
    """The segments in which a class is at least as probable as `threshold`, in order of time.

    `scores` (k, c) are the probabilities of the cells between `edges` (k + 1,). Neighbouring cells of one class form one
    segment, which continues over neighbours with a probability of at least `keep` (None: `threshold`): a window that sees
    only a part of an action is less certain. Segments of one class with a gap of at most `bridge` seconds become one; the low
    scores in the gap count in the mean. Then segments shorter than `shortest` seconds are dropped. Segments of different
    classes may overlap if `keep` is at most one half, or if a gap was bridged.

    Raises ValueError for shapes that do not fit, descending edges, a threshold outside (0, 1] or `keep` outside (0, threshold].
    """
    if scores.ndim != 2 or scores.shape != (len(edges) - 1, len(labels)):
        raise ValueError(f"scores {scores.shape} do not fit {len(edges)} edges and {len(labels)} labels")
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be above 0 and at most 1, got {threshold}")
    keep = threshold if keep is None else keep
    if not 0 < keep <= threshold:
        raise ValueError(f"keep must be above 0 and at most the threshold {threshold}, got {keep}")
    if (np.diff(edges) < 0).any():
        raise ValueError("edges must not descend")
    found = [
        _segment(scores[first:last, column], edges[first : last + 1], label)
        for column, label in enumerate(labels)
        for first, last in _bridged(_runs(scores[:, column], threshold, keep), edges, bridge)
    ]
    lasting = [segment for segment in found if segment.end - segment.start >= shortest - _WITHIN]
    return sorted(lasting, key=lambda segment: (segment.start, segment.end, segment.label))


def _segment(scores: NDArray[np.floating], edges: NDArray[np.float64], label: str) -> Segment:
    lengths = np.diff(edges)
    weights = lengths if lengths.sum() > 0 else None  # a video of a single picture has no duration
    mean = float(np.average(scores.astype(np.float64), weights=weights))
    return Segment(label, float(edges[0]), float(edges[-1]), mean, float(scores.max()))


def _runs(scores: NDArray[np.floating], threshold: float, keep: float) -> list[tuple[int, int]]:
    """(first, one past the last) of each unbroken run of cells of at least `keep` that reaches `threshold`."""
    changes = np.flatnonzero(np.diff(np.concatenate([[False], scores >= keep, [False]])))
    runs = [(int(first), int(last)) for first, last in changes.reshape(-1, 2)]
    return [(first, last) for first, last in runs if scores[first:last].max() >= threshold]


def _bridged(runs: Sequence[tuple[int, int]], edges: NDArray[np.float64], bridge: float) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for first, last in runs:
        if merged and edges[first] - edges[merged[-1][1]] <= bridge + _WITHIN:
            merged[-1] = merged[-1][0], last
        else:
            merged.append((first, last))
    return merged
