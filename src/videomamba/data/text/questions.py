"""How a network reads questions and writes answers: what a weights file of such a network says besides its parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError

from videomamba.data.text.clean import clean_caption
from videomamba.data.text.tokenizer import Tokenizer, Tokens
from videomamba.schema import Settings, VideoMambaError, WeightsError

QUESTIONS = "questions"
"""The key of a `QuestionFormat` in the `info` of a weights file."""


class QuestionFormat(Settings):
    """Lengths in tokens, with [CLS] and [SEP]; whether questions are cleaned as captions are; the possible answers."""

    question_length: int = Field(default=25, ge=3)
    answer_length: int = Field(default=5, ge=3)
    clean: bool = True
    answers: tuple[str, ...] = ()

    @classmethod
    def of_info(cls, info: Mapping[str, object], path: str | Path) -> Self:
        """That in the `info` of the weights file `path`, without answers where it has none.

        Raises WeightsError where it is malformed.
        """
        try:
            return cls.model_validate(info.get(QUESTIONS, {}))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in ("info", QUESTIONS, *first["loc"]))
            raise WeightsError(f"{path}: metadata {where!r}: {first['msg']}; train it again") from None

    def choosing(self, answers: Sequence[str] | None, path: str | Path) -> Self:
        """The same with these possible `answers`, None: its own. Raises WeightsError where there are none."""
        chosen = self if answers is None else self.model_copy(update={"answers": tuple(dict.fromkeys(answers))})
        if not chosen.answers:
            raise WeightsError(f"{path}: has no list of possible answers; give a file of them (--answers)")
        return chosen

    def question_tokens(self, tokenizer: Tokenizer, texts: Sequence[str]) -> Tokens:
        """Of questions from a data set, which were cleaned when it was read."""
        return tokenizer(texts, max_length=self.question_length)

    def asked(self, text: str) -> str:
        """A question of a person as the network knows questions. Raises VideoMambaError for one without words."""
        cleaned = clean_caption(text) if self.clean else text.strip()
        if not cleaned:
            raise VideoMambaError(f"question {text!r}: has no words; write a question about the video")
        return cleaned

    def answer_tokens(self, tokenizer: Tokenizer, texts: Sequence[str]) -> Tokens:
        """Each answer between [CLS] and one [SEP], which ends it; the original, by mistake, ends it twice."""
        return tokenizer(texts, max_length=self.answer_length)
