"""The motion of the camera in each shot, from the windows that see nothing else.

Shape letters: k windows, c classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from videomamba.serving.shots.records import CUT, FADE, UNSURE, MotionSpan, Shot, Transition
from videomamba.serving.shots.transitions import LIKELY

UNSURE_BELOW = 0.6
SHORTEST_MOTION = 0.3
"""Seconds: a shorter span between two others belongs to one of them."""
_MOSTLY = 0.9  # the share of a window that must lie in a shot, outside of fades, for the window to speak for the shot


def find_shots(
    scores: NDArray[np.floating],
    starts: NDArray[np.float64],
    length: float,
    labels: Sequence[str],
    transitions: Sequence[Transition],
    duration: float,
    *,
    unsure_below: float = UNSURE_BELOW,
) -> list[Shot]:
    """The shots between `transitions` (in order) of a video of `duration` seconds, with the motions in each.

    `scores` (k, c) are the probabilities of the windows of `length` seconds from `starts` (k,) on. A window speaks for the time
    around its centre, the first and last one of a shot up to its ends. Where its best motion is below `unsure_below`, and in a
    shot into which no window fits, the motion is "unsure".
    """
    motions = np.array([i for i, label in enumerate(labels) if label not in (CUT, FADE)])
    moving = scores[:, motions].astype(np.float64)
    usable = 1 - moving.sum(axis=1) < LIKELY
    names = [labels[i] for i in motions]
    edges = [0.0, *(transition.time for transition in transitions), duration]
    # Without its fades: (start, end) of the time in which only the shot is seen.
    firsts = [0.0, *(t.end if t.kind == FADE else t.time for t in transitions)]
    lasts = [*(t.start if t.kind == FADE else t.time for t in transitions), duration]
    shots = []
    for (start, end), clear_from, clear_to in zip(pairwise(edges), firsts, lasts, strict=True):
        inside = np.minimum(starts + length, clear_to) - np.maximum(starts, clear_from)
        seen = np.flatnonzero(usable & (inside >= _MOSTLY * length - 1e-9))
        spans = [MotionSpan(UNSURE, start, end, 0.0)]
        if len(seen):
            centres = starts[seen] + length / 2
            cells = np.clip([start, *((centres[1:] + centres[:-1]) / 2), end], start, end).tolist()
            best = zip(moving[seen].argmax(axis=1).tolist(), moving[seen].max(axis=1).tolist(), strict=True)
            spans = [
                MotionSpan(names[motion] if score >= unsure_below else UNSURE, *cell, score)
                for (motion, score), cell in zip(best, pairwise(cells), strict=True)
            ]
        shots.append(Shot(start, end, tuple(_absorbed(_merged(spans)))))
    return shots


def _merged(spans: Sequence[MotionSpan]) -> list[MotionSpan]:
    """Neighbours with one label as one span."""
    merged: list[MotionSpan] = []
    for span in spans:
        if merged and merged[-1].label == span.label:
            merged[-1] = _joined(merged[-1], span, span.label)
        else:
            merged.append(span)
    return merged


def _joined(before: MotionSpan, after: MotionSpan, label: str) -> MotionSpan:
    lengths = [span.end - span.start for span in (before, after)]
    scores = [before.score, after.score]
    score = float(np.average(scores, weights=lengths)) if sum(lengths) > 0 else max(scores)
    return MotionSpan(label, before.start, after.end, score)


def _absorbed(spans: list[MotionSpan]) -> list[MotionSpan]:
    """Without spans shorter than SHORTEST_MOTION, as long as there are others; the longer neighbour takes their time."""
    while len(spans) > 1:
        lengths = [span.end - span.start for span in spans]
        short = int(np.argmin(lengths))
        if lengths[short] >= SHORTEST_MOTION:
            break
        neighbours = [place for place in (short - 1, short + 1) if 0 <= place < len(spans)]
        longer = max(neighbours, key=lambda place: lengths[place])
        kept, gone = spans[longer], spans[short]
        spans[longer] = MotionSpan(kept.label, min(kept.start, gone.start), max(kept.end, gone.end), kept.score)
        del spans[short]
        spans = _merged(spans)
    return spans
