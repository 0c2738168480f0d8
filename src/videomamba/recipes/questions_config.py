"""The settings of a run that learns to answer questions as one record. --print-config prints all that a YAML file may have."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from videomamba.data.settings import TextDataSettings
from videomamba.evaluation.answers import AnswerScore
from videomamba.recipes.config import RecipeConfig, check_recipe
from videomamba.recipes.text_config import TextSettings
from videomamba.schema import Settings, VideoMambaError
from videomamba.training.settings import Run


class AnswerSettings(Settings):
    """Which answers the network may give, how long they are, and what counts as right.

    Source: `max_length` and `shortlist` of the original's multimodal code.
    """

    candidates: Path | None = Field(
        default=None, description="file of the possible answers, one a line or a JSON list; default: the training answers"
    )
    max_length: int = Field(default=5, ge=3, description="most tokens of an answer with its start and end; longer ones are cut")
    shortlist: int = Field(
        default=128, ge=1, description="answers that are scored completely: those with the likeliest first token"
    )
    score: AnswerScore = Field(
        default="exact",
        description="exact: equal to an answer of the annotators; vqa: the metric of VQA v2, for ten annotators",
    )


class QuestionsConfig(RecipeConfig):
    """One run of learning to answer questions about videos."""

    data: TextDataSettings = TextDataSettings()
    text: TextSettings = TextSettings(max_length=25)
    answer: AnswerSettings = AnswerSettings()
    run: Run = Run(out=Path("runs/questions"))


def check_questions(config: QuestionsConfig) -> None:
    """Raises VideoMambaError, naming the key, where the sections do not fit together. It reads no file."""
    check_recipe(config)
    for key in ("mixup", "cutmix", "label_smoothing"):
        if getattr(config.augment, key):
            raise VideoMambaError(f"augment.{key}: changes classes, and questions have none; set it to 0")
