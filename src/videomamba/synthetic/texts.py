"""The files with captions, questions and multiple choice of a synthetic data set, as JSON lists with one record a line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from videomamba.synthetic.captions import captions, choices, distinct, facts, questions

CAPTIONS, HELD_OUT, QUESTIONS, CHOICES = "captions.json", "captions_held_out.json", "questions.json", "choices.json"
"""For training; in sentences that training does not have; `Question` and `Choice` of `captions.py`."""

WORDINGS, HELD_OUT_WORDINGS = 6, 3
"""Captions of each clip in the first two files."""

Clip = tuple[str, int, int]
"""The path relative to the data set, the action, the seed of the scene."""


def text_files(clips: Sequence[Clip], style: str) -> Mapping[str, str]:
    """The names and contents of the four files, with a record or more for each clip, in order."""
    lists: dict[str, list[dict[str, object]]] = {CAPTIONS: [], HELD_OUT: [], QUESTIONS: [], CHOICES: []}
    for path, action, seed in clips:
        for name, count in ((CAPTIONS, WORDINGS), (HELD_OUT, HELD_OUT_WORDINGS)):
            written = captions(action, seed, style, count=count, held_out=name == HELD_OUT)
            lists[name].append({"video": path, "caption": written})
        for one in questions(action, seed, style):
            lists[QUESTIONS].append({"video": path, "question": one.text, "answer": one.answer})
        choice = choices(action, seed, style)
        lists[CHOICES].append({"video": path, "caption": choice.captions, "answer": choice.right})
    return {name: _json(records) for name, records in lists.items()}


def distinct_captions(clips: Sequence[Clip], count: int, style: str) -> str:
    """A list as HELD_OUT, with one caption of each of `count` clips of which no two have the same subject and action.

    Raises ValueError where the clips do not have so many.
    """
    chosen = distinct([facts(action, seed, style) for _, action, seed in clips], count)
    return _json(
        {"video": path, "caption": captions(action, seed, style, count=1, held_out=True)[0]}
        for path, action, seed in (clips[i] for i in chosen)
    )


def _json(records: Iterable[Mapping[str, object]]) -> str:
    return "[\n" + ",\n".join(map(json.dumps, records)) + "\n]\n"
