"""From the scores of windows and the signal of the frames to transitions and shots."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from videomamba.schema import Preprocess
from videomamba.serving.shots.exact import exact_cuts
from videomamba.serving.shots.motions import UNSURE_BELOW, find_shots
from videomamba.serving.shots.records import CUT, FADE, Shot, Transition
from videomamba.serving.shots.signal import FrameSignal
from videomamba.serving.shots.transitions import Decoded, find_transitions
from videomamba.serving.shots.votes import Votes
from videomamba.video.base import Video


def transitions_and_shots(
    scores: NDArray[np.floating],
    starts: NDArray[np.float64],
    length: float,
    labels: Sequence[str],
    *,
    signal: FrameSignal,
    needed: NDArray[np.int64],
    video: Video,
    preprocess: Preprocess,
    duration: float,
    unsure_below: float = UNSURE_BELOW,
) -> tuple[tuple[Transition, ...], tuple[Shot, ...]]:
    """The transitions and shots of a video of `duration` seconds, both in order of time.

    `scores` (k, c) are the probabilities of the windows of `length` seconds from `starts` (k,) on, of a model whose `labels`
    contain "cut" and "fade". `signal` has seen the frames `needed` (f,) of the `video`, as `preprocess` makes them.
    """
    cut, fade = (scores[:, list(labels).index(label)].astype(np.float64) for label in (CUT, FADE))
    decoded = Decoded(needed, video.timestamps[needed], signal.prints, signal.changes)
    transitions = find_transitions(Votes(starts, length, cut, fade), decoded, video.timestamps)
    transitions = exact_cuts(transitions, video, preprocess, signal=signal, needed=needed)
    shots = find_shots(scores, starts, length, labels, transitions, duration, unsure_below=unsure_below)
    return tuple(transitions), tuple(shots)
