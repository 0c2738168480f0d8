"""From records to batches: the content of a batch depends only on the records and their places, not on the process.

An item is a complete batch. Its key holds the records themselves, so that a loading process needs no copy of the data set's
list. A user's mistake is returned as a value: an exception would arrive with the traceback of another process.

Shape letters: n clips of a batch, t frames, h height, w width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from videomamba.data.augment.pipeline import augment_clip, choose_frames
from videomamba.data.clips.masks import Grid, attention_draws, visible_count, visible_patches
from videomamba.data.clips.views import iter_views
from videomamba.data.loading.cache import FrameCache
from videomamba.data.loading.order import Draws, Place
from videomamba.data.loading.record_video import FrameSource, open_record
from videomamba.data.settings import Augmentation, DataSettings, MaskSettings
from videomamba.schema import Clip, Preprocess, Symmetries, Task, VideoError, VideoMambaError, VideoRecord, Views


@dataclass(frozen=True, repr=False)
class _Clips:
    video: Tensor
    records: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.records)

    def to(self, device: torch.device | str) -> Self:
        """The batch with its tensors on `device`; does not wait for copies from pinned memory."""
        return self._changed(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Self:
        return self._changed(Tensor.pin_memory)

    def _changed(self, change: Callable[[Tensor], Tensor]) -> Self:
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        tensors: dict[str, Any] = {name: change(value) for name, value in values if isinstance(value, Tensor)}
        return replace(self, **tensors)


@dataclass(frozen=True, repr=False)
class Batch(_Clips):
    """The clips of one micro-batch: `video` (n, 3, t, h, w) float32, and `labels` (n,) int64 or `targets` (n,) float32.

    Both are None for sets without classes and numbers. `records[i]` is the index of clip i in the data set's records; the
    `augmentation.repeats` clips of one video follow one another. `failures` are the (path, reason) of skipped videos.
    `planned` is the number of clips including skipped videos: n may be smaller, even 0. `positions[i]` is the position of
    clip i in the order of the epoch.

    With a mask, `visible` (n, v) int64 are the visible patches of each clip (`clips.masks`); for the mask "attention" it is
    None and `draws` (n, T, p) float32 are the random numbers that `attention_visible` needs beside a teacher's attention.
    """

    labels: Tensor | None
    targets: Tensor | None
    failures: tuple[tuple[str, str], ...]
    planned: int
    visible: Tensor | None = None
    draws: Tensor | None = None
    positions: tuple[int, ...] = ()


@dataclass(frozen=True)
class Masking:
    """The masks of a batch: the settings and the grid of the network, (T, h, w).

    Raises VideoMambaError for a ratio that is impossible on this grid.
    """

    settings: MaskSettings
    grid: Grid

    def __post_init__(self) -> None:
        visible_count(self.settings.name, self.grid, self.settings.ratio)

    def draw(self, generator: np.random.Generator) -> Tensor:
        """One clip's part of `Batch.draws` for the mask "attention", else of `Batch.visible`."""
        name, ratio = self.settings.name, self.settings.ratio
        if name == "attention":
            return attention_draws(self.grid, generator)
        return torch.from_numpy(visible_patches(name, self.grid, ratio, generator))

    def of_batch(self, drawn: Sequence[Tensor]) -> dict[str, Tensor]:
        """The field of the batch for the `drawn` of its clips, which may be none."""
        if self.settings.name == "attention":
            steps, h, w = self.grid
            return {"draws": torch.stack([*drawn]) if drawn else torch.empty((0, steps, h * w))}
        count = visible_count(self.settings.name, self.grid, self.settings.ratio)
        return {"visible": torch.stack([*drawn]) if drawn else torch.empty((0, count), dtype=torch.int64)}


@dataclass(frozen=True, repr=False)
class EvaluationBatch(_Clips):
    """All views of a block of videos: `video` (len(records) * v, 3, t, h, w) float32 for v views.

    The views of `records[i]` (an index into the data set's records) are rows i * v ... (i + 1) * v - 1, clips outermost.
    `failures` are the (record index, reason) of missed videos.
    """

    failures: tuple[tuple[int, str], ...]


class Sample(NamedTuple):
    """One video of a training batch to load."""

    place: Place
    record: VideoRecord


@dataclass(kw_only=True, eq=False, repr=False)
class TrainClips(Dataset[Batch | VideoMambaError]):
    """Item `samples` is their batch, or the error that stops the run.

    A video is decoded once; the frames and all changes are drawn from the generator of its place, then the masks of its
    clips: so the clips are the same with and without. With `data.on_error == "skip"` a video that cannot be read is skipped
    and listed in the failures.
    """

    preprocess: Preprocess
    augmentation: Augmentation
    symmetries: Symmetries
    data: DataSettings
    draws: Draws
    task: Task = "classification"
    masking: Masking | None = None

    def __getitem__(self, samples: Sequence[Sample]) -> Batch | VideoMambaError:
        clips: list[tuple[Clip, int | None]] = []
        masks: list[Tensor] = []
        values: list[float | None] = []
        records: list[int] = []
        positions: list[int] = []
        failures: list[tuple[str, str]] = []
        repeats = self.augmentation.repeats
        for place, record in samples:
            try:
                made, drawn = self._clips(place, record)
            except VideoError as error:
                if self.data.on_error == "stop":
                    return error
                failures.append((record.path, _reason(record, error)))
            except VideoMambaError as error:
                return error
            else:
                clips += made
                masks += drawn
                records += [place.record] * repeats
                positions += [place.position] * repeats
                values += [record.target] * repeats
        size = (3, self.preprocess.num_frames, *self.preprocess.image_size)
        labels = [label for _, label in clips]
        return Batch(
            video=torch.stack([clip.data for clip, _ in clips]) if clips else torch.empty((0, *size)),
            records=tuple(records),
            labels=torch.tensor(labels, dtype=torch.int64) if self.task == "classification" else None,
            targets=torch.tensor(values, dtype=torch.float32) if self.task == "regression" else None,
            failures=tuple(failures),
            planned=len(samples) * repeats,
            positions=tuple(positions),
            **({} if self.masking is None else self.masking.of_batch(masks)),
        )

    def _clips(self, place: Place, record: VideoRecord) -> tuple[list[tuple[Clip, int | None]], list[Tensor]]:
        """The clips of a video with their labels, and what is drawn for the mask of each."""
        generator = self.draws.sample(place.epoch, place.position)
        augmentation = self.augmentation.of_epoch(place.epoch)
        with _open(record, self.data) as source:
            chosen = choose_frames(source.num_frames, self.preprocess, augmentation, generator, spacing=source.spacing)
            frames = source.frames(chosen)
        clips = [
            augment_clip(frames, record.label, self.preprocess, augmentation, self.symmetries, generator)
            for _ in range(augmentation.repeats)
        ]
        return clips, [] if self.masking is None else [self.masking.draw(generator) for _ in clips]


@dataclass(kw_only=True, eq=False, repr=False)
class EvaluationClips(Dataset[EvaluationBatch | VideoMambaError]):
    """Item `block`, a sequence of (record index, record), is all views of these videos, each video read in one pass.

    A video that cannot be read is not an error here: it is listed and counts as missed.
    """

    preprocess: Preprocess
    views: Views
    data: DataSettings

    def __getitem__(self, block: Sequence[tuple[int, VideoRecord]]) -> EvaluationBatch | VideoMambaError:
        size, of_each = (3, self.preprocess.num_frames, *self.preprocess.image_size), len(self.views)
        # Views are written into the batch directly: a list of them would double gigabytes of memory.
        video = torch.empty((len(block) * of_each, *size))
        records: list[int] = []
        failures: list[tuple[int, str]] = []
        for index, record in block:
            try:
                with _open(record, self.data) as source:
                    views = iter_views(
                        source.frames, source.num_frames, self.preprocess, self.views, spacing=source.spacing
                    )
                    for row, view in enumerate(views, len(records) * of_each):
                        video[row] = view.data
            except VideoError as error:
                failures.append((index, _reason(record, error)))
            except VideoMambaError as error:
                return error
            else:
                records.append(index)
        return EvaluationBatch(video[: len(records) * of_each], tuple(records), tuple(failures))


def _open(record: VideoRecord, data: DataSettings) -> AbstractContextManager[FrameSource]:
    if data.cache is None:
        return open_record(record)
    return FrameCache(data.cache, num_frames=data.cache_frames, size=data.cache_size).open(record)


def _reason(record: VideoRecord, error: VideoError) -> str:
    """The reason of a record's failure; it names the image if one image of a folder failed."""
    return error.reason if error.path == record.path else str(error)
