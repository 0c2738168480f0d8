"""What is found in a video of several shots: where one shot ends and the next begins, and how the camera moves in each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["cut", "fade"]
CUT: Final = "cut"
FADE: Final = "fade"
UNSURE = "unsure"


@dataclass(frozen=True)
class Transition:
    """From one shot to the next, in seconds. `score` is the probability that the windows around it give to a transition.

    A fade lasts from `start` to `end`, and `time` is the frame in its middle. A cut lies between `start`, the last frame that
    is known to be of the shot before, and `end`, the first one known of the shot after; `time` is the frame with which the
    new shot begins.
    """

    kind: Kind
    start: float
    end: float
    time: float
    score: float


@dataclass(frozen=True)
class MotionSpan:
    """How the camera moves from `start` to `end` seconds. `score` is the mean probability of the best class of its windows.

    `label` is "unsure" where that is too low, or where no window of the model fits into the shot.
    """

    label: str
    start: float
    end: float
    score: float


@dataclass(frozen=True)
class Shot:
    """From one transition to the next, in seconds; its `motions` follow one another without a gap."""

    start: float
    end: float
    motions: tuple[MotionSpan, ...]

    @property
    def main_motion(self) -> str:
        """The label with the largest share of the shot."""
        shares: dict[str, float] = {}
        for span in self.motions:
            shares[span.label] = shares.get(span.label, 0.0) + span.end - span.start
        return max(shares, key=shares.__getitem__)


def knows_shots(labels: Sequence[str]) -> bool:
    """Whether a model with these classes can tell where shots change."""
    return {CUT, FADE} <= set(labels)
