"""The order of the videos in an epoch, so that any part of it can be computed again.

Nothing here keeps a state. The share of process r of w in step s is a slice of one order that all processes compute, so a
run resumes at (epoch, step) as if it had never stopped, and the number of processes changes only how a step is split.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from videomamba.schema import VideoMambaError


class Place(NamedTuple):
    """A place in the order of an epoch, and its record. All random values of a sample depend on the place."""

    epoch: int
    position: int
    record: int


class Draws(Protocol):
    """The generators of a run's data, a new one for each place: `training.draws.Draws`. Worker processes get a copy."""

    def order(self, epoch: int) -> np.random.Generator: ...
    def sample(self, epoch: int, position: int) -> np.random.Generator: ...


def steps_per_epoch(n: int, batch_size: int) -> int:
    """The number of steps of `batch_size` in n videos, the rest omitted; fewer than `batch_size` videos are one small step.

    Raises VideoMambaError when there are no videos.
    """
    if n < 1:
        raise VideoMambaError("there are no videos to train on; check the data set with `videomamba data check`")
    return max(n // batch_size, 1)


def epoch_order(n: int, generator: np.random.Generator, sample_repeats: int = 1) -> NDArray[np.int64]:
    """The n records in the order of an epoch, (n,) int64: a permutation drawn from `generator`.

    With `sample_repeats` k each record is repeated k times in a row and the order still ends after n: the repeated
    augmentation of the ImageNet recipes, in which an epoch shows about n / k of the images.
    """
    return np.repeat(generator.permutation(n), sample_repeats)[:n]


def check_batch(batch_size: int, micro_batch: int | None, world: int) -> int:
    """The micro-batches of one process in one step of `batch_size` videos over all `world` processes.

    Raises VideoMambaError, with the nearest possible batch size, when they cannot be equally long.
    """
    together = world * (micro_batch or 1)
    if batch_size % together:
        fitting = max(batch_size // together, 1) * together
        share = f"{world} processes" + (f" x micro_batch {micro_batch}" if micro_batch else "")
        raise VideoMambaError(
            f"batch_size {batch_size} cannot be divided by {share} = {together}; use for example {fitting}"
        )
    return batch_size // together if micro_batch else 1


def step_places(
    order: NDArray[np.int64],
    *,
    epoch: int,
    step: int,
    batch_size: int,
    micro_batch: int | None = None,
    rank: int = 0,
    world: int = 1,
) -> list[list[Place]]:
    """The micro-batches of process `rank` in step `step`: consecutive slices of its slice of the step's batch.

    Every process has the same number of micro-batches, because the processes synchronise in each. They are also equally
    long, unless there are fewer videos than `batch_size`: these are split as evenly as possible, and some may be empty.

    Raises VideoMambaError for a batch that cannot be divided; ValueError for a step or rank that does not exist.
    """
    count = check_batch(batch_size, micro_batch, world)
    if not 0 <= step < steps_per_epoch(len(order), batch_size) or not 0 <= rank < world:
        raise ValueError(f"step {step} of {steps_per_epoch(len(order), batch_size)}, rank {rank} of {world}")
    start = step * batch_size
    size = min(batch_size, len(order) - start)
    ends = [start + size * (rank * count + j) // (world * count) for j in range(count + 1)]
    return [
        [Place(epoch, position, int(order[position])) for position in range(begin, end)]
        for begin, end in pairwise(ends)
    ]
