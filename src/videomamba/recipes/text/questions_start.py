"""The start of a run with questions: network, words, possible answers. Also the texts of a batch, and its weights files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from videomamba.data.sets.answers import answer_weights, answers_of, read_answers
from videomamba.data.text.questions import QUESTIONS, QuestionFormat
from videomamba.data.text.tokenizer import Tokenizer, Tokens
from videomamba.models.video_questions import VideoQuestions, VideoQuestionsConfig
from videomamba.recipes.answering import question_of
from videomamba.recipes.bundles import made_by
from videomamba.recipes.text.questions_config import QuestionsConfig
from videomamba.recipes.text.start import build_video_text, find_start
from videomamba.schema import VideoMambaError, VideoSet
from videomamba.training.run import TrainingRun
from videomamba.weights.read import read_weights, weights_content
from videomamba.weights.video_text import load_video_text, open_questions, save_questions
from videomamba.weights.zoo import resolve_weights

_NETWORK = "questions"
"""The key, in a checkpoint, of the network's config, vocabulary and format: a resumed run reads no other file."""


@dataclass(frozen=True, eq=False)
class Start:
    """A network before its first step, or without values where the run resumes; `remarks` are about its first weights."""

    model: VideoQuestions
    tokenizer: Tokenizer
    format: QuestionFormat
    remarks: tuple[str, ...] = ()

    def copy(self, weights: Mapping[str, Tensor]) -> VideoQuestions:
        """The network with these weights, on the CPU, in evaluation mode."""
        network = VideoQuestions.without_weights(self.model.config).eval()
        network.load_state_dict(dict(weights))
        return network

    def batch(self, video_set: VideoSet, records: Sequence[int]) -> AnswerBatch:
        """The texts of the clips of `records`; for none those of one clip, without words."""
        asked = [question_of(video_set, record) for record in records]
        answers = [answer_weights(question) for question in asked] or [{"": 1.0}]
        return AnswerBatch(
            self.format.question_tokens(self.tokenizer, [question.text for question in asked] or [""]),
            self.format.answer_tokens(self.tokenizer, [answer for one in answers for answer in one]),
            torch.tensor([share for one in answers for share in one.values()]),
            tuple(map(len, answers)),
        )


@dataclass(frozen=True, eq=False)
class AnswerBatch:
    """The questions about b clips, and the distinct answers to them, n in all: `counts[i]` to question i, one after another.

    `shares` (n,) float32 is the share of each answer among those to its question.
    """

    questions: Tokens
    answers: Tokens
    shares: Tensor
    counts: tuple[int, ...]

    def to(self, device: torch.device | str) -> Self:
        moved = {name: getattr(self, name).to(device) for name in ("questions", "answers", "shares")}
        return replace(self, **moved)

    def losses(self, module: nn.Module, video: Tensor) -> Tensor:
        """Clips (b, 3, t, h, w) -> (b,) fp32: the sum over the answers of share x -log p, by `VideoQuestions.forward`."""
        questions, answers = self.questions, self.answers
        counts = torch.tensor(self.counts, device=video.device)
        asked = torch.arange(len(counts), device=video.device).repeat_interleave(counts)
        each = module(video, questions.ids, questions.mask, answers.ids, answers.mask, asked)
        return torch.stack([part.sum() for part in (self.shares * each.float()).split(self.counts)])


def build_questions(run: TrainingRun, config: QuestionsConfig, train_set: VideoSet) -> Start:
    """The network of a new run, with random weights or those of `config.model.weights`, or that of the run to resume.

    Raises VideoMambaError for weights or possible answers that are missing or unfit.
    """
    if run.resumes:
        kept = json.loads(run.kept(_NETWORK, lambda: "{}"))
        model = VideoQuestions.without_weights(VideoQuestionsConfig.model_validate(kept["config"]))
        start = Start(model, Tokenizer(kept["vocabulary"]), QuestionFormat.model_validate(kept["format"]))
    else:
        start = _new(config, train_set)
        kept = {
            "config": start.model.config.model_dump(mode="json"),
            "vocabulary": start.tokenizer.vocabulary,
            "format": start.format.model_dump(mode="json"),
        }
        run.kept(_NETWORK, lambda: json.dumps(kept))
    if config.run.recompute_blocks:
        start.model.recompute_activations(min(config.run.recompute_blocks, start.model.config.video.depth))
    return start


def _new(config: QuestionsConfig, train_set: VideoSet) -> Start:
    """From a network of questions; from one of video and text; or from parts, as `start.find_start` says."""
    format = question_format(config, train_set)
    path = None if config.model.weights is None else resolve_weights(config.model.weights)
    if path is not None and weights_content(path) == "questions":
        opened = open_questions(path)
        text = opened.model.config.text.model_copy(update={"dropout": config.text.dropout})
        model = VideoQuestions.without_weights(VideoQuestionsConfig(video=config.video(), text=text))
        report = load_video_text(model, read_weights(path), tokenizer=opened.tokenizer)
        return Start(model, opened.tokenizer, format, (str(report),))
    pairs = config.as_pairs()
    start = find_start(pairs, [train_set])
    network, reports = build_video_text(pairs, start, teacher_dim=0, fresh=True)
    return Start(VideoQuestions.from_video_text(network), start.tokenizer, format, tuple(map(str, reports)))


def question_format(config: QuestionsConfig, train_set: VideoSet) -> QuestionFormat:
    """The lengths of the settings, and the possible answers: those of a file, or of the training questions.

    Raises VideoMambaError for a file that cannot be read or has none, and for training questions without answers.
    """
    chosen, file = config.answer, config.answer.candidates
    answers = answers_of(train_set) if file is None else read_answers(file)
    if not answers:
        raise VideoMambaError(f"{train_set.name}: its questions have no answers that are not empty; fix the list")
    return QuestionFormat(
        question_length=config.text.max_length,
        answer_length=chosen.max_length,
        clean=config.data.clean,
        answers=answers,
    )


def save_weights(
    path: Path,
    *,
    network: VideoQuestions,
    start: Start,
    config: QuestionsConfig,
    run: TrainingRun,
    facts: Mapping[str, object],
) -> None:
    """Writes `network`, its words and possible answers, the clips of `config`, and what is known of the run as info."""
    info = {**made_by(config, run), "task": "questions", QUESTIONS: start.format.model_dump(mode="json"), **facts}
    save_questions(path, network, preprocess=config.clip, tokenizer=start.tokenizer, info=info)
