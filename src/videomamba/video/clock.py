"""The clock of a file: where it restarts, and the seconds of every picture.

Parts of a recording that were joined keep the clock of each part. Two pictures may carry the same time. In AVI, pictures
have no presentation time at all. Pictures are always identified by their packet, so times only have to be plausible:
real where the file has real ones, and increasing.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# MPEG clocks of 33 bits begin again after 26.5 hours. FFmpeg takes a part whose clock is behind that of the part before as
# such a wrap; no pause lasts that long.
_WRAP_SECONDS = 3 * 3600


def parts_of(decoded_at: Sequence[int | None], *, unit: Fraction, wraps: bool) -> Ints:
    """The part of each packet (P,): 0, and one more wherever the clock of decoding times restarts.

    A clock restarts where it goes back by at least one usual step. With `wraps` (MPEG streams) it also does where it jumps
    ahead by hours. `unit` is the length of a tick in seconds.
    """
    parts = np.zeros(len(decoded_at), dtype=np.int64)
    known = np.array([number for number, time in enumerate(decoded_at) if time is not None], dtype=np.int64)
    if len(known) < 3:
        return parts
    steps = np.diff(np.array([time for time in decoded_at if time is not None], dtype=np.int64))
    forward = steps[steps > 0]
    usual = int(np.median(forward)) if len(forward) else 1
    restarts = steps <= -usual
    if wraps:
        restarts |= steps * float(unit) > _WRAP_SECONDS
    parts[known[1:][restarts]] = 1
    return np.cumsum(parts)


def seconds_of(times: Sequence[int] | Ints, parts: Sequence[int] | Ints, *, unit: Fraction) -> Floats:
    """The seconds of V pictures in presentation order from their `times` (V,) in ticks and their `parts` (V,).

    Within a part, the sorted times are those of the pictures in order; equal times are spread over the time to the next
    one. Each part follows the one before after one usual step. The first picture is at 0.
    """
    parts = np.maximum.accumulate(np.asarray(parts, dtype=np.int64))
    ticks = np.empty(len(parts), dtype=np.float64)
    usual = 1.0
    end = 0.0
    for part in np.unique(parts):
        rows = np.flatnonzero(parts == part)
        inside, usual = _increasing(np.sort(np.asarray(times, dtype=np.int64)[rows]), usual)
        ticks[rows] = inside - inside[0] + end
        end = ticks[rows[-1]] + usual
    return ticks * float(unit)


def _increasing(times: Ints, usual: float) -> tuple[Floats, float]:
    """Sorted `times` with equal ones spread, and their usual step (`usual` if there is none)."""
    distinct, first, count = np.unique(times, return_index=True, return_counts=True)
    steps = np.diff(distinct).astype(np.float64)
    usual = float(np.median(steps)) if len(steps) else usual
    if len(distinct) == len(times):
        return times.astype(np.float64), usual
    room = np.append(steps, usual)
    place = np.arange(len(times)) - np.repeat(first, count)
    spread = np.repeat(distinct.astype(np.float64), count) + place * np.repeat(room / count, count)
    return spread, usual
