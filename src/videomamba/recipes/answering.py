"""The test of a network on questions, shared by training and evaluation.

A video is read and goes through the network once, whatever the number of questions about it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

import torch

from videomamba.data.loading.dataset import EvaluationBatch
from videomamba.data.loading.loader import EvaluationLoader
from videomamba.data.settings import DataSettings, TextDataSettings
from videomamba.data.text.questions import QuestionFormat
from videomamba.data.text.tokenizer import Tokenizer
from videomamba.evaluation.answers import (
    FEWEST_ANNOTATORS,
    AnswerScore,
    QuestionsResult,
    questions_report,
)
from videomamba.evaluation.results import describe_protocol
from videomamba.models.video_questions import VideoQuestions
from videomamba.recipes.measured import MeasuredTexts, choose_texts, text_settings
from videomamba.recipes.testing import Progress
from videomamba.schema import Preprocess, Question, VideoMambaError, VideoRecord, VideoSet, Views, counted
from videomamba.training.distributed import Processes
from videomamba.video.find import describe_ignored
from videomamba.weights.video_text import PretrainedVideoQuestions

QUESTIONS_AT_ONCE = 32
"""Questions about the videos of one block in a forward pass, each with its shortlist of answers."""


def question_of(video_set: VideoSet, record: int) -> Question:
    """The annotation of a record in a set of questions."""
    found = video_set.records[record].annotation
    assert isinstance(found, Question)
    return found


def check_answers(video_set: VideoSet, score: AnswerScore) -> None:
    """Raises VideoMambaError for no questions, for one without an answer, and for "vqa" where it has too few annotators."""
    if not video_set.records:
        raise VideoMambaError(f"{video_set.name}: has no questions; give a list of them")
    for index, record in enumerate(video_set.records):
        answers = question_of(video_set, index).answers
        if not any(answer.strip() for answer in answers):
            raise VideoMambaError(
                f"{record.origin or record.path}: its answer is empty; write one or remove the question"
            )
        number = len(answers)
        if score == "vqa" and number < FEWEST_ANNOTATORS:
            raise VideoMambaError(
                f"{record.origin or record.path}: has {counted(number, 'answer')}, and the metric of VQA v2 needs at least "
                f"{FEWEST_ANNOTATORS}; measure exact matches instead"
            )


@dataclass(frozen=True)
class _Found:
    """The candidates that were chosen, by question, and the reasons of missed videos."""

    chosen: Mapping[int, int]
    failures: tuple[tuple[int, str], ...]


class QuestionTest:
    """The questions of one split, on which networks are tested. Close it, or use it in a `with` statement.

    `format` has the possible answers. The result has the same bits for any number of processes; every one of them must call.
    """

    def __init__(
        self,
        video_set: VideoSet,
        format: QuestionFormat,
        tokenizer: Tokenizer,
        preprocess: Preprocess,
        *,
        data: DataSettings,
        processes: Processes,
        shortlist: int = 128,
        score: AnswerScore = "exact",
        precision: Literal["fp32", "bf16"] = "fp32",
    ) -> None:
        check_answers(video_set, score)
        self.video_set, self.format, self.processes, self.score = video_set, format, processes, score
        self._tokenizer, self._shortlist = tokenizer, shortlist
        self._candidates = format.answer_tokens(tokenizer, format.answers).to(processes.device)
        self._rounded = precision == "bf16"
        self._videos, self._asked = _by_video(video_set)
        self._preprocess = preprocess
        self._loader = EvaluationLoader(
            self._videos,
            preprocess=preprocess,
            data=data,
            rank=processes.rank,
            world=processes.world,
            pin_memory=processes.device.type == "cuda",
        )

    def __call__(self, network: VideoQuestions, *, progress: Progress | None = None) -> QuestionsResult:
        """The answers of `network`, which is in evaluation mode on the device. `progress(done, total)` counts blocks."""
        chosen: dict[int, int] = {}
        failures: list[tuple[int, str]] = []
        for done, batch in enumerate(self._loader, 1):
            failures += batch.failures
            chosen.update(self._choices(network, batch))
            if progress is not None:
                progress(done, len(self._loader))
        parts = self.processes.gather(_Found(chosen, tuple(failures)))
        found = {question: choice for part in parts for question, choice in part.chosen.items()}
        missed = sorted(failure for part in parts for failure in part.failures)
        seen = describe_protocol(self._preprocess, Views(), regression=True).removesuffix(", mean over views")
        return questions_report(
            self.video_set,
            {question: self.format.answers[choice] for question, choice in found.items()},
            candidates=self.format.answers,
            failures=[(self._videos.records[video].path, reason) for video, reason in missed],
            protocol=f"{seen}, {'exact match' if self.score == 'exact' else 'metric of VQA v2'}",
            score=self.score,
        )

    @torch.inference_mode()
    def _choices(self, network: VideoQuestions, batch: EvaluationBatch) -> Iterator[tuple[int, int]]:
        asked = [(row, question) for row, video in enumerate(batch.records) for question in self._asked[video]]
        if not asked:
            return
        device = self.processes.device
        with torch.autocast(device.type, torch.bfloat16, enabled=self._rounded):
            memory = network.encode_video(batch.video.to(device))
            for start in range(0, len(asked), QUESTIONS_AT_ONCE):
                part = asked[start : start + QUESTIONS_AT_ONCE]
                texts = [question_of(self.video_set, question).text for _, question in part]
                tokens = self.format.question_tokens(self._tokenizer, texts).to(device)
                states = network.read_questions(memory[[row for row, _ in part]], tokens.ids, tokens.mask)
                ranked = network.rank(states, tokens.mask, self._candidates, k=self._shortlist)
                yield from zip((question for _, question in part), ranked.best.tolist(), strict=True)

    def close(self) -> None:
        self._loader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _by_video(video_set: VideoSet) -> tuple[VideoSet, Mapping[int, Sequence[int]]]:
    """The distinct videos of a set of questions, and by video the indices of its questions."""
    numbers: dict[VideoRecord, int] = {}
    asked: dict[int, list[int]] = defaultdict(list)
    for index, record in enumerate(video_set.records):
        video = replace(record, annotation=None, origin="")
        asked[numbers.setdefault(video, len(numbers))].append(index)
    return VideoSet(video_set.name, tuple(numbers)), asked


def evaluate_questions(
    opened: PretrainedVideoQuestions,
    data: TextDataSettings | str | Path,
    *,
    split: MeasuredTexts = "auto",
    answers: Sequence[str] | None = None,
    shortlist: int = 128,
    score: AnswerScore = "exact",
    device: str = "auto",
    precision: Literal["fp32", "bf16"] = "fp32",
    progress: Progress | None = None,
    notify: Callable[[str], object] = lambda message: None,
) -> QuestionsResult:
    """The accuracy of a network on one split of a set of questions. Under torchrun the processes share the videos.

    `data` are the settings of a data set, or its folder, or a list of questions. The network chooses among `answers`, None:
    those of its weights file. `notify` gets a line that says which videos are measured, and one for each kind of ignored file.
    Raises VideoMambaError for data without questions, for weights without
    possible answers, and for the metric "vqa" with too few annotators.
    """
    format = QuestionFormat.of_info(opened.info, opened.path).choosing(answers, opened.path)
    settings = text_settings(data).model_copy(update={"clean": format.clean})  # questions are cleaned as in training
    video_set, reason = choose_texts(opened.path, opened.info, settings, split, task="questions")
    for line in (*(f"ignored {line}" for line in describe_ignored(video_set.ignored)), reason):
        notify(line)
    processes = Processes(device=device)
    network = opened.model.eval().to(processes.device)
    with QuestionTest(
        video_set,
        format,
        opened.tokenizer,
        opened.preprocess,
        data=settings,
        processes=processes,
        shortlist=shortlist,
        score=score,
        precision=precision,
    ) as test:
        return test(network, progress=progress)
