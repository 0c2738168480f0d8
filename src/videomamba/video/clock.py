"""The clock of a file: where it restarts, and the seconds of every picture.

Parts of a recording that were joined keep the clock of each part. Pictures are always identified by their packet, so times
only have to be plausible: the real ones where the file has real ones, and never decreasing.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_MOST_MISSING = 15 / 16


def parts_of(clock: Sequence[int | None], *, unit: Fraction, longest_pause: int) -> Ints:
    """The part of each packet (P,): 0, and one more wherever the `clock` (in ticks, None: unknown) restarts.

    It restarts where it goes back by at least one usual step, or jumps ahead by more than `longest_pause` seconds. `unit` is
    the length of a tick in seconds.
    """
    parts = np.zeros(len(clock), dtype=np.int64)
    known = np.array([number for number, time in enumerate(clock) if time is not None], dtype=np.int64)
    if len(known) < 2:
        return parts
    times = np.array([time for time in clock if time is not None], dtype=np.int64)
    steps = times[1:] - times[:-1]
    forward = steps[steps > 0]
    usual = int(np.median(forward)) if len(forward) else 1
    parts[known[1:][(steps <= -usual) | (steps > int(longest_pause / unit))]] = 1
    return np.cumsum(parts)


def filled(times: Sequence[int | None], parts: Ints) -> Ints | None:
    """`times` (V,) in presentation order, with missing ones at the usual step after the known one before, in the same part.

    None if more than _MOST_MISSING of them are missing, or all but one of a part.
    """
    known = np.array([time is not None for time in times], dtype=bool)
    ticks = np.array([0 if time is None else time for time in times], dtype=np.int64)
    if known.all():
        return ticks
    if known.sum() < (1 - _MOST_MISSING) * len(times):
        return None
    for part in np.unique(parts[~known]):
        rows = np.flatnonzero(parts == part)
        places, missing = rows[known[rows]], rows[~known[rows]]
        if len(places) < 2:
            return None
        steps = np.diff(ticks[places]) / np.diff(places)
        usual = float(np.median(steps))
        before = np.maximum(np.searchsorted(places, missing) - 1, 0)  # the known one before, or the first
        step = np.minimum(np.append(steps, usual)[before], usual)
        ticks[missing] = np.round(ticks[places[before]] + (missing - places[before]) * step)
    return ticks


def seconds_of(times: Sequence[int] | Ints, parts: Sequence[int] | Ints, *, unit: Fraction) -> Floats:
    """The seconds of V pictures in presentation order from their `times` (V,) in ticks and their `parts` (V,).

    Within a part, the sorted times are those of the pictures in order; each part follows the one before after one usual step.
    The first picture is at 0.
    """
    parts = np.maximum.accumulate(np.asarray(parts, dtype=np.int64))
    times = np.asarray(times, dtype=np.int64)
    ticks = np.empty(len(parts), dtype=np.float64)
    usual, end = 1.0, 0.0
    for part in np.unique(parts):
        rows = np.flatnonzero(parts == part)
        inside = np.sort(times[rows])
        steps = np.diff(inside)
        usual = float(np.median(steps[steps > 0])) if steps.any() else usual
        ticks[rows] = inside - inside[0] + end
        end = ticks[rows[-1]] + usual
    return ticks * float(unit)
