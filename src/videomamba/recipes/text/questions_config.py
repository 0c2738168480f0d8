"""The settings of a run that learns to answer questions as one record. --print-config prints all that a YAML file may have."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from videomamba.data.settings import TextDataSettings
from videomamba.evaluation.answers import AnswerScore
from videomamba.models.config import VideoMambaConfig
from videomamba.models.registry import build_config
from videomamba.recipes.config import RecipeConfig, check_recipe
from videomamba.recipes.text.config import TextSettings, VideoTextTrainConfig
from videomamba.schema import Settings, VideoMambaError
from videomamba.training.settings import Run


class QuestionTextSettings(TextSettings):
    """The text tower that reads the questions. `embed_dim` and `pool` are those of the weights, and have no part here."""

    max_length: int = Field(default=25, ge=3, description="most tokens of a question; longer ones are cut")


class AnswerSettings(Settings):
    """Which answers the network may give, how long they are, and what counts as right.

    Source: `max_length` and `shortlist` of the original's multimodal code.
    """

    candidates: Path | None = Field(
        default=None,
        description="file of the possible answers, one a line or a JSON list; default: the training answers",
    )
    max_length: int = Field(
        default=5, ge=3, description="most tokens of an answer with its start and end; longer ones are cut"
    )
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
    text: QuestionTextSettings = QuestionTextSettings()
    answer: AnswerSettings = AnswerSettings()
    run: Run = Run(out=Path("runs/questions"))

    def video(self) -> VideoMambaConfig:
        """The config of the video tower. Raises ValueError where model and clip do not make one."""
        return build_config(self.model.name, {**self.network(), "num_classes": 0})

    def as_pairs(self) -> VideoTextTrainConfig:
        """The settings of a video-text network of these sizes and first weights, which a network of questions starts from."""
        return VideoTextTrainConfig(model=self.model, clip=self.clip, data=self.data, text=self.text, run=self.run)


def check_questions(config: QuestionsConfig) -> None:
    """Raises VideoMambaError, naming the key, where the sections do not fit together. It reads no file."""
    check_recipe(config)
    if config.model.num_registers:
        raise VideoMambaError("model.num_registers: a video tower beside a text tower has no registers; set it to 0")
    if config.optim.layer_decay < 1:
        raise VideoMambaError("optim.layer_decay: is not offered with a text tower; set it to 1")
    for key in ("mixup", "cutmix", "label_smoothing"):
        if getattr(config.augment, key):
            raise VideoMambaError(f"augment.{key}: changes classes, and questions have none; set it to 0")
