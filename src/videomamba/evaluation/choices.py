"""Multiple choice: which of several texts describes a video. The result of a test, counted exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from videomamba.evaluation.results import confidence_interval


@dataclass(frozen=True, repr=False)
class Choice:
    """The answer to one record: the scores of its texts, None where its video could not be read."""

    path: str
    right: int
    scores: tuple[float, ...] | None

    @property
    def correct(self) -> bool:
        """Whether the right text has the highest score, alone: a tie is no answer, and no number is no score."""
        if self.scores is None:
            return False
        others = (score for i, score in enumerate(self.scores) if i != self.right)
        return all(score < self.scores[self.right] for score in others)

    def as_dict(self) -> dict[str, object]:
        return {"path": self.path, "right": self.right, "scores": self.scores, "correct": self.correct}

    def __repr__(self) -> str:
        return f"Choice({self.path!r}, right {self.right}, {self.scores})"


@dataclass(frozen=True, repr=False)
class ChoiceReport:
    """The result of a test of multiple choice. `failures` are (path, reason) of videos that could not be read."""

    protocol: str
    choices: tuple[Choice, ...]
    failures: tuple[tuple[str, str], ...]

    @property
    def correct(self) -> int:
        return sum(choice.correct for choice in self.choices)

    @property
    def accuracy(self) -> float:
        """Share of right answers in [0, 1]."""
        return self.correct / len(self.choices)

    @property
    def interval(self) -> tuple[float, float]:
        """Of the true accuracy, with 95 % confidence (`confidence_interval`)."""
        return confidence_interval(self.correct, len(self.choices))

    @property
    def num_missed(self) -> int:
        return sum(choice.scores is None for choice in self.choices)

    def as_dict(self) -> dict[str, object]:
        """The JSON form: the numbers and the failures, without the answers."""
        return {
            "protocol": self.protocol,
            "num_videos": len(self.choices),
            "num_missed": self.num_missed,
            "accuracy": self.accuracy,
            "interval": self.interval,
            "failures": [{"path": path, "reason": reason} for path, reason in self.failures],
        }

    def queries(self) -> list[dict[str, object]]:
        """A record for each answer."""
        return [choice.as_dict() for choice in self.choices]

    def __str__(self) -> str:
        low, high = self.interval
        text = f"accuracy {self.accuracy:.2%} ({self.correct} of {len(self.choices)}, 95% interval {low:.1%} to {high:.1%})"
        if self.num_missed:
            text += f", {self.num_missed} missed and counted as wrong"
        return f"{text} [{self.protocol}]"

    def __repr__(self) -> str:
        return f"ChoiceReport({self})"


def mixed_score(match: Sequence[float], similarity: Sequence[float]) -> tuple[float, ...]:
    """0.7 x the probability of a match + 0.3 x the share of each text in the softmax of the similarities.

    `match` are probabilities, `similarity` cosines over the temperature. Source: the released code for MSRVTT-MC.
    """
    values = np.array(similarity, dtype=np.float64)
    shares = np.exp(values - values.max())
    shares /= shares.sum()
    return tuple((0.7 * np.array(match, dtype=np.float64) + 0.3 * shares).tolist())
