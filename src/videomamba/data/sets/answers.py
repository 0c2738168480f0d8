"""The answers that a network may give: those of the training questions, or a list of a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from videomamba.data.sets.formats.table import read_json, read_text
from videomamba.data.sets.formats.text_entry import valid_text
from videomamba.schema import Question, VideoMambaError, VideoSet, one_form


def answers_of(video_set: VideoSet) -> tuple[str, ...]:
    """The distinct answers to the questions of `video_set`, the most frequent first, then in the order of the alphabet."""
    counts: Counter[str] = Counter()
    for record in video_set.records:
        if isinstance(record.annotation, Question):
            counts.update(_tidy(answer) for answer in record.annotation.answers)
    del counts[""]
    return tuple(sorted(counts, key=lambda answer: (-counts[answer], answer)))


def read_answers(file: Path) -> tuple[str, ...]:
    """The answers of a file, in its order: one a line, or a JSON list of texts if its name ends in .json.

    Equal answers count once, and empty lines are passed over. Raises VideoMambaError, naming the file, for one that cannot be
    read, has no answers, or is JSON of something else.
    """
    if file.suffix.lower() == ".json":
        found = read_json(file)
        if not isinstance(found, list) or not all(isinstance(answer, str) for answer in found):
            raise VideoMambaError(f'{file}: must be a JSON list of answers, as ["yes", "no"]')
        found = [valid_text(answer, "an answer", str(file)) for answer in found]
    else:
        found = read_text(file).splitlines()
    answers = tuple(dict.fromkeys(filter(None, map(_tidy, found))))
    if not answers:
        raise VideoMambaError(f"{file}: has no answers; write one a line, or a JSON list of them")
    return answers


def answer_weights(question: Question) -> Mapping[str, float]:
    """The distinct answers to a question, each with its share of the annotators; the shares sum to 1.

    Raises ValueError for a question whose answers are all empty.
    """
    counts = Counter(filter(None, map(_tidy, question.answers)))
    if not counts:
        raise ValueError(f"question {question.text!r} has no answer that is not empty")
    return {answer: count / counts.total() for answer, count in counts.items()}


def _tidy(answer: str) -> str:
    return one_form(" ".join(answer.split()))
