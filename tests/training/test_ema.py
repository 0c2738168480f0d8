"""The average of the weights: its formula, its precision, and resuming."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from videomamba import create_model
from videomamba.models.precision import MasterWeights
from videomamba.schema import VideoMambaError
from videomamba.training.ema import EMA


def a_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))


@torch.no_grad()
def move(model: nn.Module) -> None:
    for parameter in model.parameters():
        parameter += torch.randn_like(parameter)


def test_the_average_follows_its_formula() -> None:
    model = a_network()
    ema = EMA(model.named_parameters(), 0.9)
    expected = {name: p.detach().double() for name, p in model.named_parameters()}
    for _ in range(5):
        move(model)
        ema.update(model.named_parameters())
        for name, parameter in model.named_parameters():
            expected[name] = 0.9 * expected[name] + 0.1 * parameter.detach().double()
    for name, average in ema.state_dict().items():
        assert average.dtype == torch.float32
        torch.testing.assert_close(average.double(), expected[name], rtol=1e-6, atol=1e-6)


def test_small_steps_add_up_over_fp32_masters_of_a_bf16_model() -> None:
    torch.manual_seed(0)
    model = create_model("videomamba_micro", depth=1, num_classes=3, num_frames=2, image_size=32)
    masters = MasterWeights(model, torch.bfloat16)
    ema = EMA(masters.named_parameters(), 0.999)
    name, weight = "layers.0.mixer.in_proj.weight", model.layers[0].mixer.in_proj.weight
    before = ema.state_dict()[name].clone()
    with torch.no_grad():
        dict(masters.named_parameters())[name].mul_(1.001)  # in bf16 most of it would be rounded away
    masters.publish()
    for _ in range(3):
        ema.update(masters.named_parameters())
    assert weight.dtype == torch.bfloat16
    torch.testing.assert_close(ema.state_dict()[name], before * (1 + 0.001 * (1 - 0.999**3)), rtol=1e-6, atol=0)


def test_a_resumed_average_goes_on_bit_for_bit() -> None:
    model = a_network()
    ema = EMA(model.named_parameters(), 0.9)
    move(model)
    ema.update(model.named_parameters())
    saved = {name: value.clone() for name, value in ema.state_dict().items()}
    resumed = EMA(a_network().named_parameters(), 0.9)
    resumed.load_state_dict(saved)
    move(model)
    for average in (ema, resumed):
        average.update(model.named_parameters())
    assert all(torch.equal(value, ema.state_dict()[name]) for name, value in resumed.state_dict().items())


def test_averages_of_another_network_are_refused_in_one_line() -> None:
    model = a_network()
    ema = EMA(model.named_parameters(), 0.9)
    before = {name: value.clone() for name, value in ema.state_dict().items()}
    for wrong in ({"0.weight": torch.zeros(4, 3)}, {**before, "1.bias": torch.zeros(3)}):
        with pytest.raises(VideoMambaError, match=r"averaged weights are not of this network.*resume") as raised:
            ema.load_state_dict(wrong)
        assert "\n" not in str(raised.value)
    assert all(torch.equal(value, before[name]) for name, value in ema.state_dict().items())
    with pytest.raises(ValueError, match=r"1\.bias: not among both"):
        ema.update([(name, p) for name, p in model.named_parameters() if name != "1.bias"])
    with pytest.raises(ValueError, match="decay"):
        EMA(model.named_parameters(), 1.0)
