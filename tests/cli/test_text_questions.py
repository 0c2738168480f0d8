"""`videomamba text train-questions`, `text questions` and `text answer` as a stranger meets them."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from tests.cli.test_main import run
from tests.recipes.runs import CLASSES, tiny_questions, write_videos
from videomamba.recipes.load import to_yaml

QUESTION = "What do they do?"


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_videos(tmp_path_factory.mktemp("questions") / "videos")


@pytest.fixture(scope="module")
def settings(videos: Path) -> Path:
    """Those of one step."""
    config = tiny_questions(videos, videos.parent / "my run", run={"max_steps": 1, "evaluate_every": 1})
    path = videos.parent / "questions.yaml"
    path.write_text(to_yaml(config))
    return path


@pytest.fixture(scope="module")
def weights(settings: Path) -> Path:
    from videomamba.recipes.questions import train_questions
    from videomamba.recipes.text.questions_presets import QUESTIONS

    return train_questions(QUESTIONS.load(settings)).best


def test_from_videos_to_an_answer(
    videos: Path, settings: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said, told = run(capsys, "text", "train-questions", "--config", settings)
    assert code == 0 and "finished before, at step 1, with 12 videos; nothing is trained" in told
    result, now = said.splitlines()
    assert result.startswith(f"{weights}: accuracy ") and result.endswith("% on the validation split")
    assert now == f"Now:  videomamba text answer '{weights}' VIDEO \"QUESTION\""
    video = str(next(videos.glob("*/*.mp4")))
    named = {"VIDEO": video, "QUESTION": QUESTION}
    code, out, told = run(capsys, *(named.get(word, word) for word in shlex.split(now)[2:]))
    assert code == 0, told
    assert out.startswith(f"{video}  ({weights}, ") and "what do they do" in out and out.count(" %") == 4
    code, out, _ = run(capsys, "text", "answer", weights, video, QUESTION, "--json", "--top", 2)
    found = json.loads(out)
    assert code == 0 and (found["path"], found["model"], found["question"]) == (video, str(weights), "what do they do")
    assert len(found["answers"]) == 2 and found["answers"][0]["answer"] in (*CLASSES, "a move")


def test_the_accuracy_on_a_list(
    videos: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = videos.parent / f"{videos.name}_val.json"
    own = ["text", "questions", weights, listed, "--data.root", videos, "--data.workers", "0", "--device", "cpu"]
    code, out, told = run(capsys, *own, "--mistakes", 3)
    assert code == 0, told
    assert "of 3 questions (95% interval" in out and "4 possible answers, right for 100.0%" in out
    (tmp_path / "answers.txt").write_text("sleep\n")
    code, out, _ = run(capsys, *own, "--answers", tmp_path / "answers.txt", "--json")
    found = json.loads(out)
    assert code == 0 and (found["accuracy"], found["candidates"], found["model"]) == (0, 1, str(weights))
    assert [one["given"] for one in found["answers"]] == ["sleep"] * 3


def test_presets_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "text", "train-questions", "--presets")
    assert code == 0 and "msrvtt-qa-middle-25m" in out and "videomamba text train-questions --preset NAME" in out


def test_mistakes_are_one_line(
    videos: Path, weights: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = next(videos.glob("*/*.mp4"))
    (tmp_path / "broken.mp4").write_text("not a video")
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "captions.json").write_text(json.dumps([{"video": str(video), "caption": "they bend"}]))
    for arguments, fault in (
        (("answer", weights, video, ""), "question '': has no words; write a question about the video"),
        (("answer", weights, tmp_path / "broken.mp4", QUESTION), f"{tmp_path / 'broken.mp4'}: not a readable video"),
        (("answer", bundle, video, QUESTION), f"{bundle}: answers no questions"),
        (("answer", "absent.safetensors", video, QUESTION), "absent.safetensors"),
        (
            ("answer", weights, video, QUESTION, "--answers", tmp_path / "empty.txt"),
            f"{tmp_path / 'empty.txt'}: has no",
        ),
        (("answer", weights, video, QUESTION, "--top", 0), "--top 0: give at least 1 answer"),
        (("questions", weights, tmp_path / "captions.json"), f"{tmp_path / 'captions.json'}, entry 1: has no question"),
        (("questions", weights, tmp_path / "absent.json"), f"{tmp_path / 'absent.json'}"),
        (("questions", weights, videos, "--data.root", videos), f"--data.root {videos}: the data set is already"),
        (("train-questions",), "data.root: missing"),
        (("train-questions", "--data.root", videos, "--answer.shortlits", 3), "--answer.shortlits: unknown option"),
    ):
        code, out, told = run(capsys, "text", *arguments)
        assert code == 1 and out == "" and told.count("\n") == 1, (arguments, told)
        assert told.startswith(f"videomamba: {fault}"), (arguments, told)


def test_help_explains_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    for command, words in (
        ("answer", ("WEIGHTS VIDEO QUESTION", "--answers FILE", "--json")),
        ("questions", ("WEIGHTS DATA", "--score", "--shortlist K")),
        ("train-questions", ("--answer.candidates", "--text.max-length")),
    ):
        code, out, _ = run(capsys, "text", command, "--help")
        assert code == 0 and all(word in out for word in words), out
