"""Videos and pictures in one run: each set once an epoch, one medium a step, resumed anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pytest
import torch

from videomamba.data.loading.dataset import Batch
from videomamba.data.loading.joint import JointLoader
from videomamba.training.draws import Draws


class Numbers:
    """A loader whose clips are numbers: `steps` micro-batches of two clips."""

    def __init__(self, steps: int) -> None:
        self.steps_per_epoch, self.waited, self.closed = steps, 1.5, False

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[list[Batch]]:
        for step in range(first_step, self.steps_per_epoch):
            records = (2 * step, 2 * step + 1)
            failures = (("x.mp4", "broken"),)
            yield [Batch(torch.zeros(2, 3), records, labels=None, targets=None, failures=failures, planned=3)]

    def close(self) -> None:
        self.closed = True


def joint(sizes: Mapping[str, int], seed: int = 0) -> tuple[JointLoader, dict[str, Numbers]]:
    loaders = {name: Numbers(steps) for name, steps in sizes.items()}
    return JointLoader(loaders, Draws(seed)), loaders  # type: ignore[arg-type]


def passed(loader: JointLoader, epoch: int, first: int = 0) -> list[tuple[str, tuple[int, ...]]]:
    return [(batch.medium, batch.clips.records) for (batch,) in loader.epoch(epoch, first)]


def test_an_epoch_has_every_batch_of_every_set_once() -> None:
    loader, _ = joint({"videos": 5, "images": 3})
    assert loader.steps_per_epoch == 8 and loader.waited == 3.0
    found = passed(loader, 0)
    for name, steps in (("videos", 5), ("images", 3)):
        assert [records for medium, records in found if medium == name] == [(2 * i, 2 * i + 1) for i in range(steps)]
    orders = [tuple(medium for medium, _ in passed(loader, epoch)) for epoch in range(6)]
    assert len(set(orders)) > 3  # a new order in each epoch
    assert orders[0] == tuple(loader.order(0)) == tuple(joint({"images": 3, "videos": 5})[0].order(0))


@pytest.mark.parametrize("first", range(9))
def test_it_resumes_at_any_step(first: int) -> None:
    loader, _ = joint({"videos": 5, "images": 3})
    assert passed(loader, 1, first) == passed(loader, 1)[first:]


def test_one_set_alone_is_its_loader() -> None:
    loader, _ = joint({"videos": 4})
    assert passed(loader, 0) == [("videos", (2 * i, 2 * i + 1)) for i in range(4)]


def test_a_batch_says_what_failed_and_what_was_planned() -> None:
    loader, loaders = joint({"videos": 1, "images": 1})
    with loader:
        for (batch,) in loader.epoch(2):
            assert (batch.epoch, batch.planned, batch.failures) == (2, 3, (("x.mp4", "broken"),))
    assert all(one.closed for one in loaders.values())


def test_pictures_and_videos_draw_for_themselves() -> None:
    draws = Draws(3)
    pictures = draws.of_pictures()
    for make in (lambda one: one.order(1), lambda one: one.sample(1, 2), lambda one: one.pair(1, 2, 0)):
        first, second = (int(make(one).integers(2**60)) for one in (draws, pictures))
        assert first != second
    assert np.array_equal(draws.media(4).permutation(9), pictures.media(4).permutation(9))
