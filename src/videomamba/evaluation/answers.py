"""Whether an answer to a question is right, and the accuracy of many.

"exact": right if it equals one of the annotators' answers, without regard to case and spaces. "vqa": the metric of VQA v2
(arXiv 1505.00468), which asks ten annotators: min(1, matches / 3), the mean over all choices of leaving one of them out, after
punctuation, articles and number words are made equal.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from videomamba.evaluation.results import confidence_interval
from videomamba.schema import Question, VideoSet, counted

AnswerScore = Literal["exact", "vqa"]
FEWEST_ANNOTATORS = 4
"""The fewest answers to a question with which "vqa" can give a full point."""

_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_WORDS = {"none": "0"} | {word: str(number) for number, word in enumerate(_NUMBERS)}
_ARTICLES = ("a", "an", "the")


def exact_form(answer: str) -> str:
    """`answer` in lower case, in Unicode's composed form, with single spaces."""
    return " ".join(unicodedata.normalize("NFC", answer).lower().split())


def vqa_form(answer: str) -> str:
    """`answer` as VQA v2 compares it: no punctuation except in numbers, no articles, digits for number words."""
    text = re.sub(r"(?<=\d),(?=\d)", "", exact_form(answer))
    text = re.sub(r"(?<!\d)\.|\.(?!\d)", "", text)
    text = re.sub(r"[;/\[\]\"{}()=+\\_\-><@`?!,:*#~]", " ", text)
    return " ".join(_WORDS.get(word, word) for word in text.split() if word not in _ARTICLES)


_FORMS = {"exact": exact_form, "vqa": vqa_form}


def answer_points(given: str, answers: Sequence[str], score: AnswerScore) -> float:
    """The points in [0, 1] of the answer `given` to a question with these `answers` of its annotators.

    Raises ValueError for "vqa" with fewer than two answers.
    """
    if score == "exact":
        return float(exact_form(given) in map(exact_form, answers))
    if len(answers) < 2:
        raise ValueError("the metric of VQA leaves one annotator out, and there is only one")
    matches = [vqa_form(given) == vqa_form(answer) for answer in answers]
    return sum(min(1.0, (sum(matches) - match) / 3) for match in matches) / len(matches)


@dataclass(frozen=True)
class Answered:
    """A question about a video, with its annotators' `answers`, and the answer that was `given`: None for a missed video."""

    path: str
    question: str
    answers: tuple[str, ...]
    given: str | None
    points: float


@dataclass(frozen=True, eq=False, repr=False)
class QuestionsResult:
    """The result of a test with questions, in the order of the data. Questions about missed videos have 0 points.

    `candidates` is the number of possible answers, `reachable` the number of questions of which one of them is right: no
    choice among the candidates can do better. `failures` lists (path, reason) of every missed video.
    """

    protocol: str
    score: AnswerScore
    answered: tuple[Answered, ...]
    candidates: int
    reachable: int
    failures: tuple[tuple[str, str], ...]

    @property
    def num_questions(self) -> int:
        return len(self.answered)

    @property
    def num_missed(self) -> int:
        """The number of questions without an answer."""
        return sum(one.given is None for one in self.answered)

    @property
    def accuracy(self) -> float:
        """The mean of the points, in [0, 1]."""
        return sum(one.points for one in self.answered) / len(self.answered)

    @property
    def interval(self) -> tuple[float, float] | None:
        """Of the true accuracy, with 95 % confidence (`confidence_interval`); None where points are no counts."""
        if self.score != "exact":
            return None
        return confidence_interval(sum(one.points > 0 for one in self.answered), self.num_questions)

    @property
    def mistakes(self) -> tuple[Answered, ...]:
        """The answers without a point."""
        return tuple(one for one in self.answered if one.points == 0 and one.given is not None)

    def as_dict(self) -> dict[str, object]:
        """The JSON form: the numbers, the answers, the failures."""
        numbers = ("num_questions", "num_missed", "accuracy", "interval", "candidates", "reachable")
        return {
            "protocol": self.protocol,
            "score": self.score,
            **{name: getattr(self, name) for name in numbers},
            "answers": [asdict(one) for one in self.answered],
            "failures": [{"path": path, "reason": reason} for path, reason in self.failures],
        }

    def __str__(self) -> str:
        text = f"accuracy {self.accuracy:.2%} of {counted(self.num_questions, 'question')}"
        if self.interval is not None:
            text += f" (95% interval {self.interval[0]:.1%} to {self.interval[1]:.1%})"
        text += f", {counted(self.candidates, 'possible answer')}, right for {self.reachable / self.num_questions:.1%}"
        if self.num_missed:
            text += f", {self.num_missed} missed and counted as wrong"
        return f"{text} [{self.protocol}]"

    def __repr__(self) -> str:
        return f"QuestionsResult({self})"


def questions_report(
    video_set: VideoSet,
    given: Mapping[int, str],
    *,
    candidates: Sequence[str],
    failures: Sequence[tuple[str, str]],
    protocol: str,
    score: AnswerScore,
) -> QuestionsResult:
    """The result for the answers `given`, by the index of the record in a set of questions; others count as missed.

    Raises ValueError for a record without a question.
    """
    form = _FORMS[score]
    known = set(map(form, candidates))
    answered: list[Answered] = []
    reachable = 0
    for index, record in enumerate(video_set.records):
        question = record.annotation
        if not isinstance(question, Question):
            raise ValueError(f"{record.path}: has no question")
        answer = given.get(index)
        points = 0.0 if answer is None else answer_points(answer, question.answers, score)
        reachable += any(form(one) in known for one in question.answers)
        answered.append(Answered(record.path, question.text, question.answers, answer, points))
    return QuestionsResult(protocol, score, tuple(answered), len(candidates), reachable, tuple(failures))
