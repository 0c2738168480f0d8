"""Frames as timecodes, HH:MM:SS:FF. Editing programs know a few rates only; others are written at a rate that fits them.

At 29.97 and 59.94 frames a second, timecodes are of the drop-frame kind (HH:MM:SS;FF): each minute but every tenth leaves out
the first numbers, so that they keep up with the clock.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

RATES = tuple(
    Fraction(rate)
    for rate in ("24000/1001", "24", "25", "30000/1001", "30", "48000/1001", "48", "50", "60000/1001", "60")
)
_SAME = 5e-4  # relative: 29.97 and 30 differ by 1e-3
_MOST_REPEATS = 12
_UNEVEN = 0.25  # of a frame: files round the times of their frames to milliseconds or coarser


def timecode_rate(fps: float) -> Fraction:
    """The rate of `RATES` for a video of `fps` frames a second.

    That is its own rate, or else the smallest one that shows each frame equally often (30 for 15), or else the nearest.
    """
    for repeats in range(1, _MOST_REPEATS + 1):
        fits = [rate for rate in RATES if abs(float(rate) / (fps * repeats) - 1) < _SAME] if fps > 0 else []
        if fits:
            return min(fits, key=lambda rate: abs(float(rate) - fps * repeats))
    return min(RATES, key=lambda rate: abs(float(rate) - fps))


def timecode(seconds: float, rate: Fraction) -> str:
    """The timecode of the frame that starts at `seconds`, rounded to the nearest frame of `rate`."""
    frame, whole, separator = round(seconds * rate), round(rate), ":"
    if rate in (Fraction(30000, 1001), Fraction(60000, 1001)):
        separator = ";"
        dropped = whole // 15  # numbers that a minute leaves out
        tens, rest = divmod(frame, 600 * whole - 9 * dropped)
        frame += 9 * dropped * tens + max(0, (rest - dropped) // (60 * whole - dropped)) * dropped
    minutes, rest = divmod(frame, 60 * whole)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // whole:02d}{separator}{rest % whole:02d}"


def varies(timestamps: NDArray[np.float64]) -> bool:
    """Whether frames that start at `timestamps` seconds, ascending, are away from the places that the mean rate gives."""
    if len(timestamps) < 3:
        return False
    even = np.linspace(timestamps[0], timestamps[-1], len(timestamps))
    frame = (timestamps[-1] - timestamps[0]) / (len(timestamps) - 1)
    return bool(frame > 0 and (np.abs(timestamps - even) > max(_UNEVEN * frame, 2e-3)).any())
