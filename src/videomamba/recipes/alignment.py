"""What masked pretraining minimises, and its value on the validation split.

Shapes: n clips, T p patches of a clip, v of them visible, c width of the teacher, k layers that are compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from videomamba.data.clips.masks import attention_visible
from videomamba.data.loading.dataset import Masking
from videomamba.data.loading.loader import EvaluationLoader
from videomamba.data.settings import MaskSettings
from videomamba.models.config import VideoMambaConfig
from videomamba.models.teacher import Teacher, taught
from videomamba.recipes.pretrain_config import Alignment, PretrainConfig, aligned_layers
from videomamba.schema import VideoMambaError, VideoSet
from videomamba.training.losses import alignment_loss
from videomamba.training.run import TrainingRun

Student = Callable[[Tensor, Tensor], Tensor]
"""(n, 3, t, h, w) and visible patches (n, v) -> (k, n, 1 + v, c), as `MaskedVideoMamba`."""


def teacher_layers(teacher: Teacher, settings: Alignment) -> list[int]:
    """The layers of `teacher` that are compared. Raises VideoMambaError, naming the key, where it has too few."""
    try:
        return aligned_layers(teacher.depth, settings.layers, settings.interval)
    except ValueError as error:
        raise VideoMambaError(
            f"align.interval: the teacher {teacher.name}: {error}; lower it or align.layers"
        ) from None


class MaskedAlignment:
    """Compares a student that sees some patches of a clip with a teacher that sees all of them.

    Raises VideoMambaError as `teacher_layers`, and in a call for an attention mask with a teacher that has no attention.
    """

    def __init__(self, teacher: Teacher, mask: MaskSettings, settings: Alignment, network: VideoMambaConfig) -> None:
        self.grid = network.grid
        self._teacher, self._mask, self._distance = teacher, mask, settings.distance
        self._layers = teacher_layers(teacher, settings)

    def __call__(self, student: Student, video: Tensor, visible: Tensor | None, draws: Tensor | None) -> Tensor:
        """The losses (n,) of clips (n, 3, t, h, w) with `visible` patches (n, v), or `draws` (n, T, p) of an attention mask."""
        visible, targets = self.targets(video, visible, draws)
        return alignment_loss(student(video, visible), targets, self._distance)

    def targets(self, video: Tensor, visible: Tensor | None, draws: Tensor | None) -> tuple[Tensor, Tensor]:
        """The visible patches (n, v) of clips (n, 3, t, h, w), and the teacher's tokens (k, n, 1 + v, c) there, class first.

        One of `visible` (n, v) and `draws` (n, T, p), those of an attention mask, is given.
        """
        seen = taught(self._teacher, video, layers=self._layers, attention=visible is None)
        if visible is None:
            if seen.attention is None:
                raise VideoMambaError(
                    f"mask.name: attention follows that of the teacher, and {self._teacher.name} gives none; choose another "
                    "mask or teacher"
                )
            assert draws is not None
            visible = attention_visible(seen.attention, draws, self._mask.ratio)
        slots = torch.cat((visible.new_zeros(len(visible), 1), visible + 1), dim=1)  # the class token is always visible
        return visible, seen.tokens.take_along_dim(slots[None, :, :, None], dim=2)


@dataclass(frozen=True)
class AlignmentResult:
    """The mean `loss` of `num_videos` validation videos, None where none was read; `num_missed` could not be read."""

    loss: float | None
    num_videos: int
    num_missed: int

    @property
    def quality(self) -> float | None:
        """The figure that chooses the best weights; a loss that is not a number is the worst."""
        if self.loss is None:
            return None
        return -math.inf if math.isnan(self.loss) else -self.loss

    def __str__(self) -> str:
        loss = "no loss" if self.loss is None else f"alignment loss {self.loss:.4f}"
        missed = f", {self.num_missed} not read" if self.num_missed else ""
        return f"{loss} of {self.num_videos} validation videos{missed}"


class MaskedTest:
    """The loss on the validation split: one centred clip of each video, with the same mask in every call.

    Close it, or use it in a `with` statement. The result has the same bits for any number of processes; every one of them
    must call.
    """

    __test__ = False  # not a test of pytest's

    def __init__(
        self, alignment: MaskedAlignment, video_set: VideoSet, config: PretrainConfig, run: TrainingRun
    ) -> None:
        self._alignment, self._run = alignment, run
        self._masking = Masking(config.mask, alignment.grid)
        self._videos, processes = len(video_set), run.processes
        self._loader = EvaluationLoader(
            video_set,
            preprocess=config.clip,
            data=config.data,
            rank=processes.rank,
            world=processes.world,
            pin_memory=processes.device.type == "cuda",
        )

    @torch.no_grad()
    def __call__(self, student: Student) -> AlignmentResult:
        found: dict[int, float] = {}
        for batch in self._loader:
            if not batch.records:
                continue
            video = batch.video.to(self._run.processes.device, non_blocking=True)
            visible, draws = self._masks(batch.records, video.device)
            with self._run.autocast():
                losses = self._alignment(student, video, visible, draws)
            found.update(zip(batch.records, losses.tolist(), strict=True))
        every = {record: loss for part in self._run.processes.gather(found) for record, loss in part.items()}
        loss = float(np.mean([every[record] for record in sorted(every)])) if every else None
        return AlignmentResult(loss, self._videos, self._videos - len(every))

    def _masks(self, records: tuple[int, ...], device: torch.device) -> tuple[Tensor | None, Tensor | None]:
        """(visible, draws) of these records, one of them None."""
        drawn = [self._masking.draw(self._run.draws.validation_mask(record)) for record in records]
        found = {name: masks.to(device) for name, masks in self._masking.of_batch(drawn).items()}
        return found.get("visible"), found.get("draws")

    def close(self) -> None:
        self._loader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
