"""From a video and a question to answers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from videomamba.data.text.questions import QUESTIONS, QuestionFormat
from videomamba.data.text.tokenizer import Tokenizer
from videomamba.models.registry import build_config
from videomamba.models.text import TextConfig
from videomamba.models.video_questions import VideoQuestions, VideoQuestionsConfig
from videomamba.schema import Preprocess, VideoError, VideoMambaError, WeightsError
from videomamba.serving.questions import Answerer
from videomamba.weights.video_text import save_questions

PREPROCESS = Preprocess(num_frames=4, image_size=(32, 32))
ANSWERS = ("a red ball", "a blue ball", "left", "right", "left")[:4]
TOKENIZER = Tokenizer.learn(["what moves where", *ANSWERS], 60)
FORMAT = QuestionFormat(answers=ANSWERS)


def network() -> VideoQuestions:
    fields = {"num_classes": 0, "num_frames": 4, "image_size": (32, 32), "tubelet_size": 2, "depth": 1, "dim": 16}
    text = TextConfig(vocab_size=len(TOKENIZER), dim=16, depth=2, heads=2, hidden_dim=32, fusion_from=1)
    torch.manual_seed(0)
    return VideoQuestions(VideoQuestionsConfig(video=build_config(None, fields), text=text))


@pytest.fixture(scope="module")
def model() -> VideoQuestions:
    return network()


@pytest.fixture(scope="module")
def weights(model: VideoQuestions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("questions") / "answers.safetensors"
    info = {QUESTIONS: FORMAT.model_dump(mode="json")}
    return save_questions(path, model, preprocess=PREPROCESS, tokenizer=TOKENIZER, info=info)


def test_answers_have_probabilities_best_first(model: VideoQuestions, weights: Path, clips: Path) -> None:
    answerer = Answerer.from_pretrained(weights)
    found = answerer(clips / "clip0.mp4", "What moves?", top=10)
    scores = [one.score for one in found.answers]
    assert sorted(one.label for one in found.answers) == sorted(ANSWERS)
    assert sum(scores) == pytest.approx(1, abs=1e-5) and scores == sorted(scores, reverse=True)
    assert (found.question, found.model, found.top) == ("what moves", str(weights), found.answers[0].label)
    assert answerer(clips / "clip0.mp4", "what moves", top=1).answers == found.answers[:1]
    same = Answerer(model, PREPROCESS, TOKENIZER, FORMAT)
    assert same(clips / "clip0.mp4", "what moves", top=4).answers == found.answers
    assert found.as_dict()["answers"][0] == {"answer": found.top, "score": scores[0]}  # type: ignore[index]


def test_a_score_is_the_probability_of_the_complete_answer(model: VideoQuestions, clips: Path) -> None:
    """Each token counts once, [SEP] among them, by another way through the network."""
    answerer = Answerer(model, PREPROCESS, TOKENIZER, FORMAT)
    tokens = TOKENIZER(["what moves"], max_length=25)
    with torch.no_grad():
        states = model.encode_questions(answerer._clip(clips / "clip0.mp4").data[None], tokens.ids, tokens.mask)
        totals = []
        for answer in ANSWERS:
            ids = TOKENIZER([answer], max_length=5)
            assert (ids.ids == TOKENIZER.sep).sum() == 1
            words = model._next_words(states, tokens.mask, ids.ids, ids.mask)[0].log_softmax(dim=-1)
            totals.append(sum(words[i, ids.ids[0, i + 1]] for i in range(ids.ids.shape[1] - 1)))
    wanted = torch.tensor(totals).softmax(dim=0)
    found = {one.label: one.score for one in answerer(clips / "clip0.mp4", "what moves", top=4).answers}
    assert [found[answer] for answer in ANSWERS] == pytest.approx(wanted.tolist(), abs=1e-5)


def test_other_answers_than_those_of_the_file(weights: Path, clips: Path) -> None:
    answerer = Answerer.from_pretrained(weights, answers=["right", "left"])
    assert {one.label for one in answerer(clips / "clip0.mp4", "what moves").answers} == {"left", "right"}
    rounded = Answerer.from_pretrained(weights, precision="bf16")(clips / "clip0.mp4", "what moves")
    exact = Answerer.from_pretrained(weights)(clips / "clip0.mp4", "what moves")
    assert {one.label: one.score for one in rounded.answers} == pytest.approx(
        {one.label: one.score for one in exact.answers}, abs=0.02
    )


def test_more_frames(weights: Path, clips: Path) -> None:
    answerer = Answerer.from_pretrained(weights, num_frames=6)
    assert answerer.preprocess.num_frames == 6 and len(answerer(clips / "clip0.mp4", "what moves").answers) == 4


def test_faults_are_one_line(model: VideoQuestions, weights: Path, clips: Path, bundle: Path, tmp_path: Path) -> None:
    answerer = Answerer.from_pretrained(weights)
    with pytest.raises(VideoError, match=r"notes\.mp4: not a readable video"):
        answerer(clips / "notes.mp4", "what moves")
    with pytest.raises(VideoMambaError, match="has no words"):
        answerer(clips / "clip0.mp4", "?")
    with pytest.raises(WeightsError) as caught:
        Answerer.from_pretrained(bundle)
    assert str(caught.value).startswith(f"{bundle}: ") and "\n" not in str(caught.value)
    bare = save_questions(tmp_path / "bare.safetensors", model, preprocess=PREPROCESS, tokenizer=TOKENIZER)
    with pytest.raises(WeightsError, match="has no list of possible answers"):
        Answerer.from_pretrained(bare)
