"""The relevance of patches through the hidden attention of a network, against the mixers called one by one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.models.networks import build_model
from videomamba.models.hidden_attention import class_relevance
from videomamba.models.videomamba import VideoMamba
from videomamba.modules.block import Block

SMALL = {"depth": 1, "dim": 16, "num_frames": 4, "image_size": (32, 48), "num_classes": 3}


def video(frames: int = 4) -> Tensor:
    return torch.randn(2, 3, frames, 32, 48, generator=torch.Generator().manual_seed(1))


def first_block(model: VideoMamba) -> Block:
    block = model.layers[0]
    assert isinstance(block, Block)
    return block


def by_hand(model: VideoMamba, clip: Tensor, classes: Tensor) -> Tensor:
    """That of a network of one layer that scans temporal-first."""
    (order, inverse), block = model.layout.temporal_order(), first_block(model)
    mixer = block.mixer
    tokens = block.norm(model.embed(clip)[:, order]).detach()
    gated: list[Tensor] = []
    hook = mixer.out_proj.register_forward_pre_hook(lambda _, inputs: gated.append(inputs[0]))
    logits = model(clip.clone().requires_grad_())
    hook.remove()
    (gradient,) = torch.autograd.grad(logits[torch.arange(2), classes].sum(), gated)
    gate = torch.nn.functional.silu(mixer.in_proj(tokens)[..., mixer.inner_dim :]).detach()
    both = [mixer.hidden_attention(tokens, gradient * gate, reverse=reverse) for reverse in (False, True)]
    relevance = sum((u * read).clamp(min=0).sum(dim=-1) for u, read in both)
    assert isinstance(relevance, Tensor)
    return relevance[:, inverse][:, 1:].view(2, *model.config.grid)


def test_every_patch_has_its_own_relevance_whatever_the_order() -> None:
    model = build_model(**SMALL, scan_order="temporal_first").eval()
    classes = torch.tensor([2, 0])
    found = class_relevance(model, video(), classes)
    assert found.shape == (2, 4, 2, 3) and found.dtype == torch.float32 and not found.requires_grad
    assert (found >= 0).all() and found.sum() > 0
    torch.testing.assert_close(found, by_hand(model, video(), classes))
    assert not torch.allclose(found, class_relevance(model, video(), torch.tensor([1, 1])))


@pytest.mark.parametrize("layers", ["mean", "rollout"])
def test_on_one_frame_all_orders_agree(layers: str) -> None:
    found = []
    for order in ("spatial_first", "temporal_first", "spatiotemporal_v2"):
        torch.manual_seed(0)
        model = build_model(**{**SMALL, "depth": 2, "num_frames": 1}, scan_order=order).eval()
        found.append(class_relevance(model, video(1), torch.tensor([0, 1]), layers=layers))
    torch.testing.assert_close(found[1], found[0])
    torch.testing.assert_close(found[2], found[0])


def test_the_rollout_of_one_layer_is_the_row_of_the_class_token() -> None:
    model = build_model(**SMALL).eval()
    found = class_relevance(model, video(), torch.tensor([0, 0]), layers="rollout").flatten(1)
    block = first_block(model)
    row = block.mixer.class_attention(block.norm(model.embed(video())))[:, 1:]
    torch.testing.assert_close(found / found.sum(1, keepdim=True), row / row.sum(1, keepdim=True))


@pytest.mark.parametrize("options", [{"num_registers": 3}, {"pool": "mean"}, {"merge": "mean"}])
def test_other_networks(options: dict[str, object]) -> None:
    model = build_model(**{**SMALL, **options}).eval()
    for layers in ("mean", "rollout"):
        found = class_relevance(model, video(), torch.tensor([0, 1]), layers=layers)
        assert found.shape == (2, 4, 2, 3) and found.isfinite().all() and found.sum() > 0


def test_the_model_is_left_as_it_was() -> None:
    model = build_model(**SMALL).eval()
    with torch.no_grad():
        class_relevance(model, video(), torch.tensor([0, 0]))
    assert first_block(model).mixer.is_plain()
    assert all(parameter.grad is None for parameter in model.parameters())
