"""Whether a map of relevance means something: the class is lost without the relevant patches, and found with them alone.

Deletion removes the patches of a clip in the order of their relevance, most relevant first; insertion adds them in this order
to a clip that has none. The area under the probability of the class measures the map: low is good for deletion, high for
insertion. Source: Petsiuk, Das, Saenko, RISE (2018), arXiv 1806.07421, whose pixels are patches here.

Shape letters: n maps, t frames, h, w picture, T, H, W patches along time, height and width, p = T H W.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

STEPS = 12
"""Parts in which the patches are removed or added."""
RANDOM_MAPS = 4
"""Random maps beside which one is judged."""
_AT_ONCE = 8  # clips in one forward pass


class Areas(NamedTuple):
    """Areas under the probability of the class, 0 to 1, (n,) each: `deletion` is better low, `insertion` high."""

    deletion: Tensor
    insertion: Tensor


class Score(NamedTuple):
    """The `Areas` of one map, or their means over several."""

    deletion: float
    insertion: float


@dataclass(frozen=True)
class Comparison:
    """The score of a map for one clip, beside the mean of random maps and that of `centre_map`, which do not look at it."""

    map: Score
    random: Score
    centre: Score


class Estimate(NamedTuple):
    """A mean, and half the width of its 95 % confidence interval."""

    mean: float
    margin: float


def areas(
    probability: Callable[[Tensor], Tensor],
    clip: Tensor,
    empty: Tensor,
    maps: Sequence[Tensor],
    *,
    steps: int = STEPS,
    progress: Callable[[int, int], None] | None = None,
) -> Areas:
    """The deletion and insertion of each of `maps`, (T, H, W) of any scale: only the order of the patches matters.

    `probability` maps clips (b, 3, t, h, w) to the probability of the class (b,). `clip` is (3, t, h, w); `empty`, of the same
    shape, has what is shown where a patch is removed, see `without_content`. Of equally relevant patches the first in the
    clip count as more relevant. `progress(done, total)` counts maps. Raises ValueError for maps that do not divide the clip.
    """
    found = torch.empty(len(maps), 2)
    for number, relevance in enumerate(maps):
        found[number] = torch.trapezoid(_curves(probability, clip, empty, relevance, steps), dx=1 / steps)
        if progress is not None:
            progress(number + 1, len(maps))
    return Areas(*found.unbind(dim=1))


def compare(
    probability: Callable[[Tensor], Tensor],
    clip: Tensor,
    relevance: Tensor,
    *,
    steps: int = STEPS,
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """The score of `relevance` (T, H, W) for `clip` (3, t, h, w), beside those of maps without a meaning; see `areas`.

    The random maps are the same in every call.
    """
    grid = relevance.shape[0], relevance.shape[1], relevance.shape[2]
    maps = [relevance, centre_map(grid), *random_maps(RANDOM_MAPS, grid, torch.Generator().manual_seed(0))]
    found = areas(probability, clip, without_content(clip), maps, steps=steps, progress=progress)
    rows = torch.stack(found, dim=1)
    ours, centre, random = (Score(*row.tolist()) for row in (rows[0], rows[1], rows[2:].mean(dim=0)))
    return Comparison(ours, random, centre)


def without_content(clip: Tensor) -> Tensor:
    """(3, t, h, w) -> the same with the mean colour of the clip everywhere: nothing is left to see, and nothing is bright."""
    return clip.mean(dim=(1, 2, 3), keepdim=True).expand_as(clip)


def random_maps(number: int, grid: tuple[int, int, int], generator: torch.Generator) -> list[Tensor]:
    """`number` maps (T, H, W) without a meaning."""
    return [torch.rand(grid, generator=generator) for _ in range(number)]


def centre_map(grid: tuple[int, int, int]) -> Tensor:
    """(T, H, W): more relevant nearer to the middle of the picture; at equal distance, nearer to the middle of the clip.

    What a person films is in the middle, so this order is better than a random one without looking at the clip.
    """
    t, y, x = (torch.arange(n, dtype=torch.float64) - (n - 1) / 2 for n in grid)
    distance = y[:, None] ** 2 + x**2  # steps of at least 1/2
    return -(distance + 0.1 * (t.abs() / max(len(t), 1))[:, None, None])


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of at least two independent values. Raises ValueError for fewer.

    The interval is by the normal approximation, which makes it too narrow for fewer than about 30 values.
    """
    if len(values) < 2:
        raise ValueError(f"an interval needs at least two values, got {len(values)}")
    found = torch.tensor(values, dtype=torch.float64)
    return Estimate(float(found.mean()), 1.96 * float(found.std()) / math.sqrt(len(values)))


def _curves(
    probability: Callable[[Tensor], Tensor], clip: Tensor, empty: Tensor, relevance: Tensor, steps: int
) -> Tensor:
    """Probabilities (2, steps + 1) of deletion and insertion; step k has removed or added k / steps of the patches."""
    relevant_first = relevance.flatten().argsort(descending=True, stable=True)
    rank = torch.empty_like(relevant_first)
    rank[relevant_first] = torch.arange(len(rank), device=rank.device)
    taken = torch.linspace(0, len(rank), steps + 1).round().to(rank)
    chosen = enlarged((rank < taken[:, None]).view(-1, *relevance.shape), clip.shape[1:]).unsqueeze(1).to(clip.device)

    def curve(inside: Tensor, outside: Tensor) -> Tensor:
        parts = (torch.where(part, inside, outside) for part in torch.split(chosen, _AT_ONCE))
        return torch.cat([probability(part).float().cpu() for part in parts])

    return torch.stack((curve(empty, clip), curve(clip, empty)))


def enlarged(maps: Tensor, size: Sequence[int]) -> Tensor:
    """(n, T, H, W) -> (n, t, h, w) of `size`, each value repeated over its patch. Raises ValueError if it does not divide."""
    grid = tuple(maps.shape[1:])
    for dim, (patches, pixels) in enumerate(zip(grid, size, strict=True), 1):
        if pixels % patches:
            raise ValueError(f"maps of {grid} patches do not divide a clip of {tuple(size)}")
        maps = maps.repeat_interleave(pixels // patches, dim=dim)
    return maps
