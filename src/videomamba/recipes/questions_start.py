"""The start of a run with questions: the network, its words and its possible answers; the texts of a batch; its weights files."""

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
from videomamba.recipes.questions_config import QuestionsConfig
from videomamba.schema import VideoMambaError, VideoSet
from videomamba.training.run import TrainingRun
from videomamba.weights.video_text import save_questions

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
        texts = [answer for one in answers for answer in one]
        shares = torch.zeros(len(answers), len(texts))
        owners = [row for row, one in enumerate(answers) for _ in one]
        shares[owners, range(len(texts))] = torch.tensor([share for one in answers for share in one.values()])
        return AnswerBatch(
            self.format.question_tokens(self.tokenizer, [question.text for question in asked] or [""]),
            self.format.answer_tokens(self.tokenizer, texts),
            torch.tensor(owners),
            shares,
        )


@dataclass(frozen=True, eq=False)
class AnswerBatch:
    """The questions about b clips, and the distinct answers to them, n in all.

    `asked` (n,) int64 is the question of each answer, `shares` (b, n) float32 the share of each answer among those to a
    question, 0 for those to another.
    """

    questions: Tokens
    answers: Tokens
    asked: Tensor
    shares: Tensor

    def to(self, device: torch.device | str) -> Self:
        return replace(
            self,
            questions=self.questions.to(device),
            answers=self.answers.to(device),
            asked=self.asked.to(device),
            shares=self.shares.to(device),
        )

    def losses(self, module: nn.Module, video: Tensor) -> Tensor:
        """Clips (b, 3, t, h, w) -> (b,) fp32: the sum over the answers of share x -log p, by `VideoQuestions.forward`."""
        questions, answers = self.questions, self.answers
        each = module(video, questions.ids, questions.mask, answers.ids, answers.mask, self.asked)
        with torch.autocast(video.device.type, enabled=False):
            return self.shares @ each.float()


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
