"""Start and end of a fade: the mixture of two pictures that explains the frames best.

During a cross-fade each small picture is a mixture of that before and that after, whose share grows evenly. A fade through
black or white is two such ramps, to a plain picture and from it. A moving camera changes the pictures too, but in
other directions than from the picture before to that after, and those count less.

Shape letters: f frames, p pixels of a small picture.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_PLAIN = 0.3  # the share of its contrast that a picture keeps, at most, in the middle of a fade through black or white
_SETTLED = 2  # frames before the start and after the end that show the pictures to be mixed
_LONGEST = 1.6  # seconds of one ramp
_ASIDE = 0.4  # the weight of changes in other directions


class Ramp(NamedTuple):
    """From `start` to `end` seconds; `change` is the root mean square difference of the pictures there, in grey levels."""

    start: float
    end: float
    change: float


def fit_fade(prints: NDArray[np.uint8], times: NDArray[np.float64]) -> Ramp:
    """The fade in frames at `times` (f,) whose small pictures are `prints` (f, 3, p)."""
    colours = prints.astype(np.float64)
    found = _plain(colours.std(axis=2).mean(axis=1))
    if found is None:
        return _ramp(colours.reshape(len(times), -1), times)
    first, plain, last = found
    colours[plain] = colours[plain].mean(axis=1, keepdims=True)
    pictures = colours.reshape(len(times), -1)
    out, back = slice(first, plain + 1), slice(plain, last + 1)
    fall, rise = _ramp(pictures[out], times[out]), _ramp(pictures[back][::-1], -times[back][::-1])
    return Ramp(fall.start, -rise.start, min(fall.change, rise.change))


def _plain(contrast: NDArray[np.float64]) -> tuple[int, int, int] | None:
    """The frame of the least contrast, if some before and after it have much more; around it the first and last frame up to
    which no other frame is plain."""
    best, found = _PLAIN, None
    for place in range(1, len(contrast) - 1):
        around = min(contrast[:place].max(), contrast[place + 1 :].max())
        if contrast[place] < best * around:
            best, found = contrast[place] / around, (place, _PLAIN * around)
    if found is None:
        return None
    place, enough = found
    clear = np.flatnonzero(contrast >= enough)
    others = np.flatnonzero(contrast < enough)
    first = others[others < clear[clear < place].max()].max(initial=-1) + 1
    last = others[others > clear[clear > place].min()].min(initial=len(contrast)) - 1
    return int(first), place, int(last)


def _ramp(pictures: NDArray[np.float64], times: NDArray[np.float64]) -> Ramp:
    """The ramp between whose ends an even mixture of the pictures around them explains most that neither picture does."""
    f = len(times)
    befores = np.stack([pictures[max(0, first + 1 - _SETTLED) : first + 1].mean(axis=0) for first in range(f)])
    afters = np.stack([pictures[last : last + _SETTLED].mean(axis=0) for last in range(f)])
    best, found = -np.inf, Ramp(float(times[0]), float(times[-1]), 0.0)
    for first in range(f - 2):
        for last in range(first + 2, f):
            length = times[last] - times[first]
            if length > _LONGEST:
                break
            share = (times[first + 1 : last] - times[first]) / length
            direction = afters[last] - befores[first]
            size = float(direction @ direction) + 1e-9
            moved = pictures[first + 1 : last] - befores[first]
            along = moved @ direction / size
            aside = np.square(moved).sum(axis=1) - along**2 * size
            nearer = np.minimum(along**2, (1 - along) ** 2)
            gain = size * (nearer - (along - share) ** 2) - _ASIDE * aside
            rate = float(gain.sum()) / length  # without the division, a long motion beats a short fade
            if rate > best:
                best = rate
                found = Ramp(float(times[first]), float(times[last]), math.sqrt(size / pictures.shape[1]))
    return found
