"""From a video and a question to answers: a network that chooses among the answers of its weights file."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import torch

from videomamba.data.clips.views import video_views
from videomamba.data.text.questions import QuestionFormat
from videomamba.data.text.tokenizer import Tokenizer
from videomamba.models.video_questions import Ranking, VideoQuestions
from videomamba.schema import Clip, Preprocess, ScoredLabel, WeightsError
from videomamba.serving.clip_model import Precision
from videomamba.video.open import open_video
from videomamba.weights.video_text import open_questions

SHORTLIST = 128
"""The number of answers that are scored completely, those with the likeliest first token, as in the original."""


@dataclass(frozen=True)
class Answers:
    """The answers to a question about one video, the likeliest first, with their probabilities among all that were scored.

    `question` is the text that the network read. `model` is the name of the network that answered, "" where it has none.
    """

    path: str
    question: str
    answers: tuple[ScoredLabel, ...]
    seconds: float = field(default=0.0, compare=False)
    model: str = ""

    @property
    def top(self) -> str:
        return self.answers[0].label

    def as_dict(self) -> dict[str, object]:
        """The JSON form: {"path": ..., "model": ..., "question": ..., "answers": [{"answer": ..., "score": ...}, ...]}."""
        best = [{"answer": one.label, "score": one.score} for one in self.answers]
        return {"path": self.path, "model": self.model, "question": self.question, "answers": best}


class Answerer:
    """Answers questions about videos. `model` is in evaluation mode on `device`; `format` has the possible answers.

    `remarks` are what a user should read before the answers.
    """

    def __init__(
        self,
        model: VideoQuestions,
        preprocess: Preprocess,
        tokenizer: Tokenizer,
        format: QuestionFormat,
        *,
        device: str | torch.device = "cpu",
        precision: Precision = "fp32",
        name: str = "",
        remarks: Sequence[str] = (),
    ) -> None:
        if precision not in ("fp32", "bf16"):
            raise ValueError(f"precision must be 'fp32' or 'bf16', got {precision!r}")
        if not format.answers:
            raise ValueError("the network chooses among possible answers, and there are none")
        self.device, self.preprocess, self.format, self.name = torch.device(device), preprocess, format, name
        self.remarks = tuple(remarks)
        self.model = model.eval().to(self.device)
        self._tokenizer, self._rounded = tokenizer, precision == "bf16"
        self._candidates = format.answer_tokens(tokenizer, format.answers).to(self.device)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path,
        *,
        answers: Sequence[str] | None = None,
        num_frames: int | None = None,
        image_size: int | tuple[int, int] | None = None,
        device: str | torch.device = "cpu",
        precision: Precision = "fp32",
    ) -> Self:
        """Opens a weights file of `videomamba text train-questions`.

        `answers` replace the possible answers of the file; `num_frames` and `image_size` run the network at another length or
        resolution. Raises WeightsError for a file that is absent, damaged, of another kind, or without possible answers.
        """
        opened = open_questions(name_or_path, num_frames=num_frames, image_size=image_size)
        return cls(
            opened.model,
            opened.preprocess,
            opened.tokenizer,
            QuestionFormat.of_info(opened.info, opened.path).choosing(answers, opened.path),
            device=device,
            precision=precision,
            name=str(name_or_path),
            remarks=[remark for remark in (opened.assumed, opened.knows) if remark],
        )

    def __call__(self, path: str | Path, question: str, *, top: int = 5) -> Answers:
        """The `top` answers to a question about the video, image or folder of images at `path`.

        Raises VideoError when the file cannot be read, VideoMambaError for a question without words.
        """
        if top < 1:
            raise ValueError(f"top must be at least 1, got {top}")
        started = time.perf_counter()
        asked = self.format.asked(question)
        ranked = self._ranked(self._clip(path), asked)
        scores = ranked.scores[0].softmax(dim=0)
        if not scores.isfinite().all():
            raise WeightsError(f"{path}: the model's scores are not finite; its weights are damaged")
        best = zip(ranked.candidates[0].tolist()[:top], scores.tolist(), strict=False)
        answers = tuple(ScoredLabel(self.format.answers[index], score) for index, score in best)
        return Answers(str(path), asked, answers, time.perf_counter() - started, self.name)

    @torch.inference_mode()
    def _ranked(self, clip: Clip, question: str) -> Ranking:
        tokens = self.format.question_tokens(self._tokenizer, [question]).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._rounded):
            states = self.model.encode_questions(clip.data[None].to(self.device), tokens.ids, tokens.mask)
            return self.model.rank(states, tokens.mask, self._candidates, k=SHORTLIST)

    def _clip(self, path: str | Path) -> Clip:
        with open_video(path) as video:
            return next(video_views(video, self.preprocess))
