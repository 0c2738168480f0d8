"""bf16 products with an fp32 scan: what is cast, what is not, and training on fp32 masters."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from videomamba import create_model
from videomamba.models.precision import MasterWeights, cast_products
from videomamba.models.videomamba import VideoMamba

CAST = ("patch_embed.proj", "in_proj", "out_proj", "x_proj", "x_proj_b", "dt_proj.weight", "dt_proj_b.weight")


def a_model() -> VideoMamba:
    torch.manual_seed(0)
    return create_model("videomamba_micro", depth=2, num_classes=5, num_frames=4, image_size=32).eval()


def a_video(model: VideoMamba) -> torch.Tensor:
    return torch.randn(2, 3, model.config.num_frames, *model.config.image_size)


class Casts(TorchDispatchMode):
    """The shapes of all fp32 tensors that were cast to bf16."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[torch.Size] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default and (args[0].dtype, result.dtype) == (torch.float32, torch.bfloat16):
            self.shapes.append(args[0].shape)
        return result


def test_the_products_are_cast_and_nothing_else() -> None:
    model = a_model()
    cast_products(model, torch.bfloat16)
    for name, parameter in model.named_parameters():
        is_product = any(part in name for part in CAST)
        assert parameter.dtype == (torch.bfloat16 if is_product else torch.float32), name


def test_gradients_are_those_of_fp32_to_the_rounding_of_bf16() -> None:
    exact, model = a_model(), a_model()
    video, labels = a_video(exact), torch.tensor([1, 3])
    F.cross_entropy(exact(video), labels).backward()
    masters = MasterWeights(model, torch.bfloat16)
    F.cross_entropy(model(video), labels).backward()
    masters.collect_gradients()
    found = dict(masters.named_parameters())
    for name, parameter in exact.named_parameters():
        assert found[name].grad is not None and found[name].grad.dtype == torch.float32
        error, size = (found[name].grad - parameter.grad).norm(), parameter.grad.norm()
        assert error <= 0.05 * size, (name, error, size)


def test_gradients_of_several_passes_add_up_in_fp32() -> None:
    model = a_model()
    masters = MasterWeights(model, torch.bfloat16)
    weight, master = (
        model.layers[0].mixer.in_proj.weight,
        dict(masters.named_parameters())["layers.0.mixer.in_proj.weight"],
    )
    for value in (1.0, 2.0**-12):  # the second would vanish in bf16
        weight.grad = torch.full_like(weight, value)
        masters.collect_gradients()
        assert weight.grad is None
    assert (master.grad == 1 + 2.0**-12).all()


def test_steps_too_small_for_bf16_add_up() -> None:
    model = a_model()
    masters = MasterWeights(model, torch.bfloat16)
    optimizer = torch.optim.SGD(masters.parameters(), lr=1.0)
    name, weight = "layers.0.mixer.out_proj.weight", model.layers[0].mixer.out_proj.weight
    before, exact = weight.detach().clone(), masters.state_dict()[name].clone()
    for _ in range(40):
        weight.grad = before * 2.0**-12
        masters.collect_gradients()
        optimizer.step()
        masters.publish()
        optimizer.zero_grad()
    assert weight.dtype == torch.bfloat16
    torch.testing.assert_close(weight.float(), exact - before.float() * 40 * 2.0**-12, rtol=2.0**-8, atol=0)
    assert not torch.equal(weight, before)


def test_no_weight_is_cast_in_a_training_step() -> None:
    model = a_model()
    masters = MasterWeights(model, torch.bfloat16)
    with Casts() as casts:
        F.cross_entropy(model(a_video(model)), torch.tensor([1, 3])).backward()
        masters.collect_gradients()
    weights = {parameter.shape for name, parameter in model.named_parameters() if any(part in name for part in CAST)}
    assert casts.shapes and not weights & set(casts.shapes)  # activations are


def test_what_is_saved_is_fp32_and_loads_into_a_plain_model() -> None:
    model = a_model()
    exact = {name: parameter.clone() for name, parameter in model.state_dict().items()}
    masters = MasterWeights(model, torch.bfloat16)
    saved = masters.state_dict()
    assert all(torch.equal(saved[name], value) for name, value in exact.items())
    a_model().load_state_dict(saved)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_resumed_run_goes_on_bit_for_bit(dtype: torch.dtype) -> None:
    def step(model: VideoMamba, masters: MasterWeights, optimizer: torch.optim.Optimizer) -> None:
        F.cross_entropy(model(video), torch.tensor([1, 3])).backward()
        masters.collect_gradients()
        optimizer.step()
        masters.publish()
        optimizer.zero_grad()

    model = a_model()
    video = a_video(model)
    masters = MasterWeights(model, dtype)
    optimizer = torch.optim.AdamW(masters.parameters(), lr=1e-4)
    step(model, masters, optimizer)
    saved = {name: value.clone() for name, value in masters.state_dict().items()}
    moments = copy.deepcopy(optimizer.state_dict())

    resumed = a_model()
    with torch.no_grad():
        for parameter in resumed.parameters():
            parameter.add_(1.0)
    resumed_masters = MasterWeights(resumed, dtype)
    resumed_optimizer = torch.optim.AdamW(resumed_masters.parameters(), lr=1e-4)
    resumed_masters.load_state_dict(saved)
    resumed_optimizer.load_state_dict(moments)
    for name, parameter in model.named_parameters():
        found = resumed.get_parameter(name)
        assert found.dtype == parameter.dtype and torch.equal(found, parameter), name
    step(model, masters, optimizer)
    step(resumed, resumed_masters, resumed_optimizer)
    for name, value in masters.state_dict().items():
        assert torch.equal(resumed_masters.state_dict()[name], value), name


def test_a_state_of_another_model_is_refused_with_nothing_changed() -> None:
    model = a_model()
    masters = MasterWeights(model, torch.bfloat16)
    before = {name: value.clone() for name, value in masters.state_dict().items()}
    absent = {name: value + 1 for name, value in before.items() if name != "head.bias"}
    for wrong in (absent, {**before, "head.bias": torch.zeros(6)}, {**before, "surplus": torch.zeros(1)}):
        with pytest.raises(RuntimeError, match=r"1 tensors are .* the first (head\.bias|surplus)"):
            masters.load_state_dict(wrong)
    for name, value in masters.state_dict().items():
        assert torch.equal(value, before[name])
