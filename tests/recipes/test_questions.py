"""Learning to answer questions: the loss, the weights files, where it starts, and the accuracy."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.recipes.runs import CLASSES, complaint, make_run, same_weights, starting_weights, tiny_questions
from videomamba.data.sets.texts import read_texts
from videomamba.data.settings import TextDataSettings
from videomamba.data.text.questions import QUESTIONS, QuestionFormat
from videomamba.data.text.tokenizer import Tokenizer
from videomamba.models.text import TextConfig
from videomamba.models.video_questions import VideoQuestions, VideoQuestionsConfig
from videomamba.models.video_text import VideoText, VideoTextConfig
from videomamba.recipes.answering import evaluate_questions
from videomamba.recipes.text.questions_config import QuestionsConfig
from videomamba.recipes.text.questions_start import Start
from videomamba.schema import Question, VideoRecord, VideoSet
from videomamba.training.tracking import read_metrics
from videomamba.weights.video_text import open_questions, save_video_text

MOVES = VideoSet(
    "moves",
    (
        VideoRecord("0.mp4", Question("what do they do", ("bend", "bend", "jump"))),
        VideoRecord("1.mp4", Question("what happens", ("turn",))),
    ),
)
TOKENIZER = Tokenizer.learn(["what do they do", "what happens", "a move", *CLASSES], 80)


@pytest.fixture(scope="module")
def trained(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was tested after each epoch."""
    out = tmp_path_factory.mktemp("trained") / "run"
    make_run(tiny_questions(videos, out, run={"evaluate_every": 1}))
    return out


def start(config: QuestionsConfig, text: TextConfig | None = None) -> Start:
    text = text or TextConfig(vocab_size=len(TOKENIZER), dim=16, depth=2, heads=2, hidden_dim=32, fusion_from=1)
    torch.manual_seed(0)
    model = VideoQuestions(VideoQuestionsConfig(video=config.video(), text=text)).eval()
    return Start(model, TOKENIZER, QuestionFormat(answers=CLASSES))


def test_the_loss_of_a_video_has_each_answer_by_its_share(videos: Path, tmp_path: Path) -> None:
    made = start(tiny_questions(videos, tmp_path))
    video = torch.randn(3, 3, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    batch = made.batch(MOVES, (1, 0, 0))  # two clips of the first video
    assert batch.counts == (1, 2, 2) and batch.shares.tolist() == pytest.approx([1, 2 / 3, 1 / 3, 2 / 3, 1 / 3])
    with torch.no_grad():
        found = batch.losses(made.model, video)
        wanted = [2 / 3 * nll(made, video[1], "bend") + 1 / 3 * nll(made, video[1], "jump")]
        wanted += [2 / 3 * nll(made, video[2], "bend") + 1 / 3 * nll(made, video[2], "jump")]
        wanted.insert(0, nll(made, video[0], "turn", asked="what happens"))
    assert found.tolist() == pytest.approx(wanted, rel=1e-5)


def nll(made: Start, clip: torch.Tensor, answer: str, *, asked: str = "what do they do") -> float:
    question, tokens = TOKENIZER([asked], max_length=25), TOKENIZER([answer], max_length=5)
    states = made.model.encode_questions(clip[None], question.ids, question.mask)
    return made.model.answer_losses(states, question.mask, tokens.ids, tokens.mask).item()


def test_one_bad_clip_spoils_no_other(videos: Path, tmp_path: Path) -> None:
    made = start(tiny_questions(videos, tmp_path))
    video = torch.zeros(2, 3, 4, 32, 32)
    video[0] = torch.nan
    with torch.no_grad():
        assert made.batch(MOVES, (0, 1)).losses(made.model, video).isfinite().tolist() == [False, True]


def test_a_batch_without_clips_has_texts_all_the_same(videos: Path, tmp_path: Path) -> None:
    made = start(tiny_questions(videos, tmp_path))
    assert made.batch(MOVES, ()).losses(made.model, torch.zeros(1, 3, 4, 32, 32)).shape == (1,)


def test_a_weights_file_has_all_that_an_answer_needs(trained: Path) -> None:
    opened = open_questions(trained / "best.safetensors")
    known = QuestionFormat.of_info(opened.info, opened.path)
    assert set(known.answers) == {*CLASSES, "a move"} and known.clean
    assert (known.question_length, known.answer_length) == (25, 5)
    assert opened.info["task"] == "questions" and "accuracy" in str(opened.info["validation"])
    assert opened.info["steps"] in (3, 6) and opened.info["trained_on"]


def test_its_accuracy_is_that_of_the_validation(trained: Path, videos: Path) -> None:
    opened = open_questions(trained / "last.safetensors")
    data = tiny_questions(videos, trained).data
    said: list[str] = []
    result = evaluate_questions(opened, data, device="cpu", notify=said.append)
    assert "measuring the validation split, 3 videos: none of them is known to have been in the training" in said[-1]
    recorded = [record["val_accuracy"] for record in read_metrics(trained) if record["kind"] == "epoch"]
    assert len(recorded) == 2 and result.accuracy == recorded[-1] and result.num_questions == 3
    assert str(opened.info["validation"]) == str(result)
    assert evaluate_questions(opened, data, split="train", device="cpu").num_questions == 12
    few = evaluate_questions(opened, data, answers=["sleep", "sit"], shortlist=1, device="cpu")
    assert (few.accuracy, few.candidates, few.reachable) == (0, 2, 0)


def test_a_video_is_read_once_for_all_its_questions(
    trained: Path, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = open_questions(trained / "best.safetensors")
    asked = json.loads((videos.parent / f"{videos.name}_val.json").read_text())
    path = tmp_path / "twice.json"
    path.write_text(json.dumps(asked + [{**one, "question": "What else?"} for one in asked]))
    seen: list[int] = []
    encode = VideoQuestions.encode_video
    monkeypatch.setattr(
        VideoQuestions, "encode_video", lambda self, video: seen.append(len(video)) or encode(self, video)
    )
    data = TextDataSettings(root=videos, test=path, workers=0)
    result = evaluate_questions(opened, data, device="cpu")
    assert result.num_questions == 6 and sum(seen) == 3
    assert [one.path for one in result.answered[:3]] == [one.path for one in result.answered[3:]]


def test_a_missed_video_is_wrong_and_listed(trained: Path, videos: Path, tmp_path: Path) -> None:
    root = shutil.copytree(videos, tmp_path / "videos")
    shutil.copy(videos.parent / f"{videos.name}_val.json", tmp_path / "val.json")
    data = TextDataSettings(root=root, val=tmp_path / "val.json", workers=0)
    lost = Path(read_texts(data, "val", task="questions").records[1].path)
    lost.write_text("not a video")
    result = evaluate_questions(open_questions(trained / "best.safetensors"), data, device="cpu")
    assert (result.num_questions, result.num_missed, result.answered[1].given) == (3, 1, None)
    assert result.failures[0][0] == str(lost) and "1 missed and counted as wrong" in str(result)


# Where it starts


def text_bundle(videos: Path, path: Path) -> Path:
    config = tiny_questions(videos, path.parent)
    text = TextConfig(vocab_size=len(TOKENIZER), dim=16, depth=3, heads=2, hidden_dim=32, fusion_from=1)
    torch.manual_seed(7)
    model = VideoText(VideoTextConfig(video=config.video(), text=text, embed_dim=8))
    return save_video_text(path, model, preprocess=config.clip, tokenizer=TOKENIZER, info={"task": "video and text"})


OF_FILE: dict[str, Any] = {"learn_vocabulary": None, "dim": None, "depth": None, "heads": None, "fusion_from": None}


def test_it_starts_from_a_video_text_network(videos: Path, tmp_path: Path) -> None:
    weights = text_bundle(videos, tmp_path / "text.safetensors")
    config = tiny_questions(videos, tmp_path / "run", model={"weights": str(weights)}, text=OF_FILE)
    found = starting_weights(config)
    torch.manual_seed(7)
    text = TextConfig(vocab_size=len(TOKENIZER), dim=16, depth=3, heads=2, hidden_dim=32, fusion_from=1)
    theirs = VideoText(VideoTextConfig(video=config.video(), text=text, embed_dim=8)).state_dict()
    pairs = {
        "vision_encoder.layers.1.mixer.in_proj.weight": "vision_encoder.layers.1.mixer.in_proj.weight",
        "text_encoder.encoder.layer.2.crossattention.self.key.weight": (
            "text_encoder.bert.encoder.layer.2.crossattention.self.key.weight"
        ),
        "text_decoder.bert.encoder.layer.1.output.dense.weight": "text_encoder.bert.encoder.layer.2.output.dense.weight",
        "text_decoder.cls.predictions.bias": "text_encoder.cls.predictions.bias",
    }
    for ours, name in pairs.items():
        assert torch.equal(found[ours], theirs[name]), ours


def test_its_weights_know_the_run_before(videos: Path, tmp_path: Path) -> None:
    weights = text_bundle(videos, tmp_path / "text.safetensors")
    more = {"run": {"max_steps": 1}, "text": OF_FILE}
    out = make_run(tiny_questions(videos, tmp_path / "run", model={"weights": str(weights)}, **more)).last
    info = open_questions(out).info
    assert info["started_from"]["task"] == "video and text" and info["weights"] == str(weights)  # type: ignore[index]
    weights.unlink()  # what a resumed run needs lies in its checkpoint
    again = tiny_questions(
        videos, tmp_path / "run", model={"weights": str(weights)}, text=OF_FILE, run={"max_steps": 2}
    )
    assert make_run(again).progress.step == 2


def test_it_goes_on_from_a_network_of_questions(trained: Path, videos: Path, tmp_path: Path) -> None:
    weights = trained / "last.safetensors"
    config = tiny_questions(videos, tmp_path / "run", model={"weights": str(weights)}, text=OF_FILE)
    found, theirs = starting_weights(config), open_questions(weights).model.state_dict()
    assert found.keys() == theirs.keys() and all(torch.equal(found[name], theirs[name]) for name in theirs)


def test_the_possible_answers_may_come_from_a_file(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "answers.txt").write_text("\n".join(CLASSES))
    named = {"candidates": tmp_path / "answers.txt", "shortlist": 2}
    out = make_run(tiny_questions(videos, tmp_path / "run", answer=named, run={"max_steps": 1})).last
    info = open_questions(out).info
    assert info[QUESTIONS]["answers"] == list(CLASSES)  # type: ignore[index]


# What is refused, in one line


def test_faults_of_settings_and_data(videos: Path, tmp_path: Path) -> None:
    def fault(**sections: Any) -> str:
        return complaint(tiny_questions(videos, tmp_path / "run", **sections))

    (tmp_path / "none.txt").write_text("\n")
    assert fault(answer={"candidates": tmp_path / "none.txt"}).startswith(f"{tmp_path / 'none.txt'}: has no answers")
    assert "augment.mixup: changes classes, and questions have none" in complaint(
        tiny_questions(videos, tmp_path / "run").model_copy(
            update={"augment": tiny_questions(videos, tmp_path).augment.model_copy(update={"mixup": 0.5})}
        )
    )
    text = fault(answer={"score": "vqa"})
    assert "has 3 answers, and the metric of VQA v2 needs at least 4" in text or "has 1 answer" in text
    assert "text.weights: missing" in fault(text={"learn_vocabulary": None})
    assert "text.fusion_from" in fault(text={"fusion_from": 3})
    asked = json.loads((videos.parent / f"{videos.name}_train.json").read_text())
    (tmp_path / "empty.json").write_text(json.dumps([*asked[1:], {**asked[0], "answer": " "}]))
    assert "empty.json, entry 12: " in (text := fault(data={"train": tmp_path / "empty.json"})) and "answer" in text
    (tmp_path / "captions.json").write_text(json.dumps([{"video": "bend/0.mp4", "caption": "they bend"}] * 4))
    assert "\n" not in fault(data={"train": tmp_path / "captions.json"})


def test_other_answers_are_other_data(trained: Path, videos: Path, tmp_path: Path) -> None:
    out = shutil.copytree(trained, tmp_path / "run")
    asked = json.loads((videos.parent / f"{videos.name}_train.json").read_text())
    asked[0]["answer"] = "sleep"
    (tmp_path / "other.json").write_text(json.dumps(asked))
    config = tiny_questions(videos, out)
    same = config.model_copy(update={"data": config.data.model_copy(update={"train": tmp_path / "other.json"})})
    assert "belongs to a run of other annotations" in complaint(same)
    make_run(config)
    assert same_weights(out, trained)
