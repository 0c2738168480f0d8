"""One step: the mean over all its clips however they are cut up, and nothing changed where it must not be taken."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from videomamba.schema import VideoMambaError
from videomamba.training.distributed import Processes
from videomamba.training.guard import Guard
from videomamba.training.step import OwnWeights, Stepper, StepResult

CLIPS = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))


class Watched(OwnWeights):
    """Counts how often the weights were published."""

    published = 0

    def publish(self) -> None:
        self.published += 1


class Bench:
    """A network of one layer and what a step of it needs; plain gradient descent, so that steps can be computed by hand."""

    def __init__(self, *, clip_grad: float | None = None, max_bad_steps: int = 3, sums_itself: bool = False) -> None:
        torch.manual_seed(0)
        self.model = nn.Linear(3, 1)
        self.masters = Watched(self.model)
        self.stepper = Stepper(
            self.model,
            self.masters,
            torch.optim.SGD(self.model.parameters(), lr=0.1),
            Processes(device="cpu"),
            Guard(max_bad_steps),
            sums_itself=sums_itself,
            clip_grad=clip_grad,
        )

    def losses(self, clips: Tensor) -> tuple[Tensor, Sequence[str]]:
        names = [f"{i}.mp4" for i in range(len(clips))]
        if not names:
            return 0 * self.model(torch.zeros(1, 3)).sum(dim=1), names
        return self.model(clips).square().sum(dim=1), names

    def weight(self) -> Tensor:
        return self.model.weight.detach().clone()

    def step(self, *sizes: int, planned: int | None = None) -> StepResult:
        return self.stepper.step(list(CLIPS[: sum(sizes)].split(sizes)), self.losses, planned=planned or sum(sizes))


def by_hand(number: int, *, norm: float | None = None) -> tuple[Tensor, float, float]:
    """(weight after a step, loss, norm of the gradient) of `number` clips at once."""
    model = Bench().model
    loss = model(CLIPS[:number]).square().sum(dim=1).mean()
    loss.backward()
    length = math.sqrt(sum(p.grad.square().sum().item() for p in model.parameters()))
    factor = 1.0 if norm is None else min(1.0, norm / length)
    return model.weight.detach() - 0.1 * factor * model.weight.grad, loss.item(), length


@pytest.mark.parametrize("sizes", [(6,), (3, 3), (1, 5), (2, 0, 4), (0, 6), (6, 0)], ids=str)
@pytest.mark.parametrize("sums_itself", [True, False])
def test_the_mean_is_over_clips_however_they_are_cut(sizes: tuple[int, ...], sums_itself: bool) -> None:
    bench = Bench(sums_itself=sums_itself)
    result = bench.step(*sizes)
    weight, loss, norm = by_hand(6)
    assert torch.allclose(bench.weight(), weight, atol=1e-7)
    assert (result.samples, result.missing, result.verdict.finite) == (6, 0, True)
    assert result.loss == pytest.approx(loss, rel=1e-6) and result.grad_norm == pytest.approx(norm, rel=1e-6)
    assert bench.masters.published == 1


def test_clips_that_are_missing_are_not_in_the_mean() -> None:
    bench = Bench()
    result = bench.step(3, 1, planned=6)
    weight, loss, _ = by_hand(4)
    assert torch.allclose(bench.weight(), weight, atol=1e-7)
    assert (result.samples, result.missing) == (4, 2) and result.loss == pytest.approx(loss, rel=1e-6)


@pytest.mark.parametrize("sizes", [(6,), (2, 0, 4)], ids=str)
def test_the_parts_of_a_loss_are_means_over_the_same_clips(sizes: tuple[int, ...]) -> None:
    bench = Bench()

    def losses(clips: Tensor) -> tuple[Tensor, Sequence[str], dict[str, Tensor]]:
        whole, names = Bench.losses(bench, clips)
        return whole, names, {"half": whole / 2, "double": 2 * whole}

    result = bench.stepper.step(list(CLIPS.split(sizes)), losses, planned=8)
    assert result.parts == pytest.approx({"half": result.loss / 2, "double": result.loss * 2}, rel=1e-6)
    assert bench.step(6).parts == {}


def test_a_step_of_no_clips_is_none() -> None:
    bench = Bench()
    before = bench.weight()
    result = bench.step(0, 0, planned=6)
    assert torch.equal(bench.weight(), before) and bench.masters.published == 0
    assert (result.samples, result.missing, result.verdict.finite) == (0, 6, True) and math.isnan(result.loss)


def test_a_gradient_that_is_too_long_is_clipped() -> None:
    bench = Bench(clip_grad=0.01)
    result = bench.step(2, 4)
    weight, _, norm = by_hand(6, norm=0.01)
    assert norm > 0.01 and result.grad_norm == pytest.approx(norm, rel=1e-6)
    assert torch.allclose(bench.weight(), weight, atol=1e-7)


def test_gradients_do_not_go_over_to_the_next_step() -> None:
    bench, other = Bench(), Bench()
    bench.step(6)
    bench.step(6)
    other.step(3, 3)
    other.step(3, 3)
    assert torch.allclose(bench.weight(), other.weight(), atol=1e-7)


def test_a_step_that_is_not_finite_is_skipped() -> None:
    bench = Bench()
    before = bench.weight()
    poison = CLIPS[:4].clone()
    poison[1] = math.inf
    result = bench.stepper.step([CLIPS[:2], poison], bench.losses, planned=6)
    assert torch.equal(bench.weight(), before) and bench.masters.published == 0
    assert not result.verdict.finite and result.verdict.samples == ("1.mp4",)
    assert bench.step(6).verdict.finite and bench.stepper.guard.in_a_row == 0
    assert torch.allclose(bench.weight(), by_hand(6)[0], atol=1e-7)


def test_several_in_a_row_are_the_end() -> None:
    bench = Bench(max_bad_steps=2)
    poison = torch.full((2, 3), math.nan)
    bench.stepper.step([poison], bench.losses, planned=2)
    with pytest.raises(VideoMambaError, match=r"2 steps in a row were not finite, the last because the loss of 0\.mp4"):
        bench.stepper.step([poison], bench.losses, planned=2)
