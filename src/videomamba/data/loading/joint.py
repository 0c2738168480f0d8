"""Several loaders as one: each step has samples of one medium, pictures or videos.

Every loader is passed through once an epoch. Which medium a step has is a function of the run's seed and the epoch, the same in
every process; so a run resumes at any step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np

from videomamba.data.loading.dataset import Batch
from videomamba.data.loading.loader import TrainLoader


class MediaDraws(Protocol):
    """The generator of the order of media in an epoch: `training.draws.Draws`."""

    def media(self, epoch: int) -> np.random.Generator: ...


@dataclass(frozen=True, repr=False)
class MediaBatch:
    """A micro-batch of the loader called `medium` in `epoch`."""

    medium: str
    epoch: int
    clips: Batch

    @property
    def planned(self) -> int:
        return self.clips.planned

    @property
    def failures(self) -> Sequence[tuple[str, str]]:
        return self.clips.failures


class JointLoader:
    """The steps of all `loaders`, in a new random order each epoch. Close it, or use it in a `with` statement."""

    def __init__(self, loaders: Mapping[str, TrainLoader], draws: MediaDraws) -> None:
        self._loaders = {name: loaders[name] for name in sorted(loaders)}
        self._draws = draws
        self.steps_per_epoch = sum(loader.steps_per_epoch for loader in loaders.values())

    @property
    def waited(self) -> float:
        return sum(loader.waited for loader in self._loaders.values())

    def order(self, epoch: int) -> list[str]:
        """The medium of each step of an epoch."""
        names = [name for name, loader in self._loaders.items() for _ in range(loader.steps_per_epoch)]
        return [names[i] for i in self._draws.media(epoch).permutation(len(names))]

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[list[MediaBatch]]:
        """The micro-batches of each step of an epoch from `first_step` on, as `TrainLoader.epoch`."""
        order = self.order(epoch)
        begun = {name: loader.epoch(epoch, order[:first_step].count(name)) for name, loader in self._loaders.items()}
        for name in order[first_step:]:
            yield [MediaBatch(name, epoch, batch) for batch in next(begun[name])]

    def close(self) -> None:
        """Ends the worker processes of all loaders; closing twice is harmless."""
        with ExitStack() as stack:  # all of them, even if one cannot be closed
            for loader in self._loaders.values():
                stack.callback(loader.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
