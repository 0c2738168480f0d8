"""The possible answers: of the training questions, or of a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from videomamba.data.sets.answers import answer_weights, answers_of, read_answers
from videomamba.schema import Captions, Question, VideoMambaError, VideoRecord, VideoSet


def questions(*answers: tuple[str, ...]) -> VideoSet:
    return VideoSet("q", tuple(VideoRecord(f"{i}.mp4", Question("what", given)) for i, given in enumerate(answers)))


def test_answers_of_the_training_questions_begin_with_the_most_frequent() -> None:
    assert answers_of(questions(("no",), ("yes ", "yes"), ("a  red ball",), ("No",), ("", "blue"))) == (
        *("yes", "No", "a red ball", "blue", "no"),
    )


def test_a_set_of_captions_has_no_answers() -> None:
    assert answers_of(VideoSet("c", (VideoRecord("0.mp4", Captions(("a dog",))),))) == ()


def test_the_weight_of_an_answer_is_its_share_of_the_annotators() -> None:
    assert answer_weights(Question("what", ("a", "b", "a", " a "))) == {"a": 0.75, "b": 0.25}
    with pytest.raises(ValueError, match="has no answer"):
        answer_weights(Question("what", ("", " ")))


def test_a_file_of_answers(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("yes\n\n no \nyes\n")
    (tmp_path / "a.json").write_text('["yes", "no"]')
    assert read_answers(tmp_path / "a.txt") == read_answers(tmp_path / "a.json") == ("yes", "no")


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("empty.txt", "\n \n", "has no answers; write one a line, or a JSON list of them"),
        ("empty.json", "[]", "has no answers; write one a line, or a JSON list of them"),
        ("dict.json", '{"yes": 1}', 'must be a JSON list of answers, as ["yes", "no"]'),
        ("numbers.json", "[1, 2]", 'must be a JSON list of answers, as ["yes", "no"]'),
    ],
)
def test_a_file_without_answers_is_one_line(tmp_path: Path, name: str, text: str, fault: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(VideoMambaError) as caught:
        read_answers(tmp_path / name)
    assert str(caught.value) == f"{tmp_path / name}: {fault}"


@pytest.mark.parametrize(
    ("text", "fault"), [("[" * 100_000, "is not valid JSON"), ('["\\ud800"]', "an answer holds half a character")]
)
def test_json_that_is_no_list_of_answers_is_one_line(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(VideoMambaError, match=rf"a\.json: {fault}"):
        read_answers(tmp_path / "a.json")


def test_an_absent_file_of_answers_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(VideoMambaError, match=r"none\.txt: cannot be read"):
        read_answers(tmp_path / "none.txt")
