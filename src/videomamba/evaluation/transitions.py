"""Found cuts and fades against the true ones: precision, recall and the error in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

TOLERANCE = 0.2
"""Seconds between a found and a true transition that are the same one."""

_WITHIN = 1e-6  # seconds of rounding error


@dataclass(frozen=True)
class TransitionScores:
    """`matched` of the `found` and the `true` transitions are the same; `error` is their mean absolute distance in seconds.

    `precision` and `recall` are None where nothing was found and where there is nothing to find, `error` without a match.
    """

    found: int
    true: int
    matched: int
    error: float | None

    @property
    def precision(self) -> float | None:
        return self.matched / self.found if self.found else None

    @property
    def recall(self) -> float | None:
        return self.matched / self.true if self.true else None


def match_times(
    found: Sequence[float], true: Sequence[float], *, tolerance: float = TOLERANCE
) -> list[tuple[int, int]]:
    """(place in `found`, place in `true`) of the times, in seconds, that are at most `tolerance` apart, one to one.

    As many pairs as possible; of those choices the one with the smallest sum of distances. Raises ValueError for times that
    do not ascend or a negative tolerance.
    """
    if tolerance < 0 or list(found) != sorted(found) or list(true) != sorted(true):
        raise ValueError("times must ascend, and the tolerance must not be negative")
    # best[j]: (pairs, -sum of distances) and the pairs of the times of `found` so far with the first j of `true`.
    best: list[tuple[int, float, tuple[tuple[int, int], ...]]] = [(0, 0.0, ())] * (len(true) + 1)
    for i, time in enumerate(found):
        row = [best[0]]
        for j, other in enumerate(true):
            options = [best[j + 1], row[j]]
            distance = abs(time - other)
            if distance <= tolerance + _WITHIN:
                pairs, total, chosen = best[j]
                options.append((pairs + 1, total - distance, (*chosen, (i, j))))
            row.append(max(options, key=lambda option: option[:2]))
        best = row
    return list(best[-1][2])


def score_transitions(
    found: Sequence[float], true: Sequence[float], *, tolerance: float = TOLERANCE
) -> TransitionScores:
    """Compares ascending times in seconds, see `match_times`."""
    pairs = match_times(found, true, tolerance=tolerance)
    error = sum(abs(found[i] - true[j]) for i, j in pairs) / len(pairs) if pairs else None
    return TransitionScores(len(found), len(true), len(pairs), error)


def overlapping(
    found: Sequence[tuple[float, float]], true: Sequence[tuple[float, float]], *, least: float = 0.5
) -> int:
    """How many of the `true` (start, end) share at least `least` of the time of both together with one of those found."""

    def shared(one: tuple[float, float], other: tuple[float, float]) -> float:
        together = max(one[1], other[1]) - min(one[0], other[0])
        return (min(one[1], other[1]) - max(one[0], other[0])) / together if together > 0 else 0.0

    return sum(any(shared(span, other) >= least for other in found) for span in true)


def pooled(scores: Sequence[TransitionScores]) -> TransitionScores:
    """The scores of several films as those of one."""
    matched = sum(score.matched for score in scores)
    errors = sum(score.error * score.matched for score in scores if score.error is not None)
    return TransitionScores(
        sum(score.found for score in scores),
        sum(score.true for score in scores),
        matched,
        errors / matched if matched else None,
    )
