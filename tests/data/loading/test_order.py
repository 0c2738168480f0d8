"""An epoch is arithmetic: every place of it can be computed alone, and processes and interruptions only cut it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from videomamba.data.loading.order import (
    Place,
    check_batch,
    epoch_order,
    step_places,
    steps_per_epoch,
)
from videomamba.schema import VideoMambaError
from videomamba.training.draws import Draws


def test_steps_drop_what_is_left_over_but_there_is_always_one() -> None:
    assert [steps_per_epoch(n, 4) for n in (1, 3, 4, 7, 8, 9)] == [1, 1, 1, 1, 2, 2]
    with pytest.raises(VideoMambaError, match="no videos to train on"):
        steps_per_epoch(0, 4)


def test_an_order_is_a_permutation_of_seed_and_epoch() -> None:
    order = epoch_order(50, Draws(3).order(2))
    assert sorted(order) == list(range(50)) != list(order)
    assert np.array_equal(order, epoch_order(50, Draws(3).order(2)))
    assert not np.array_equal(order, epoch_order(50, Draws(3).order(1)))
    assert not np.array_equal(order, epoch_order(50, Draws(2).order(2)))


def test_repeated_samples_stand_in_a_row_and_the_epoch_is_no_longer() -> None:
    once, thrice = epoch_order(10, Draws(0).order(0)), epoch_order(10, Draws(0).order(0), sample_repeats=3)
    assert thrice.tolist() == [i for i in once[:4] for _ in range(3)][:10]


@given(
    n=st.integers(1, 60),
    world=st.integers(1, 4),
    micro=st.one_of(st.none(), st.integers(1, 3)),
    count=st.integers(1, 3),
)
def test_processes_and_micro_batches_only_cut_a_step(n: int, world: int, micro: int | None, count: int) -> None:
    batch = world * (micro or 1) * count
    order = epoch_order(n, Draws(0).order(0))
    together = {"epoch": 0, "batch_size": batch, "micro_batch": micro, "world": world}
    for step in range(steps_per_epoch(n, batch)):
        ((*alone,),) = step_places(order, epoch=0, step=step, batch_size=batch)
        cut = [step_places(order, step=step, rank=rank, **together) for rank in range(world)]
        assert [place for process in cut for places in process for place in places] == alone
        assert alone == [Place(0, p, int(order[p])) for p in range(step * batch, step * batch + len(alone))]
        assert len(alone) == min(batch, n)
        sizes = [[len(places) for places in process] for process in cut]
        assert {len(process) for process in sizes} == {count if micro else 1}
        flat = [size for process in sizes for size in process]
        assert max(flat) - min(flat) <= (0 if n >= batch else 1)


def test_a_batch_that_cannot_be_divided_says_what_could() -> None:
    assert check_batch(12, None, 3) == 1
    assert check_batch(12, 2, 3) == 2
    with pytest.raises(VideoMambaError, match=r"batch_size 10 .* 4 processes = 4; use for example 8"):
        check_batch(10, None, 4)
    with pytest.raises(VideoMambaError, match=r"2 processes x micro_batch 4 = 8; use for example 8"):
        step_places(epoch_order(9, Draws(0).order(0)), epoch=0, step=0, batch_size=6, micro_batch=4, world=2)


@pytest.mark.parametrize(("step", "rank"), [(2, 0), (-1, 0), (0, 2)])
def test_a_place_that_does_not_exist(step: int, rank: int) -> None:
    with pytest.raises(ValueError, match=r"step .* of 2, rank . of 2"):
        step_places(epoch_order(9, Draws(0).order(0)), epoch=0, step=step, batch_size=4, rank=rank, world=2)
