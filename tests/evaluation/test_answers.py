"""When an answer is right, and the accuracy of many."""

from __future__ import annotations

import json

import pytest

from videomamba.evaluation.answers import answer_points, exact_form, questions_report, vqa_form
from videomamba.schema import Question, VideoRecord, VideoSet


def test_exact_matches_disregard_case_and_spaces_only() -> None:
    assert exact_form("  A  Red\tBall ") == "a red ball"
    assert exact_form("cafe\u0301") == "caf\u00e9"
    assert answer_points("Yes", ("no", "yes "), "exact") == 1
    assert answer_points("red ball", ("a red ball",), "exact") == 0


@pytest.mark.parametrize(
    ("answer", "form"),
    [
        ("The two dogs.", "2 dogs"),
        ("none", "0"),
        ("1,000", "1000"),
        ("3.5 meters", "3.5 meters"),
        ("black/white", "black white"),
        ("an apple, a day", "apple day"),
    ],
)
def test_the_form_of_vqa(answer: str, form: str) -> None:
    assert vqa_form(answer) == form


def test_the_metric_of_vqa_leaves_each_annotator_out_once() -> None:
    answers = ("yes",) * 3 + ("no",) * 7
    # With a "yes" left out two are the same, else three.
    assert answer_points("Yes.", answers, "vqa") == pytest.approx((3 * 2 / 3 + 7 * 1) / 10)
    assert answer_points("no", answers, "vqa") == 1 and answer_points("blue", answers, "vqa") == 0
    with pytest.raises(ValueError, match="only one"):
        answer_points("yes", ("yes",), "vqa")


def test_a_missed_video_counts_as_wrong() -> None:
    answers = (("yes",), ("no",), ("two", "2"), ("blue",))
    records = (VideoRecord(f"{i}.mp4", Question(f"question {i}", one)) for i, one in enumerate(answers))
    result = questions_report(
        VideoSet("test", tuple(records)),
        {0: "Yes", 1: "yes", 2: "two"},
        candidates=("yes", "no", "two"),
        failures=(("3.mp4", "damaged"),),
        protocol="8 frames",
        score="exact",
    )
    assert (result.accuracy, result.num_questions, result.num_missed, result.reachable) == (0.5, 4, 1, 3)
    assert [one.question for one in result.mistakes] == ["question 1"]
    assert str(result) == (
        "accuracy 50.00% of 4 questions (95% interval 15.0% to 85.0%), 3 possible answers, right for 75.0%, 1 missed and "
        "counted as wrong [8 frames]"
    )
    written = json.loads(json.dumps(result.as_dict()))
    assert written["accuracy"] == 0.5 and written["answers"][3]["given"] is None
    assert written["failures"] == [{"path": "3.mp4", "reason": "damaged"}]
