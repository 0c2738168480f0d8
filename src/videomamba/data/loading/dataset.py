"""From records to batches, in whichever process: what is in a batch depends on the records and their places alone.

An item is a whole batch. It is asked for with the records themselves, so that a process that loads needs no copy of the
list of a data set; and a mistake of the user's comes back as a value, because as an exception it would arrive with the
traceback of another process.

Shape letters: n clips of a batch, t frames, h height, w width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.utils.data import Dataset

from videomamba.data.augment.pipeline import augment_clip
from videomamba.data.clips.sampling import train_clip
from videomamba.data.clips.views import iter_views
from videomamba.data.loading.cache import FrameCache
from videomamba.data.loading.order import Draws, Place
from videomamba.data.loading.record_video import FrameSource, open_record
from videomamba.data.settings import Augmentation, DataSettings
from videomamba.schema import Clip, Preprocess, Symmetries, Task, VideoError, VideoMambaError, VideoRecord, Views


@dataclass(frozen=True, repr=False)
class Batch:
    """The clips of one micro-batch: `video` (n, 3, t, h, w) float32, and `labels` (n,) int64 or `targets` (n,) float32.

    Sets without classes and numbers give neither. `records[i]` is the index of clip i in the data set's records; the
    `augmentation.repeats` clips of one video follow one another. `failures` are the (path, reason) of videos that were
    skipped. `planned` is the number of clips with those of skipped videos: n may be smaller, even 0.
    """

    video: Tensor
    labels: Tensor | None
    targets: Tensor | None
    records: tuple[int, ...]
    failures: tuple[tuple[str, str], ...]
    planned: int

    def __len__(self) -> int:
        return len(self.records)

    def to(self, device: torch.device | str) -> Batch:
        """With its tensors on `device`; does not wait for copies from pinned memory."""
        return _changed(self, lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        return _changed(self, Tensor.pin_memory)


@dataclass(frozen=True, repr=False)
class EvaluationBatch:
    """All views of a block of videos: `video` (len(records) * v, 3, t, h, w) float32 for v views.

    The views of `records[i]` (an index into the data set's records) are rows i * v ... (i + 1) * v - 1, clips outermost.
    `failures` are the (record index, reason) of videos that could not be read.
    """

    video: Tensor
    records: tuple[int, ...]
    failures: tuple[tuple[int, str], ...]

    def __len__(self) -> int:
        return len(self.records)

    def to(self, device: torch.device | str) -> EvaluationBatch:
        """With its tensors on `device`; does not wait for copies from pinned memory."""
        return _changed(self, lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> EvaluationBatch:
        return _changed(self, Tensor.pin_memory)


class Sample(NamedTuple):
    """One video of a training batch to load."""

    place: Place
    record: VideoRecord


class TrainClips(Dataset[Batch | VideoMambaError]):
    """Item `samples` is their batch, or the error that stops the run.

    A video is decoded once; frames and all changes are drawn from the generator of its place. With
    `data.on_error == "skip"` a video that cannot be read is skipped and listed in its failures.
    """

    def __init__(
        self,
        *,
        preprocess: Preprocess,
        augmentation: Augmentation,
        symmetries: Symmetries,
        data: DataSettings,
        draws: Draws,
        task: Task = "classification",
    ) -> None:
        self._preprocess = preprocess
        self._augmentation = augmentation
        self._symmetries = symmetries
        self._data = data
        self._task = task
        self._draws = draws

    def __getitem__(self, samples: Sequence[Sample]) -> Batch | VideoMambaError:
        clips: list[tuple[Clip, int | None]] = []
        values: list[float | None] = []
        records: list[int] = []
        failures: list[tuple[str, str]] = []
        repeats = self._augmentation.repeats
        for place, record in samples:
            try:
                clips += self._clips(place, record)
            except VideoError as error:
                if self._data.on_error == "stop":
                    return error
                failures.append((record.path, _reason(record, error)))
            except VideoMambaError as error:
                return error
            else:
                records += [place.record] * repeats
                values += [record.target] * repeats
        return Batch(
            video=_stack([clip for clip, _ in clips], self._preprocess),
            labels=torch.tensor([label for _, label in clips], dtype=torch.int64)
            if self._task == "classification"
            else None,
            targets=torch.tensor(values, dtype=torch.float32) if self._task == "regression" else None,
            records=tuple(records),
            failures=tuple(failures),
            planned=len(samples) * repeats,
        )

    def _clips(self, place: Place, record: VideoRecord) -> list[tuple[Clip, int | None]]:
        generator, augmentation = (
            self._draws.sample(place.epoch, place.position),
            self._augmentation.of_epoch(place.epoch),
        )
        with _open(record, self._data) as source:
            frames = source.frames(train_clip(self._preprocess, source.num_frames, generator))
        return [
            augment_clip(frames, record.label, self._preprocess, augmentation, self._symmetries, generator)
            for _ in range(self._augmentation.repeats)
        ]


class EvaluationClips(Dataset[EvaluationBatch | VideoMambaError]):
    """Item `block`, a sequence of (record index, record), is all views of these videos, each read in one walk.

    A video that cannot be read is never an error here: it counts as missed, and is listed.
    """

    def __init__(self, *, preprocess: Preprocess, views: Views, data: DataSettings) -> None:
        self._preprocess = preprocess
        self._views = views
        self._data = data

    def __getitem__(self, block: Sequence[tuple[int, VideoRecord]]) -> EvaluationBatch | VideoMambaError:
        preprocess, of_each = self._preprocess, len(self._views)
        # Each view is written where it stays: a list of them and the batch made of it would be gigabytes twice.
        video = torch.empty((len(block) * of_each, 3, preprocess.num_frames, *preprocess.image_size))
        records: list[int] = []
        failures: list[tuple[int, str]] = []
        for index, record in block:
            try:
                for row, view in enumerate(self._seen(record), len(records) * of_each):
                    video[row] = view.data
            except VideoError as error:
                failures.append((index, _reason(record, error)))
            except VideoMambaError as error:
                return error
            else:
                records.append(index)
        return EvaluationBatch(video[: len(records) * of_each], tuple(records), tuple(failures))

    def _seen(self, record: VideoRecord) -> Iterator[Clip]:
        with _open(record, self._data) as source:
            yield from iter_views(source.frames, source.num_frames, self._preprocess, self._views)


def _open(record: VideoRecord, data: DataSettings) -> AbstractContextManager[FrameSource]:
    if data.cache is None:
        return open_record(record)
    return FrameCache(data.cache, num_frames=data.cache_frames, size=data.cache_size).open(record)


def _reason(record: VideoRecord, error: VideoError) -> str:
    """Where one image of a folder failed, the reason names it: the failure is that of the record."""
    return error.reason if error.path == record.path else str(error)


def _stack(clips: Sequence[Clip], preprocess: Preprocess) -> Tensor:
    if not clips:
        return torch.empty((0, 3, preprocess.num_frames, *preprocess.image_size))
    return torch.stack([clip.data for clip in clips])


_AnyBatch = TypeVar("_AnyBatch", Batch, EvaluationBatch)


def _changed(batch: _AnyBatch, change: Callable[[Tensor], Tensor]) -> _AnyBatch:
    values = {field.name: getattr(batch, field.name) for field in fields(batch)}
    tensors: dict[str, Any] = {name: change(value) for name, value in values.items() if isinstance(value, Tensor)}
    return replace(batch, **tensors)
