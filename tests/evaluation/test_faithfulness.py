"""Deletion and insertion, for a class whose probability is known for every clip."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from videomamba.evaluation.faithfulness import (
    areas,
    centre_map,
    compare,
    enlarged,
    estimate,
    random_maps,
    without_content,
)

GRID = 2, 2, 2
CLIP = torch.ones(3, 4, 6, 6)


def the_last_patch(clips: Tensor) -> Tensor:
    """The probability of a class that is in the last patch alone: how much of it is there."""
    return clips[:, :, 2:, 3:, 3:].mean(dim=(1, 2, 3, 4))


def rising() -> Tensor:
    return torch.arange(8.0).view(GRID)


def test_the_areas_of_the_best_and_of_the_worst_map() -> None:
    counted: list[tuple[int, int]] = []
    maps = [rising(), -rising(), 100 * rising() - 7]
    found = areas(
        the_last_patch, CLIP, torch.zeros_like(CLIP), maps, steps=8, progress=lambda *now: counted.append(now)
    )
    # The patch goes or comes in the first of eight steps, or in the last one; the rest of the curve is flat.
    torch.testing.assert_close(found.deletion, torch.tensor([1 / 16, 15 / 16, 1 / 16]))
    torch.testing.assert_close(found.insertion, torch.tensor([15 / 16, 1 / 16, 15 / 16]))
    assert counted == [(1, 3), (2, 3), (3, 3)]


def test_equal_patches_leave_in_the_order_of_the_clip() -> None:
    found = areas(the_last_patch, CLIP, torch.zeros_like(CLIP), [torch.zeros(GRID)], steps=8)
    assert (found.deletion.item(), found.insertion.item()) == pytest.approx((15 / 16, 1 / 16))


def test_the_removed_pixels_are_those_of_the_patches() -> None:
    seen: list[Tensor] = []
    areas(lambda clips: seen.append(clips) or clips[:, 0, 0, 0, 0], CLIP, torch.zeros_like(CLIP), [rising()], steps=8)
    deleted, inserted = torch.cat(seen).split(9)
    torch.testing.assert_close(deleted.mean(dim=(1, 2, 3, 4)), 1 - torch.arange(9) / 8)
    assert torch.equal(inserted, 1 - deleted)
    assert deleted[1, :, 2:, 3:, 3:].sum() == 0 and deleted[2, :, 2:, 3:, :].sum() == 0


def test_a_clip_without_content_has_its_mean_colour() -> None:
    clip = torch.arange(3.0)[:, None, None, None] + torch.tensor([-1.0, 1.0])[None, :, None, None].expand(3, 2, 2, 2)
    empty = without_content(clip)
    assert empty.shape == clip.shape and empty[:, 1, 0, 1].tolist() == [0, 1, 2]


def test_the_middle_comes_first() -> None:
    middle = centre_map((3, 3, 5))
    order = middle.flatten().argsort(descending=True, stable=True).tolist()
    assert order[:3] == [15 + 7, 7, 30 + 7]  # row 1, column 2: of the second frame, then of the others
    assert {place % 15 for place in order[-12:]} == {0, 4, 10, 14}
    assert centre_map((1, 1, 1)).shape == (1, 1, 1)


def test_a_map_is_compared_with_those_without_a_meaning() -> None:
    clip = CLIP.clone()
    clip[:, :2] = 3.0  # so that the mean colour is not that of the last patch

    def there(clips: Tensor) -> Tensor:
        return (clips[:, :, 2:, 3:, 3:] == 1).float().mean(dim=(1, 2, 3, 4))

    found = compare(there, clip, rising(), steps=8)
    assert found.map == pytest.approx((1 / 16, 15 / 16))
    assert found.map.deletion < found.random.deletion and found.map.insertion > found.random.insertion
    assert found == compare(there, clip, rising(), steps=8)
    assert found.centre.deletion > found.map.deletion


def test_random_maps_follow_their_generator() -> None:
    first, second = (random_maps(2, GRID, torch.Generator().manual_seed(3)) for _ in range(2))
    assert all(map(torch.equal, first, second)) and not torch.equal(first[0], first[1])


def test_the_interval_of_a_mean() -> None:
    assert estimate([1.0, 3.0]) == pytest.approx((2.0, 1.96))
    with pytest.raises(ValueError, match="at least two values, got 1"):
        estimate([1.0])


def test_maps_that_do_not_divide_the_clip() -> None:
    with pytest.raises(ValueError, match=r"\(2, 2, 4\) patches do not divide a clip of \(4, 6, 6\)"):
        enlarged(torch.zeros(1, 2, 2, 4), (4, 6, 6))
