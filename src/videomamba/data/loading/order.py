"""Which video stands where in an epoch, so that any part of it can be asked for again.

Nothing here keeps a state. What process r of w sees of step s is a slice of one order that all of them compute alike, so
a run resumes at (epoch, step) as if it had never stopped, and the number of processes changes only how a step is split.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from videomamba.schema import VideoMambaError


class Place(NamedTuple):
    """A place in the order of an epoch, and the record that stands there. All randomness of a sample comes from it."""

    epoch: int
    position: int
    record: int


class Draws(Protocol):
    """The generators of a run's data, made anew for each place: `training.draws.Draws`. Worker processes get a copy."""

    def order(self, epoch: int) -> np.random.Generator: ...
    def sample(self, epoch: int, position: int) -> np.random.Generator: ...


def steps_per_epoch(n: int, batch_size: int) -> int:
    """Steps of `batch_size` of n videos; what is left over waits for another epoch. Fewer than that are one small step.

    Raises VideoMambaError when there are no videos.
    """
    if n < 1:
        raise VideoMambaError("there are no videos to train on; check the data set with `videomamba data check`")
    return max(n // batch_size, 1)


def epoch_order(n: int, generator: np.random.Generator, sample_repeats: int = 1) -> NDArray[np.int64]:
    """The n records in the order of an epoch, (n,) int64: a permutation drawn from `generator`.

    With `sample_repeats` k each record stands there k times in a row and the order still ends after n: the repeated
    augmentation of the ImageNet recipes, in which an epoch shows about n / k of the images.
    """
    return np.repeat(generator.permutation(n), sample_repeats)[:n]


def check_batch(batch_size: int, micro_batch: int | None, world: int) -> int:
    """Micro-batches of one process in one step, where a step of all `world` processes takes `batch_size` videos.

    Raises VideoMambaError when they cannot all be alike, with the nearest batch size that can.
    """
    together = world * (micro_batch or 1)
    if batch_size % together:
        fitting = max(batch_size // together, 1) * together
        share = f"{world} processes" + (f" x micro_batch {micro_batch}" if micro_batch else "")
        raise VideoMambaError(
            f"batch_size {batch_size} cannot be divided by {share} = {together}; take for example {fitting}"
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

    Every process has equally many of them, because each is a meeting point of all. They are equally long too, unless
    there are fewer videos than `batch_size`, which are then shared as evenly as they can; some may be empty.

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
