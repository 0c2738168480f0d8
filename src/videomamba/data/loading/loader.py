"""Batches for training and evaluation, decoded in other processes while the network works.

Worker processes are started once and serve all epochs. They come from a fork server, which has imported only what they
need: each starts in a twentieth of a second. The server has none of the threads and locks of the training process, whose
fork may hang (OpenMP's threads do not survive it). A script that makes a loader needs `if __name__ == "__main__":`.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from multiprocessing.connection import wait
from multiprocessing.context import BaseContext
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from videomamba.data.clips.masks import Grid
from videomamba.data.loading.dataset import Batch, EvaluationBatch, EvaluationClips, Masking, Sample, TrainClips
from videomamba.data.loading.order import Draws, check_batch, epoch_order, step_places, steps_per_epoch
from videomamba.data.settings import Augmentation, DataSettings, MaskSettings
from videomamba.interrupts import interrupts_later
from videomamba.schema import Preprocess, VideoMambaError, VideoRecord, VideoSet, Views

T = TypeVar("T", Batch, EvaluationBatch)

_LOST_WORKER, _RAISED_IN_WORKER = "DataLoader worker (pid", "Caught "
"""How PyTorch's messages start when a worker process is gone, and when it raised an error."""

_BLOCK_BYTES = 1 << 28
"""Size of an evaluation block: each worker holds up to three, and a video of 10 x 3 views of 64 frames takes 1.2 GB."""


class _Tasks(Sampler[Sequence[Any]]):
    """The tasks of PyTorch's loader: replaced between two epochs, while its processes keep running."""

    def __init__(self) -> None:
        self.tasks: Iterable[Sequence[Any]] = ()

    def __iter__(self) -> Iterator[Sequence[Any]]:
        return iter(self.tasks)


class _Loader(Generic[T]):
    """The items of a dataset for any sequence of tasks, in order; without `workers`, loaded in this process.

    `waited` counts the seconds that the caller has waited for items.
    """

    def __init__(self, dataset: Dataset[T | VideoMambaError], *, workers: int, pin_memory: bool) -> None:
        self.waited = 0.0
        self._passes = 0
        self._num_workers = workers
        self._tasks = _Tasks()
        self._items: Iterator[T | VideoMambaError] | None = None
        self._loader: DataLoader[T | VideoMambaError] | None = DataLoader(
            dataset,
            sampler=self._tasks,
            batch_size=None,
            collate_fn=_unchanged,
            num_workers=workers,
            persistent_workers=workers > 0,
            multiprocessing_context=_context() if workers else None,
            worker_init_fn=_obey_parent if workers else None,
            pin_memory=pin_memory,
            # Its own generator: the loader draws a seed for its workers each epoch, which must not change the training's draws.
            generator=torch.Generator(),
        )

    def close(self) -> None:
        """Ends the worker processes; closing twice is harmless."""
        # These two hold the processes. An error on its way out holds the frames that it passed, but must not hold these.
        self._items = self._loader = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _load(self, tasks: Iterable[Sequence[Any]]) -> Iterator[T]:
        if self._loader is None:
            raise ValueError("this loader is closed")
        self._tasks.tasks = tasks
        self._passes += 1
        mine = self._passes
        before = time.perf_counter()
        with interrupts_later():
            self._items = iter(self._loader)
        while True:
            try:
                item = next(self._items, None)
            except (RuntimeError, EOFError, ConnectionError, FileNotFoundError) as error:
                if not self._lost_worker(error):
                    raise
                raise VideoMambaError(
                    "a process that decodes videos ended unexpectedly, most often because memory ran out (in containers: "
                    "/dev/shm); use fewer of them (data.workers), a smaller micro_batch, or allow more memory. In a script "
                    'of your own, put the call below `if __name__ == "__main__":`'
                ) from error
            self.waited += time.perf_counter() - before
            if item is None:
                return
            if isinstance(item, VideoMambaError):
                raise item
            yield item
            if mine != self._passes or self._items is None:
                raise ValueError("this loader is closed, or another pass through it has begun")
            before = time.perf_counter()

    def _lost_worker(self, error: Exception) -> bool:
        """Whether `error` is one that PyTorch's loader raises when one of its processes is gone."""
        if self._num_workers == 0 or str(error).startswith(_RAISED_IN_WORKER):
            return False
        return not isinstance(error, RuntimeError) or str(error).startswith(_LOST_WORKER)


class TrainLoader(_Loader[Batch]):
    """The batches of one process of a training run, for all its epochs. Close it, or use it in a `with` statement.

    `batch_size` counts the videos of a step over all `world` processes, `micro_batch` the videos of one forward pass (None:
    this process's complete share). `waited` is the number of seconds that the caller has waited for batches.

    With a `mask` the batches have masks of the network's patches, `grid` = (T, h, w).

    Raises VideoMambaError when there are no videos, the batch cannot be divided or the mask is impossible on the grid;
    ValueError for one of `mask` and `grid` without the other.
    """

    def __init__(
        self,
        video_set: VideoSet,
        *,
        preprocess: Preprocess,
        augmentation: Augmentation,
        data: DataSettings,
        draws: Draws,
        batch_size: int,
        micro_batch: int | None = None,
        rank: int = 0,
        world: int = 1,
        pin_memory: bool = False,
        mask: MaskSettings | None = None,
        grid: Grid | None = None,
    ) -> None:
        if (mask is None) != (grid is None):
            raise ValueError("a mask needs the grid of the network, and a grid is for a mask")
        self.steps_per_epoch = steps_per_epoch(len(video_set), batch_size)
        self.micro_batches = check_batch(batch_size, micro_batch, world)
        self._records = video_set.records
        self._draws = draws
        self._sample_repeats = augmentation.sample_repeats
        self._places = partial(step_places, batch_size=batch_size, micro_batch=micro_batch, rank=rank, world=world)
        clips = TrainClips(
            preprocess=preprocess,
            augmentation=augmentation,
            symmetries=video_set.symmetries,
            data=data,
            draws=draws,
            task=video_set.task,
            masking=None if mask is None or grid is None else Masking(mask, grid),
        )
        super().__init__(clips, workers=data.workers, pin_memory=pin_memory)

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[list[Batch]]:
        """The micro-batches of each step of an epoch from `first_step` on, the same ones in every call.

        One epoch at a time: an unfinished epoch cannot continue after another one has begun.

        Raises VideoMambaError (VideoError with on_error="stop") for a video that cannot be loaded, in its place.
        """
        batches = self._load(self._samples(epoch, first_step))
        for _ in range(first_step, self.steps_per_epoch):
            yield [next(batches) for _ in range(self.micro_batches)]

    def _samples(self, epoch: int, first_step: int) -> Iterator[list[Sample]]:
        order = epoch_order(len(self._records), self._draws.order(epoch), self._sample_repeats)
        for step in range(first_step, self.steps_per_epoch):
            for places in self._places(order, epoch=epoch, step=step):
                yield [Sample(place, self._records[place.record]) for place in places]


class EvaluationLoader(_Loader[EvaluationBatch]):
    """All views of all videos of a data set, in blocks of `block` consecutive records: block i is for process i % world.

    The content of a forward pass therefore does not depend on the number of processes. `block` None: four records, fewer if
    their views take more than 256 MB. Each iteration gives all blocks of this process.
    """

    def __init__(
        self,
        video_set: VideoSet,
        *,
        preprocess: Preprocess,
        views: Views = Views(),
        data: DataSettings,
        rank: int = 0,
        world: int = 1,
        block: int | None = None,
        pin_memory: bool = False,
    ) -> None:
        if block is None:
            view = 3 * preprocess.num_frames * math.prod(preprocess.image_size) * 4
            block = max(min(_BLOCK_BYTES // (len(views) * view), 4), 1)
        if block < 1 or not 0 <= rank < world:
            raise ValueError(f"blocks of {block} records for rank {rank} of {world}")
        self._records = video_set.records
        self._starts = range(rank * block, len(video_set), world * block)
        self._block = block
        clips = EvaluationClips(preprocess=preprocess, views=views, data=data)
        super().__init__(clips, workers=data.workers, pin_memory=pin_memory)

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[EvaluationBatch]:
        return self.after(0)

    def after(self, done: int) -> Iterator[EvaluationBatch]:
        """The blocks of this process without its first `done`."""
        return self._load(self._blocks(done))

    def _blocks(self, done: int) -> Iterator[list[tuple[int, VideoRecord]]]:
        for start in self._starts[done:]:
            yield [(start + i, record) for i, record in enumerate(self._records[start : start + self._block])]


def _context() -> BaseContext:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def _obey_parent(_: int) -> None:
    """In a worker: the training process handles interrupts, and the worker ends when the training process ends.

    PyTorch watches the parent's id for the latter. Here that is the id of the fork server, which lives as long as its
    children.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.excepthook = _report_unless_hung_up
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _report_unless_hung_up(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """For the thread of a worker that passes on the memory of its tensors, the only thread that reports errors this way.

    The training process closes that connection when it is interrupted or killed while it receives a batch.
    """
    if not issubclass(kind, (ConnectionError, EOFError)):
        sys.__excepthook__(kind, error, trace)


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def _unchanged(item: T) -> T:
    return item
