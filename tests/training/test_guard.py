"""Numbers that are not finite: found, skipped, counted, and the end after several in a row."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from videomamba import create_model
from videomamba.schema import VideoMambaError
from videomamba.training.guard import Guard, Verdict, clip_gradients
from videomamba.training.losses import classification_loss
from videomamba.training.optim import make_optimizer
from videomamba.training.settings import Optimisation


def a_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2))


def a_step(guard: Guard, model: nn.Module, inputs: Tensor, names: list[str], poison: str = "") -> Verdict:
    """One pass; `poison` names a module whose gradient turns into NaN on the way back."""
    handles = [
        module.register_full_backward_pre_hook(lambda module, grads: tuple(g * float("nan") for g in grads))
        for name, module in model.named_modules()
        if poison and name == poison
    ]
    model.zero_grad()
    losses = model(inputs).square().sum(1)
    guard.check(losses, names)
    losses.mean().backward()
    for handle in handles:
        handle.remove()
    return guard.check_gradients(model.named_parameters())


def test_a_good_step_has_the_norm_of_all_gradients() -> None:
    model, guard = a_network(), Guard(3)
    verdict = a_step(guard, model, torch.ones(2, 3), ["a.mp4", "b.mp4"])
    expected = torch.cat([p.grad.flatten() for p in model.parameters()]).norm().item()
    assert verdict.finite and verdict.reason == "" and verdict.norm == pytest.approx(expected, rel=1e-6)
    assert guard.in_a_row == 0


def test_samples_of_every_micro_batch_are_named() -> None:
    model, guard = a_network(), Guard(3)
    inputs = torch.ones(2, 3)
    inputs[1, 0] = float("nan")
    guard.check(torch.tensor([1.0, float("inf"), 2.0]), ["a.mp4", "b.mp4", "c.mp4"])
    verdict = a_step(guard, model, inputs, ["d.mp4", "e.mp4"])
    assert not verdict.finite and verdict.samples == ("b.mp4", "e.mp4")
    assert verdict.reason == "the loss of b.mp4 (and of 1 more) is not finite"
    assert a_step(guard, model, torch.ones(1, 3), ["f.mp4"]).finite  # what was noted belongs to its step


def test_a_bad_loss_counts_though_gradients_are_finite() -> None:
    model, guard = a_network(), Guard(3)
    guard.check(torch.tensor([float("inf")]), ["a.mp4"])
    verdict = guard.check_gradients(model.named_parameters())
    assert not verdict.finite and verdict.samples == ("a.mp4",) and verdict.parameters == ()


def test_the_parameter_where_it_began_is_named() -> None:
    model, guard = a_network(), Guard(3)
    verdict = a_step(guard, model, torch.ones(2, 3), ["a.mp4", "b.mp4"], poison="1")
    assert verdict.samples == () and verdict.parameters == ("0.weight", "0.bias", "1.weight", "1.bias")
    assert verdict.reason == "the gradient of 1.bias (and of 3 more) is not finite"


def test_a_norm_that_overflows_is_no_good_step() -> None:
    model, guard = a_network(), Guard(3)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 1e30)
    verdict = guard.check_gradients(model.named_parameters())
    assert not verdict.finite and verdict.parameters == () and "overflows" in verdict.reason


def test_bad_steps_in_a_row_end_the_run_in_one_line() -> None:
    model, guard = a_network(), Guard(3)
    bad, good = torch.full((1, 3), float("nan")), torch.ones(1, 3)
    for inputs in (bad, bad, good, bad, bad):
        a_step(guard, model, inputs, ["run/clip 7.mp4"])
    assert guard.in_a_row == 2
    with pytest.raises(VideoMambaError, match=r"3 steps in a row .*run/clip 7\.mp4.*optim\.lr") as raised:
        a_step(guard, model, bad, ["run/clip 7.mp4"])
    assert "\n" not in str(raised.value)


def test_all_processes_skip_when_one_has_to() -> None:
    asked: list[bool] = []

    def elsewhere_bad(finite: bool) -> bool:
        asked.append(finite)
        return False

    model, guard = a_network(), Guard(2, all_finite=elsewhere_bad)
    verdict = a_step(guard, model, torch.ones(1, 3), ["a.mp4"])
    assert asked == [True] and not verdict.finite and verdict.reason == "another process found it"
    with pytest.raises(VideoMambaError, match="another process found it"):
        a_step(guard, model, torch.ones(1, 3), ["a.mp4"])


def test_names_that_do_not_match_the_losses_are_refused() -> None:
    with pytest.raises(ValueError, match=r"1 names for losses of shape \(2,\)"):
        Guard(3).check(torch.zeros(2), ["a.mp4"])


@pytest.mark.parametrize("share", [0.5, 2.0])
def test_clipping_scales_to_the_largest_norm(share: float) -> None:
    model, guard = a_network(), Guard(3)
    norm = a_step(guard, model, torch.ones(1, 3), ["a.mp4"]).norm
    before = {name: p.grad.clone() for name, p in model.named_parameters()}
    clip_gradients(model.parameters(), share * norm, norm)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, before[name] * min(share, 1))


@pytest.fixture
def one_process() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1, timeout=timedelta(seconds=60))
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("one_process")
def test_sharded_parameters_are_guarded_clipped_averaged_and_stepped_as_whole_ones() -> None:
    from torch.distributed.fsdp import fully_shard

    from videomamba.training.ema import EMA

    def trained(shard: bool) -> tuple[Verdict, dict[str, Tensor], dict[str, Tensor]]:
        torch.manual_seed(0)
        model = create_model("videomamba_micro", depth=2, num_classes=3, num_frames=2, image_size=32)
        model.recompute_activations(1)
        if shard:
            for layer in model.layers:
                fully_shard(layer)
            fully_shard(model)
        settings = Optimisation(layer_decay=0.5)
        optimizer = make_optimizer(model.named_parameters(), settings, depth=2)
        ema, guard = EMA(model.named_parameters(), 0.9), Guard(3)
        losses = classification_loss(model(torch.randn(2, 3, 2, 32, 32)), torch.eye(3)[:2])
        guard.check(losses, ["a.mp4", "b.mp4"])
        losses.mean().backward()
        verdict = guard.check_gradients(model.named_parameters())
        clip_gradients(model.parameters(), 0.5 * verdict.norm, verdict.norm)
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * group["lr_scale"]
        optimizer.step()
        ema.update(model.named_parameters())
        weights = {name: p.full_tensor() if shard else p for name, p in model.named_parameters()}
        averages = {name: p.full_tensor() if shard else p for name, p in ema.state_dict().items()}
        model.layers[1].mixer.out_proj.weight.grad.mul_(float("nan"))
        verdict = guard.check_gradients(model.named_parameters())
        assert verdict.parameters == ("layers.1.mixer.out_proj.weight",)
        return verdict, weights, averages

    (_, weights, averages), (_, sharded, sharded_averages) = trained(shard=False), trained(shard=True)
    for name in weights:
        torch.testing.assert_close(sharded[name], weights[name], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(sharded_averages[name], averages[name], rtol=1e-5, atol=1e-6)
