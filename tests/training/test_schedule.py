"""The rate of a step against its formula, in closed cases and at the edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from videomamba.training import schedule
from videomamba.training.optim import Rates
from videomamba.training.settings import Optimisation

RATES = Rates(peak=1.0, minimum=0.1, warmup=0.01)


def rates_of(epochs: int, warmup_epochs: float, steps_per_epoch: int, rates: Rates = RATES) -> list[float]:
    settings = Optimisation(epochs=epochs, warmup_epochs=warmup_epochs)
    steps = range(epochs * steps_per_epoch)
    return [schedule.rate(i, steps_per_epoch=steps_per_epoch, settings=settings, rates=rates) for i in steps]


def test_warm_up_includes_both_ends_and_the_cosine_begins_at_the_peak() -> None:
    found = rates_of(epochs=10, warmup_epochs=2, steps_per_epoch=5)
    assert found[:10] == pytest.approx(np.linspace(0.01, 1.0, 10).tolist())
    expected = [0.1 + 0.45 * (1 + math.cos(math.pi * i / 40)) for i in range(40)]
    assert found[10:] == pytest.approx(expected)
    assert found[9] == found[10] == 1.0
    assert found[30] == pytest.approx(0.55)
    assert 0.1 < found[-1] < 0.102


def test_warm_up_of_a_part_of_an_epoch_of_one_step_and_of_none() -> None:
    assert rates_of(1, 0.5, 8)[:5] == pytest.approx([0.01, 0.34, 0.67, 1.0, 1.0])
    assert rates_of(1, 0.29, 100)[28:30] == [1.0, 1.0]  # 0.29 * 100 is a little less than 29
    assert rates_of(1, 0.125, 8)[:2] == [0.01, 1.0]
    assert rates_of(1, 0, 4)[0] == 1.0


def test_warm_up_as_long_as_the_run_or_longer() -> None:
    assert rates_of(2, 2, 5) == pytest.approx(np.linspace(0.01, 1.0, 10).tolist())
    assert rates_of(2, 4, 5) == pytest.approx(np.linspace(0.01, 1.0, 20)[:10].tolist())
    settings = Optimisation(epochs=2, warmup_epochs=2)
    assert schedule.rate(10, steps_per_epoch=5, settings=settings, rates=RATES) == pytest.approx(0.1)


def test_beyond_the_end_the_minimum_stays() -> None:
    settings = Optimisation(epochs=2, warmup_epochs=1)
    for step in (10, 11, 1000):
        assert schedule.rate(step, steps_per_epoch=5, settings=settings, rates=RATES) == pytest.approx(0.1)


def test_groups_get_their_share() -> None:
    groups = [{"params": [torch.zeros(1)], "lr_scale": scale} for scale in (1.0, 0.25)]
    optimizer = torch.optim.AdamW(groups, lr=0.0)
    schedule.apply(optimizer, 0.4)
    assert [group["lr"] for group in optimizer.param_groups] == [0.4, 0.1]
    schedule.apply(optimizer, 0.2)
    assert [group["lr"] for group in optimizer.param_groups] == [0.2, 0.05]
