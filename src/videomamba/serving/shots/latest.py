"""The transition in the latest window of a stream: each is reported once, although several windows contain it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from videomamba.schema import Clip, Preprocess
from videomamba.serving.shots.ramp import fit_fade
from videomamba.serving.shots.records import CUT, FADE, Transition
from videomamba.serving.shots.signal import FrameSignal
from videomamba.serving.shots.transitions import LIKELY

_SAME = 0.5  # seconds: transitions of two windows that are nearer than this, or overlap, are one


class LatestTransition:
    """Looks at one window after the other, in order."""

    def __init__(self, labels: Sequence[str], preprocess: Preprocess) -> None:
        self._places = [list(labels).index(label) for label in (CUT, FADE)]
        self._preprocess = preprocess
        self._last: Transition | None = None

    def find(self, scores: Tensor, clip: Clip, times: Sequence[float]) -> Transition | None:
        """The transition in the window with the probabilities `scores` (classes,), whose pictures have the `times` in seconds.

        None where none is more likely than not, or where it was found before.
        """
        cut, fade = (float(scores[place]) for place in self._places)
        if cut + fade < LIKELY or len(times) < 2:
            return None
        signal = FrameSignal()
        signal.see(clip.data, self._preprocess)
        if cut >= fade:
            place = int(signal.changes.argmax())
            found = Transition(CUT, times[place], times[place + 1], times[place + 1], cut + fade)
        else:
            start, end, _ = fit_fade(signal.prints, np.array(times))
            found = Transition(FADE, start, end, (start + end) / 2, cut + fade)
        last, self._last = self._last, found
        if last is not None and found.start <= last.end + _SAME and last.start <= found.end + _SAME:
            return None
        return found
