"""A head scaled by a temperature."""

from __future__ import annotations

import pytest
import torch

from videomamba import create_model
from videomamba.models.temperature import scale_head
from videomamba.schema import VideoMambaError


def small(num_classes: int) -> torch.nn.Module:
    torch.manual_seed(0)
    model = create_model(
        "videomamba_micro", depth=1, dim=16, num_frames=2, image_size=16, num_classes=num_classes
    ).eval()
    if num_classes:
        torch.nn.init.normal_(model.head.weight)
        torch.nn.init.normal_(model.head.bias)
    return model


@torch.no_grad()
def test_the_logits_are_those_divided_by_the_temperature() -> None:
    model, video = small(5), torch.randn(3, 3, 2, 16, 16)
    before = model(video)
    scale_head(model, 2.5)
    torch.testing.assert_close(model(video), before / 2.5)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_is_a_positive_number(temperature: float) -> None:
    with pytest.raises(VideoMambaError, match="give a number above 0"):
        scale_head(small(5), temperature)


def test_a_model_without_a_head_has_no_temperature() -> None:
    with pytest.raises(VideoMambaError, match="no classification head"):
        scale_head(small(0), 2.0)
