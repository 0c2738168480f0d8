"""How a weights file says what its network reads and answers."""

from __future__ import annotations

import pytest

from videomamba.data.text.questions import QUESTIONS, QuestionFormat
from videomamba.data.text.tokenizer import SPECIAL, Tokenizer
from videomamba.schema import VideoMambaError, WeightsError

TOKENIZER = Tokenizer((*SPECIAL, "what", "moves", "a", "red", "ball", "##s"))
FORMAT = QuestionFormat(question_length=4, answer_length=5, answers=("a red ball", "ball"))


def test_it_survives_a_weights_file() -> None:
    info = {QUESTIONS: FORMAT.model_dump(mode="json")}
    assert QuestionFormat.of_info(info, "w.safetensors") == FORMAT
    assert QuestionFormat.of_info({}, "w.safetensors") == QuestionFormat()


def test_a_malformed_entry_is_one_line() -> None:
    with pytest.raises(WeightsError) as caught:
        QuestionFormat.of_info({QUESTIONS: {"question_length": 0}}, "w.safetensors")
    assert str(caught.value).startswith("w.safetensors: metadata 'info.questions.question_length': ")


def test_the_answers_of_a_user_replace_its_own() -> None:
    assert FORMAT.choosing(None, "w") is FORMAT
    assert FORMAT.choosing(["yes", "no", "yes"], "w").answers == ("yes", "no")
    with pytest.raises(WeightsError, match=r"^w: has no list of possible answers; give a file of them"):
        QuestionFormat().choosing(None, "w")


def test_an_answer_has_one_end() -> None:
    tokens = FORMAT.answer_tokens(TOKENIZER, FORMAT.answers)
    assert tokens.ids.tolist() == [[2, 7, 8, 9, 3], [2, 9, 3, 0, 0]]
    assert FORMAT.question_tokens(TOKENIZER, ["what moves a ball"]).ids.tolist() == [[2, 5, 6, 3]]


def test_questions_of_people_are_cleaned_as_in_training() -> None:
    assert FORMAT.asked("What moves?") == "what moves"
    assert FORMAT.model_copy(update={"clean": False}).asked(" What moves? ") == "What moves?"
    for empty in ("", " ", "?!"):
        with pytest.raises(VideoMambaError, match="has no words; write a question"):
            FORMAT.asked(empty)
