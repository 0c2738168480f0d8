"""The attention that is hidden in the selective scans of a network, and how much of a class came through each patch.

Every scan is a product of a matrix alpha (l, l) for each channel with its inputs u (Ali, Zimerman, Wolf, The Hidden Attention
of Mamba Models, arXiv 2403.01590). As in its section on attribution, they are weighted with the gradient of the class, and only
what is positive counts. Unlike there, no matrix is built: only their product with the gradient is computed, by a scan in the
other direction (`BiMamba.hidden_attention`), so the cost of a layer is linear in the number of tokens.

Shapes: b clips, l tokens, e channels of a scan, T, H, W patches along time, height and width.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videomamba.models.videomamba import VideoMamba
from videomamba.modules.block import Block
from videomamba.modules.mixer import BiMamba

Layers = Literal["mean", "rollout"]


class _Call(NamedTuple):
    """One call of the mixer of a layer: its tokens (b, l, d), normalised, in scan order, and its gated outputs (b, l, e)."""

    layer: int
    mixer: BiMamba
    tokens: Tensor
    gated: Tensor
    temporal: bool


def class_relevance(model: VideoMamba, video: Tensor, classes: Tensor, *, layers: Layers = "mean") -> Tensor:
    """(b, 3, t, h, w) normalised, and `classes` (b,) int64 -> (b, T, H, W) fp32: the relevance of each patch for its class.

    "mean": in each layer and direction, the relevance of token s is

        sum_e max(u_s sum_t alpha[t, s] silu(z_t) d logit / d y_t, 0),

    what the inputs u_s of token s gave to the logit through the scans of this layer, at first order; y is what the output
    projection reads. Channels that speak against the class do not count. The result is the mean over layers.

    "rollout" (Abnar, Zuidema, arXiv 2005.00928) looks at no class: from the tokens that the head reads (class token, or all
    patches) it follows the absolute values of alpha, mean over channels, back through all layers, where a residual connection
    counts as much as the mixer.

    The model must be in evaluation mode, and no other thread may call it meanwhile. Its parameters get no gradient.
    """
    with torch.enable_grad(), _recorded(model) as calls:
        pixels = video.detach().requires_grad_()
        logits = model(pixels)
        chosen = logits.gather(1, classes.to(logits.device)[:, None]).sum()
        gradients = torch.autograd.grad(chosen, [call.gated for call in calls])
    found = _rolled_out(model, calls) if layers == "rollout" else _weighted(model, calls, gradients)
    return model.layout.patches(found.unsqueeze(-1)).reshape(-1, *model.config.grid)


def _weighted(model: VideoMamba, calls: list[_Call], gradients: tuple[Tensor, ...]) -> Tensor:
    """(b, l): the mean of all layers, in the order of `embed`. Two orders of a layer add up: each has half of the gradient."""
    total = torch.zeros(calls[0].tokens.shape[:2], device=calls[0].tokens.device)
    for call, gradient in zip(calls, gradients, strict=True):
        mixer, tokens = call.mixer, call.tokens.detach()
        with torch.no_grad():
            gate = F.silu(mixer.in_proj(tokens.to(mixer.in_proj.weight.dtype)).chunk(2, dim=-1)[1].float())
        outputs = gradient.float() * gate * (0.5 if mixer.merge == "mean" else 1.0)
        for reverse in (False, True):
            u, read = mixer.hidden_attention(tokens, outputs, reverse=reverse)
            total += _as_embedded(model, call, (u * read).clamp(min=0).sum(dim=-1))
    return total / model.config.depth


def _rolled_out(model: VideoMamba, calls: list[_Call]) -> Tensor:
    """(b, l): what the head's tokens read through all layers, in the order of `embed`."""
    batch, length, _ = calls[0].tokens.shape
    reads = torch.ones(batch, length, device=calls[0].tokens.device)
    if model.config.pool == "cls":
        reads[:, 1:] = 0
    else:
        reads[:, list(model.layout.special)] = 0
    for layer in reversed(range(model.config.depth)):
        read = torch.zeros_like(reads)
        for call in (call for call in calls if call.layer == layer):
            outputs = _as_scanned(model, call, reads)[..., None].expand(-1, -1, call.mixer.inner_dim).contiguous()
            for reverse in (False, True):
                _, through = call.mixer.hidden_attention(call.tokens.detach(), outputs, reverse=reverse)
                read += _as_embedded(model, call, through.abs().mean(dim=-1))
        reads = reads / reads.sum(dim=1, keepdim=True) + read / read.sum(dim=1, keepdim=True)
    return reads


@contextmanager
def _recorded(model: VideoMamba) -> Iterator[list[_Call]]:
    """Within the context, the calls of all mixers of `model`, in order."""
    calls: list[_Call] = []
    tokens: list[Tensor] = []

    def enters(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        tokens.append(inputs[0])

    def leaves(layer: int, mixer: BiMamba, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        again = bool(calls) and calls[-1].layer == layer  # the second order of a `spatiotemporal_v2` layer
        calls.append(_Call(layer, mixer, tokens.pop(), inputs[0], again or layer >= model.config.temporal_from))

    hooks = []
    for layer, block in enumerate(model.layers):
        assert isinstance(block, Block)
        hooks.append(block.mixer.register_forward_pre_hook(enters))
        hooks.append(block.mixer.out_proj.register_forward_pre_hook(partial(leaves, layer, block.mixer)))
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


def _as_scanned(model: VideoMamba, call: _Call, x: Tensor) -> Tensor:
    """x (b, l), in the order of `embed`, in that of the call."""
    return x[:, model.layout.temporal_order()[0].to(x.device)] if call.temporal else x


def _as_embedded(model: VideoMamba, call: _Call, x: Tensor) -> Tensor:
    """x (b, l), in the order of the call, in that of `embed`."""
    return x[:, model.layout.temporal_order()[1].to(x.device)] if call.temporal else x
