"""Multiple choice: the score, ties, what is missed."""

from __future__ import annotations

import math

import pytest

from videomamba.evaluation.choices import Choice, ChoiceReport, mixed_score


def test_the_score_is_a_mixture() -> None:
    found = mixed_score([0.9, 0.1], [math.log(3), 0.0])
    assert found == pytest.approx((0.7 * 0.9 + 0.3 * 0.75, 0.7 * 0.1 + 0.3 * 0.25))
    assert mixed_score([1.0], [2000.0]) == pytest.approx((1.0,))


@pytest.mark.parametrize(
    ("right", "scores", "correct"),
    [
        (1, (0.1, 0.2, 0.15), True),
        (0, (0.1, 0.2, 0.15), False),
        (0, (0.2, 0.2), False),  # a network that gives all texts the same score knows nothing
        (1, (0.2, 0.2), False),
        (0, (math.nan, 0.2), False),
        (0, (0.2, math.nan), False),
        (0, None, False),
    ],
)
def test_only_the_highest_score_alone_is_right(right: int, scores: tuple[float, ...] | None, correct: bool) -> None:
    assert Choice("a.mp4", right, scores).correct is correct


def test_a_report_counts() -> None:
    choices = (Choice("a", 0, (0.9, 0.1)), Choice("b", 1, (0.9, 0.1)), Choice("c", 1, None))
    report = ChoiceReport("8 frames", choices, (("c", "damaged"),))
    assert (report.correct, report.num_missed, report.accuracy) == (1, 1, 1 / 3)
    assert "1 missed and counted as wrong [8 frames]" in str(report)
    assert report.as_dict()["failures"] == [{"path": "c", "reason": "damaged"}]
    assert [record["correct"] for record in report.queries()] == [True, False, False]
