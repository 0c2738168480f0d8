"""One entry of a list of videos or images with texts, from the keys that are in use for them."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from videomamba.data.sets.formats.entry import number
from videomamba.data.settings import TextTask
from videomamba.schema import VideoMambaError

MEDIA = (
    *("video", "image", "path", "file", "filename", "file_name", "video_path", "image_path", "video_file"),
    *("clip", "video_id", "image_id", "clip_id", "video_name", "id"),
)
CAPTIONS = ("caption", "captions", "text", "texts", "sentence", "sentences", "description", "descriptions")
QUESTIONS = ("question",)
ANSWERS = ("answer", "answers")
OPTIONS = ("caption", "captions", "options", "choices", "texts")
RIGHT = ("answer", "right")
_LONGEST_NAME = 255
"""Bytes of a name in a folder, in all common file systems."""


@dataclass(frozen=True, slots=True)
class TextEntry:
    """As written: `media` are the names of one or several videos or images, none of a file whose place gives it.

    `texts` are the captions, the choices, or the question and its answers; `right` is the index of the right choice.
    `place` is the line or entry, counted from 1.
    """

    media: tuple[str, ...]
    texts: tuple[str, ...]
    place: int
    right: int = 0
    span: tuple[float, float] | None = None
    listed: bool = False


def to_entry(
    facts: Mapping[str, object], task: TextTask, place: int, origin: str, *, media: str | None = None
) -> TextEntry:
    """The entry of an object with the keys of this file. `media` is its file where the object need not name it.

    Raises VideoMambaError that names `origin`, for a missing key, a value of the wrong type, an answer out of range.
    """
    names = (media,) if media is not None else _media(facts, origin)
    span = _span(facts, origin)
    if task == "questions":
        question = _text(_needed(facts, QUESTIONS, origin, "question"), "the question", origin)
        answers = _texts(_needed(facts, ANSWERS, origin, "answer"), "an answer", origin)
        if not any(answer.strip() for answer in answers):
            raise VideoMambaError(f"{origin}: has no answer; give at least one")
        return TextEntry(names, (question, *answers), place, span=span)
    if task == "choices":
        options = _needed(facts, OPTIONS, origin, "caption (the sentences to choose from)")
        if not isinstance(options, list | tuple) or len(options) < 2:
            raise VideoMambaError(f"{origin}: multiple choice needs a list of at least two sentences; fix it")
        right = _whole(_needed(facts, RIGHT, origin, "answer (the number of the right sentence)"), origin)
        if not 0 <= right < len(options):
            raise VideoMambaError(
                f"{origin}: answer {right} is not in 0..{len(options) - 1}; count the sentences from 0"
            )
        return TextEntry(names, _texts(options, "a sentence", origin), place, right, span)
    found = next((key for key in CAPTIONS if key in facts), None)
    if found is None:
        kind = "questions" if "question" in facts else ""
        advice = (
            f"it is a list of {kind}, not of captions"
            if kind
            else f"its keys are {', '.join(map(str, facts)) or 'none'}"
        )
        raise VideoMambaError(f"{origin}: has no caption; {advice}")
    value = facts[found]
    if isinstance(value, list | tuple) and any(key in facts for key in RIGHT):
        raise VideoMambaError(f"{origin}: has captions and an answer: a list for multiple choice, not of captions")
    return TextEntry(
        names, _texts(value, "a caption", origin), place, span=span, listed=isinstance(value, list | tuple)
    )


def valid_text(text: str, what: str, origin: str) -> str:
    """`text`. Raises VideoMambaError for half a character (a lone surrogate), which no tokenizer accepts."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise VideoMambaError(f"{origin}: {what} holds half a character ({text[:40]!a}); fix it") from None
    return text


def valid_name(name: str, origin: str) -> str:
    """`name` without spaces around it. Raises VideoMambaError for one that no file can have."""
    name = name.strip()
    try:
        longest = max(len(os.fsencode(part)) for part in name.split("/"))
    except UnicodeEncodeError:  # bytes of names that are not UTF-8 pass, other half characters do not
        longest = 0
    if not longest or "\0" in name:
        raise VideoMambaError(f"{origin}: {name!r} is not the name of a file; fix it")
    if longest > _LONGEST_NAME:
        raise VideoMambaError(f"{origin}: {name[:40]!r}... is longer than the name of any file; fix it")
    return name


def _media(facts: Mapping[str, object], origin: str) -> tuple[str, ...]:
    value = _needed(facts, MEDIA, origin, "video or image")
    values = value if isinstance(value, list | tuple) else [value]
    if not values:
        raise VideoMambaError(f"{origin}: names no video; fix it")
    for one in values:
        if not isinstance(one, str | int) or isinstance(one, bool):
            raise VideoMambaError(f"{origin}: {one!r} is not the name of a file; fix it")
    return tuple(valid_name(str(one), origin) for one in values)


def _needed(facts: Mapping[str, object], keys: Sequence[str], origin: str, name: str) -> object:
    found = next((key for key in keys if facts.get(key) is not None), None)
    if found is None:
        raise VideoMambaError(f"{origin}: has no {name}; its keys are {', '.join(map(str, facts)) or 'none'}")
    return facts[found]


def _texts(value: object, what: str, origin: str) -> tuple[str, ...]:
    values = value if isinstance(value, list | tuple) else [value]
    return tuple(_text(one, what, origin) for one in values)


def _text(value: object, what: str, origin: str) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and not math.isfinite(value):  # how pandas writes that there is none
        raise VideoMambaError(f"{origin}: {what} is {value}, not text; fix it")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise VideoMambaError(f"{origin}: {what} is {type(value).__name__}, not text; fix it")
    return valid_text(str(value), what, origin)


def _whole(value: object, origin: str) -> int:
    text = str(value)
    if isinstance(value, bool) or not text.lstrip("-").isdecimal() or len(text) > 9:
        raise VideoMambaError(f"{origin}: answer {text[:40]!r} is not the number of a sentence; count them from 0")
    return int(text)


def _span(facts: Mapping[str, object], origin: str) -> tuple[float, float] | None:
    if facts.get("start") is None or facts.get("end") is None:
        return None
    start, end = (number(str(facts[key]), f"the {key}", origin) for key in ("start", "end"))
    if not 0 <= start < end:
        raise VideoMambaError(f"{origin}: {start:g} to {end:g} s is not a part of a video; fix it")
    return start, end
