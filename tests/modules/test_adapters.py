"""Modules that replace a projection of a mixer, as PEFT makes them: the result is that of the merged weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.models.networks import build_model

PROJECTIONS = ("in_proj", "x_proj", "x_proj_b", "dt_proj", "dt_proj_b", "out_proj")


class Adapter(nn.Module):
    """Adds `change` to the weight of a linear layer, which it holds; `weight` and `bias` are those of that layer."""

    def __init__(self, layer: nn.Linear, change: Tensor) -> None:
        super().__init__()
        self.layer, self.change = layer, change

    @property
    def weight(self) -> Tensor:
        return self.layer.weight

    @property
    def bias(self) -> Tensor | None:
        return self.layer.bias

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + nn.functional.linear(x, self.change)


@pytest.mark.parametrize("projection", PROJECTIONS)
@torch.no_grad()
def test_each_projection(projection: str) -> None:
    network, merged = build_model().eval(), build_model().eval()
    generator = torch.Generator().manual_seed(2)
    video = torch.randn(2, 3, 4, 32, 32, generator=generator)
    plain = network(video)
    mixer = network.layers[0].mixer
    layer = getattr(mixer, projection)
    change = 0.5 * torch.randn(layer.weight.shape, generator=generator)
    setattr(mixer, projection, Adapter(layer, change))
    getattr(merged.layers[0].mixer, projection).weight += change
    changed = network(video)
    assert (changed - plain).abs().max() > 1e-3 * plain.abs().max()
    torch.testing.assert_close(changed, merged(video), rtol=1e-3, atol=1e-3)


def test_one_of_a_convolution_is_refused() -> None:
    network = build_model()
    network.layers[0].mixer.conv1d = nn.Sequential(network.layers[0].mixer.conv1d)
    with pytest.raises(ValueError, match="an adapter of conv1d would have no effect"):
        network(torch.randn(1, 3, 4, 32, 32))
