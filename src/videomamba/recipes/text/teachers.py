"""The teacher of a video-text model: its tokens of clips, and of pictures, as far as the network sees them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from videomamba.models.teacher import Teacher, check_teacher
from videomamba.recipes.alignment import MaskedAlignment, teacher_layers
from videomamba.recipes.teachers import find_teacher, prepare_teacher
from videomamba.recipes.text.config import VideoTextTrainConfig
from videomamba.recipes.text.media import IMAGES, VIDEOS
from videomamba.schema import VideoSet
from videomamba.training.run import TrainingRun
from videomamba.weights.teachers import open_teacher


class TextTeachers:
    """The teacher of each medium, none without one: opened for clips, and again for pictures.

    Raises VideoMambaError when its weights are missing or unfit, or its tokens are not on the grid of the video tower.
    """

    def __init__(self, config: VideoTextTrainConfig, notify: Callable[[str], object]) -> None:
        self._config = config
        self._teachers: dict[str, Teacher] = {}
        self._alignments: dict[str, MaskedAlignment] = {}
        if config.teacher.weights is None:
            return
        legacy = config.align.legacy
        self._teachers[VIDEOS] = find_teacher(config, config.teacher, None, notify, legacy=legacy)
        teacher_layers(self._teachers[VIDEOS], config.align)
        if config.with_images:
            frames = {"num_frames": config.model.tubelet_size}  # of a picture that fills a tubelet
            clip = config.clip.model_copy(update=frames)
            teacher = open_teacher(config.teacher.weights, clip, legacy=legacy, precision=config.teacher.precision)
            check_teacher(teacher, config.video().model_copy(update=frames))
            self._teachers[IMAGES] = teacher

    @property
    def dim(self) -> int:
        """The width of the decoder that the video tower needs; 0: none."""
        return self._teachers[VIDEOS].dim if self._config.objectives.align else 0

    def prepare(self, run: TrainingRun, train_set: VideoSet) -> dict[str, object]:
        """To the device of `run`; what a bundle records. Raises as `teachers.prepare_teacher`."""
        record: dict[str, object] = {}
        config = self._config
        for medium, teacher in self._teachers.items():
            if medium == VIDEOS:
                teacher, record = prepare_teacher(teacher, config, config.teacher, train_set, run)
            settings = config if medium == VIDEOS else config.of_images()
            self._alignments[medium] = MaskedAlignment(
                teacher.to(run.processes.device), settings.mask, config.align, config.video()
            )
        return record

    def __call__(
        self, medium: str, video: Tensor, visible: Tensor | None, draws: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None]:
        """The patches (n, v) of clips (n, 3, t, h, w) that the network sees, None: all, and the teacher's tokens there.

        `visible` (n, v) are those of a mask, `draws` (n, T, p) the random numbers of one by attention. The tokens
        (k, n, 1 + v, c) are None where nothing is compared with them.
        """
        alignment = self._alignments.get(medium)
        align = self._config.objectives.align > 0
        if alignment is None or (not align and draws is None):
            return visible, None
        wanted = visible
        if visible is None and draws is None:
            steps, height, width = self._teachers[medium].grid
            wanted = torch.arange(steps * height * width, device=video.device).expand(len(video), -1)
        if medium == IMAGES:
            video = video.expand(-1, -1, self._config.model.tubelet_size, -1, -1)
        seen, targets = alignment.targets(video, wanted, draws)
        return (visible if draws is None else seen), (targets if align else None)
