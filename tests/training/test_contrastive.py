"""The contrastive loss against the plain formula, over several processes, and the choice of hard negatives."""

from __future__ import annotations

import math
import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from videomamba.training.contrastive import Rows, contrastive_losses, equal_ids, hard_negatives, sample_ids

SIZES = ((3, 3), (4, 2), (6, 0), (0, 6), (0, 0))
"""Of two processes; videos may have been skipped."""


def samples(count: int = 6, vectors: int = 3, width: int = 5) -> dict[str, Tensor]:
    """Two of the samples show one medium, two have one text."""
    generator = torch.Generator().manual_seed(1)
    videos = torch.randn(count, vectors, width, generator=generator)
    texts = torch.randn(count, width, generator=generator)
    ids = torch.tensor([[0, 10], [1, 11], [0, 12], [3, 13], [4, 11], [5, 15]])[:count]
    return {"videos": videos, "texts": texts, "ids": ids, "weight": torch.eye(width), "temp": torch.tensor(0.07)}


def by_hand(videos: Tensor, texts: Tensor, ids: Tensor, temperature: float) -> list[float]:
    """One number at a time: cross entropies with equal shares for all right answers."""
    n = len(texts)
    scores = [
        [sum(float(v @ texts[j]) for v in videos[i]) / len(videos[i]) / temperature for j in range(n)] for i in range(n)
    ]
    found = []
    for i in range(n):
        right = [j for j in range(n) if bool((ids[i] == ids[j]).any())]
        losses = []
        for row in (scores[i], [scores[j][i] for j in range(n)]):
            total = math.log(sum(math.exp(value) for value in row))
            losses.append(-sum(row[j] - total for j in right) / len(right))
        found.append(sum(losses) / 2)
    return found


def unit(one: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Both towers share one projection, so that its gradient needs all samples."""
    return tuple(F.normalize(one[name] @ one["weight"], dim=-1) for name in ("videos", "texts"))  # type: ignore[return-value]


def step(one: dict[str, Tensor], rows: Rows | None, **named: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """The losses of a process, and the gradients of their sum."""
    leaves = {name: one[name].clone().requires_grad_() for name in ("videos", "texts", "weight", "temp")}
    losses = contrastive_losses(*unit(leaves), one["ids"], leaves["temp"], rows, **named)
    losses.sum().backward()
    return losses.detach(), {
        name: leaf.grad if leaf.grad is not None else torch.zeros_like(leaf) for name, leaf in leaves.items()
    }


def work(rank: int, folder: Path) -> None:
    """Every case of SIZES in one of two processes; writes losses and gradients."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=2)
    found = []
    for sizes in SIZES:
        rows, every = Rows(sizes, rank), samples(sum(sizes))
        mine = {name: value[rows.own] if name in ("videos", "texts", "ids") else value for name, value in every.items()}
        found.append([step(mine, rows), step(mine, rows, official_scale=True)])
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[list[Any]]:
    """What both processes found, by rank, for each case."""
    folder = tmp_path_factory.mktemp("two")
    context = multiprocessing.get_context("forkserver")
    processes = [context.Process(target=work, args=(rank, folder)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(100)
        assert process.exitcode == 0
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("case", range(len(SIZES)), ids=map(str, SIZES))
def test_two_processes_have_the_losses_and_gradients_of_one(two: list[list[Any]], case: int) -> None:
    losses, gradients = step(samples(sum(SIZES[case])), None)
    parts = [found[case][0] for found in two]
    assert torch.allclose(torch.cat([part[0] for part in parts]), losses, atol=1e-5)
    for name in ("videos", "texts"):
        assert torch.allclose(torch.cat([part[1][name] for part in parts]), gradients[name], atol=1e-5)
    for name in ("weight", "temp"):
        assert torch.allclose(sum(part[1][name] for part in parts), gradients[name], atol=1e-5)


@pytest.mark.parametrize("case", range(len(SIZES)), ids=map(str, SIZES))
def test_the_original_divides_gradients_by_its_processes(two: list[list[Any]], case: int) -> None:
    for found in two:
        (losses, exact), (same, scaled) = found[case]
        assert torch.equal(losses, same) and torch.equal(exact["temp"], scaled["temp"])
        for name in ("videos", "texts", "weight"):
            assert torch.allclose(scaled[name], exact[name] / 2, atol=1e-6)


@pytest.mark.parametrize("vectors", [1, 3])
def test_the_loss_is_the_plain_formula(vectors: int) -> None:
    one = samples(vectors=vectors)
    videos, texts = unit(one)
    losses = contrastive_losses(videos, texts, one["ids"], torch.tensor(0.2))
    assert losses.dtype == torch.float32
    assert losses.tolist() == pytest.approx(by_hand(videos, texts, one["ids"], 0.2), abs=1e-5)


def test_before_it_has_learned_anything_the_loss_is_that_of_guessing() -> None:
    same = F.normalize(torch.ones(8, 4), dim=-1)
    losses = contrastive_losses(same[:, None], same, torch.arange(8)[:, None], torch.tensor(0.07))
    assert losses.tolist() == pytest.approx([math.log(8)] * 8, abs=1e-5)


def test_right_pairs_share_any_identity() -> None:
    ids = sample_ids([1, 2, 1], ["a dog", "a cat", "a cat"])
    assert equal_ids(ids, ids).tolist() == [[True, False, True], [False, True, True], [True, True, True]]
    assert ids.dtype == torch.int64 and bool((ids >= 0).all())
    assert sample_ids([], []).shape == (0, 2)
    assert sample_ids([7], ["a dog"])[0, 1] == ids[0, 1]


def test_a_sample_that_is_not_finite_spoils_its_own_loss_alone() -> None:
    one = samples()
    videos, texts = unit(one)
    videos[1, 0, 0] = torch.nan
    losses = contrastive_losses(videos, texts, torch.arange(6)[:, None], torch.tensor(0.07))
    assert losses.isfinite().tolist() == [True, False, True, True, True, True]
    others = [0, 2, 3, 4, 5]
    alone = contrastive_losses(videos[others], texts[others], torch.arange(5)[:, None], torch.tensor(0.07))
    assert torch.allclose(losses[others], alone, atol=1e-6)


def test_the_number_of_rows_is_checked() -> None:
    with pytest.raises(ValueError, match="4 rows, not the 3 of this process"):
        Rows((3, 2)).gather(torch.zeros(4, 1))


# Hard negatives


def test_hard_negatives_are_drawn_as_their_softmax_says() -> None:
    logits, allowed = torch.tensor([[0.0, 1.0, 2.0, 3.0]]), torch.tensor([[True, False, True, True]])
    draws = 4000
    uniform = (torch.arange(draws, dtype=torch.float64) + 0.5) / draws
    drawn, there = hard_negatives(logits.expand(draws, -1), allowed.expand(draws, -1), uniform)
    weights = torch.tensor([1, 0, math.exp(2), math.exp(3)])
    assert (drawn.bincount(minlength=4) / draws).tolist() == pytest.approx((weights / weights.sum()).tolist(), abs=1e-3)
    assert bool(there.all())


@pytest.mark.parametrize("uniform", [0.0, 0.3, 1 - 2**-53])
@pytest.mark.parametrize("scale", [1.0, 1e4, -1e30])
def test_a_row_has_a_negative_wherever_one_is_allowed(uniform: float, scale: float) -> None:
    """The logits of a confident model would leave nothing for the others after a softmax over all."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(64, 12, generator=generator) * scale
    allowed = torch.rand(64, 12, generator=generator) < 0.3
    allowed[0] = False
    drawn, there = hard_negatives(logits, allowed, torch.full((64,), uniform, dtype=torch.float64))
    assert torch.equal(there, allowed.any(dim=1)) and not there[0]
    assert bool(allowed[torch.arange(64), drawn][there].all())
    assert bool(((drawn >= 0) & (drawn < 12)).all())
