"""Every seed is pinned: a change of any of these numbers changes every run."""

from __future__ import annotations

from pathlib import Path

import pytest

from videomamba.data.loading.order import epoch_order
from videomamba.data.sets.formats.entry import Entry
from videomamba.data.sets.formats.held_out import held_out
from videomamba.data.settings import DataSettings
from videomamba.training.draws import Draws

BOUND = 2**40


def test_draws_are_pinned() -> None:
    assert (Draws(3).weights(), Draws(0).weights()) == (3, 0)
    assert epoch_order(8, Draws(3).order(2)).tolist() == [1, 7, 4, 0, 2, 6, 3, 5]
    assert epoch_order(8, Draws(0).order(0)).tolist() == [2, 4, 3, 6, 5, 0, 1, 7]
    assert Draws(3).sample(2, 7).integers(BOUND) == 945235791995
    assert Draws(0).sample(0, 0).integers(BOUND) == 493943304931
    assert Draws(3).mixing(11).integers(BOUND) == 740781260862
    assert Draws(0).mixing(0).integers(BOUND) == 327948757860
    assert (Draws(3).dropout(11, 1), Draws(0).dropout(0, 0)) == (4083611336380004330, 7076205008002241668)
    assert Draws(3).validation_mask(11).integers(BOUND) == 603271395110
    assert Draws(3).media(2).integers(BOUND) == 611494318598
    assert Draws(3).pair(2, 7, 1).integers(BOUND) == 894129204907
    pictures = Draws(3).of_pictures()
    assert epoch_order(8, pictures.order(2)).tolist() == [3, 5, 0, 4, 1, 6, 2, 7]
    assert pictures.sample(2, 7).integers(BOUND) == 278757238344
    assert pictures.pair(2, 7, 1).integers(BOUND) == 575061538050
    assert Draws(3).sheet(1, 2).integers(BOUND) == 480451823556


def test_no_two_draws_of_a_run_are_the_same() -> None:
    draws = [Draws(seed) for seed in range(3)]
    first = [one.sample(epoch, position) for one in draws for epoch in range(3) for position in range(20)]
    first += [one.order(epoch) for one in draws for epoch in range(1, 3)]
    first += [one.mixing(step) for one in draws for step in range(20)]
    first += [one.validation_mask(record) for one in draws for record in range(20)]
    pictures = [one.of_pictures() for one in draws]
    first += [one.sample(epoch, position) for one in pictures for epoch in range(3) for position in range(20)]
    first += [one.order(epoch) for one in pictures for epoch in range(1, 3)]
    first += [one.media(epoch) for one in draws for epoch in range(20)]
    for both in (draws, pictures):
        first += [
            one.pair(epoch, i, clip) for one in both for epoch in range(3) for i in range(20) for clip in range(2)
        ]
    numbers = [int(generator.integers(2**60)) for generator in first]
    numbers += [one.dropout(step, rank) for one in draws for step in range(20) for rank in range(2)]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize(
    ("seed", "chosen"), [(0, ["a/1", "a/2", "b/2", "b/4"]), (1, ["a/0", "a/4", "b/1", "b/2"])], ids=str
)
def test_the_held_out_videos_are_pinned(seed: int, chosen: list[str]) -> None:
    entries = [Entry(f"/data/{label}/{i}.mp4", label) for label in "ab" for i in range(6)]
    _, held = held_out(entries, DataSettings(root=Path("/data"), split_seed=seed, val_fraction=0.34))
    assert [entry.path for entry in held] == [f"/data/{name}.mp4" for name in chosen]
