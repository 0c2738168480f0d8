"""What the windows say of each moment: overlapping windows agree or contradict one another.

A window may miss what happens near its ends. So the vote of a window about a moment weighs less there; everywhere else all
windows weigh the same, so that one that is wrong is outvoted by its neighbours.

Shape letters: k windows, m moments.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_LEAST = (
    0.02  # the weight of a window at its very ends: the first and last moments of a video are seen by one window only
)
_MARGIN = 0.15  # the share of a window at each end in which its weight falls


@dataclass(frozen=True)
class Votes:
    """The probabilities `cut` (k,) and `fade` (k,) of the windows of `length` seconds from `starts` (k,) on, ascending."""

    starts: NDArray[np.float64]
    length: float
    cut: NDArray[np.float64]
    fade: NDArray[np.float64]

    def at(self, moments: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(m,) and (m,): the weighted means of the probability of a cut and of a fade, of the windows around each moment."""
        cut, fade = np.zeros(len(moments)), np.zeros(len(moments))
        half = max(self.length / 2, 1e-9)
        for place, moment in enumerate(moments.tolist()):
            first = int(np.searchsorted(self.starts, moment - self.length - 1e-6))
            last = int(np.searchsorted(self.starts, moment + 1e-6, side="right"))
            from_end = half - np.abs(moment - self.starts[first:last] - half)
            inside = np.clip(from_end / (2 * half * _MARGIN), _LEAST, 1)
            total = inside.sum()
            if total > 0:
                cut[place] = inside @ self.cut[first:last] / total
                fade[place] = inside @ self.fade[first:last] / total
        return cut, fade
