"""Cuts and fades: the network decides that there is one, the changes from frame to frame decide where.

A window in which a transition is more likely than not votes for a cut or a fade. A vote for a cut is answered with the
largest change of the picture inside the window that the other windows around it agree with; further large changes in the
window are cuts too. Votes for fades in a row are answered with the spans that a mixture of two pictures explains best. A vote
whose transition has been found needs no other one.

Shape letters: k windows, f decoded frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from videomamba.serving.shots.ramp import fit_fade
from videomamba.serving.shots.records import CUT, FADE, Transition
from videomamba.serving.shots.signal import prominence
from videomamba.serving.shots.votes import Votes

LIKELY = 0.5  # the probability of a transition from which a window votes
_AGREED = 0.4  # the least probability that the windows around a transition give to a transition together
_PROMINENT = 1.5  # a cut changes the picture at least so many times more than the frames around it,
_DOUBTED = 8.0  # and as many more as this times the probability that there is no transition
_CUT_TO_FADE = 0.75  # the least ratio of the probability of a cut to that of a fade
_ANOTHER = 5.0  # so many times for one more cut in a window that has one already,
_COMPARABLE = 0.4  # if it is at least this share of the largest change there
_FADED = 8.0  # grey levels by which the pictures before and after a fade differ, at least,
_FADE_DOUBTED = 45.0  # and as many more as this times the probability that there is no transition
_APART = 0.2  # seconds: nearer changes are one cut
_SLACK = 0.1  # seconds of a transition that a window must contain in order to vote for it


@dataclass(frozen=True)
class Decoded:
    """The frames that the windows used: `indices` (f,) in the video, `times` (f,) in seconds, and the signal of the frames."""

    indices: NDArray[np.int64]
    times: NDArray[np.float64]
    prints: NDArray[np.uint8]
    changes: NDArray[np.float32]


def find_transitions(votes: Votes, decoded: Decoded, timestamps: NDArray[np.float64]) -> list[Transition]:
    """The transitions in order of time; `timestamps` are those of all frames of the video, decoded or not."""
    if len(decoded.times) < 2:
        return []
    cuts = _cuts(votes, decoded, timestamps)
    fades = [fade for fade in _fades(votes, decoded, timestamps, cuts) if not _near(fade, cuts)]
    return sorted([*cuts, *fades], key=lambda transition: transition.time)


def _cuts(votes: Votes, decoded: Decoded, timestamps: NDArray[np.float64]) -> list[Transition]:
    middles = (decoded.times[1:] + decoded.times[:-1]) / 2
    cut, fade = votes.at(middles)
    agreed = cut + fade
    strength = prominence(decoded.changes, decoded.times)
    likely = (agreed >= _AGREED) & (strength >= _PROMINENT + _DOUBTED * (1 - agreed)) & _peaks(decoded.changes)
    likely &= cut >= _CUT_TO_FADE * fade
    chosen: set[int] = set()
    for window in np.flatnonzero((votes.cut + votes.fade >= LIKELY) & (votes.cut >= votes.fade)):
        start = votes.starts[window]
        inside = np.flatnonzero(likely & (middles > start) & (middles < start + votes.length))
        if not len(inside):
            continue
        # A large change that another window sees better is no reason to overlook one in the middle of this window.
        largest = inside[np.argmax(strength[inside] * agreed[inside])]
        others = inside[
            (strength[inside] >= _ANOTHER) & (decoded.changes[inside] >= _COMPARABLE * decoded.changes[largest])
        ]
        chosen |= {int(largest), *others.tolist()}
    apart: list[int] = []
    for place in sorted(chosen, key=lambda place: -float(decoded.changes[place])):
        if all(abs(middles[place] - middles[other]) >= _APART for other in apart):
            apart.append(place)
    return [_cut(place, float(agreed[place]), decoded, timestamps) for place in sorted(apart)]


def _cut(place: int, score: float, decoded: Decoded, timestamps: NDArray[np.float64]) -> Transition:
    before, after = int(decoded.indices[place]), int(decoded.indices[place + 1])
    first = before + (after - before + 1) // 2  # of the frames that may begin the new shot, that in the middle
    times = (float(timestamps[before]), float(timestamps[after]), float(timestamps[first]))
    return Transition(CUT, *times, score)


def _peaks(changes: NDArray[np.float32]) -> NDArray[np.bool_]:
    around = np.concatenate([[-np.inf], changes, [-np.inf]])
    return (changes >= around[:-2]) & (changes >= around[2:])


def _fades(votes: Votes, decoded: Decoded, timestamps: NDArray[np.float64], cuts: list[Transition]) -> list[Transition]:
    voting = np.flatnonzero((votes.cut + votes.fade >= LIKELY) & (votes.fade > votes.cut))
    unanswered = set(voting.tolist())
    fades: list[Transition] = []
    while unanswered:
        run = _first_run(sorted(unanswered), votes)
        found = _fade(run, votes, decoded, timestamps, [*cuts, *fades])
        answered = {w for w in run if found is not None and _contains(votes, w, found)}
        if found is not None and answered:
            fades.append(found)
        # Windows that no fade can be found for are done as well.
        unanswered -= answered or set(run)
    return [fade for fade in fades if fade.score >= _AGREED]


def _first_run(windows: list[int], votes: Votes) -> list[int]:
    """The first windows that overlap or touch, each with the next: a window between them may have missed the fade."""
    run = windows[:1]
    for before, after in pairwise(windows):
        if votes.starts[after] > votes.starts[before] + votes.length + 1e-6:
            break
        run.append(after)
    return run


def _fade(
    run: list[int], votes: Votes, decoded: Decoded, timestamps: NDArray[np.float64], known: list[Transition]
) -> Transition | None:
    start, end = votes.starts[run[0]], votes.starts[run[-1]] + votes.length
    middle = (start + end) / 2
    for other in known:  # a fade ends where another transition begins
        if other.time < middle:
            start = max(start, other.end)
        else:
            end = min(end, other.start)
    inside = np.flatnonzero((decoded.times >= start - 1e-6) & (decoded.times <= end + 1e-6))
    if len(inside) < 3:
        return None
    first, last, change = fit_fade(decoded.prints[inside], decoded.times[inside])
    cut, fade = votes.at(np.array([(first + last) / 2]))
    score = float(cut[0] + fade[0])
    if change < _FADED + _FADE_DOUBTED * (1 - score):
        return None
    time = float(timestamps[np.abs(timestamps - (first + last) / 2).argmin()])
    return Transition(FADE, first, last, time, score)


def _contains(votes: Votes, window: int, transition: Transition) -> bool:
    start = float(votes.starts[window])
    return min(transition.end, start + votes.length) - max(transition.start, start) >= min(
        _SLACK, (transition.end - transition.start) / 2
    )


def _near(fade: Transition, cuts: list[Transition]) -> bool:
    return any(fade.start - _APART <= cut.time <= fade.end + _APART for cut in cuts)
