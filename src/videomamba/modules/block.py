"""One layer of the stack: normalise, mix, add. There is no MLP."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videomamba.modules.mixer import BiMamba
from videomamba.modules.prepared import PreparingModule
from videomamba.modules.scan_order import Order, reordered
from videomamba.ops import dispatch
from videomamba.ops.layout import LayerCall, LayerWeights


class RMSNorm(nn.Module):
    """x / rms(x) * weight over the last dimension, statistics in fp32, result in fp32. Source: arXiv 1910.07467."""

    def __init__(self, dim: int, *, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), (x.shape[-1],), self.weight.float(), self.eps)


def drop_path(x: Tensor, rate: float) -> Tensor:
    """Zeroes whole samples with probability `rate` and scales the kept ones by 1 / (1 - rate). Source: arXiv 1603.09382.

    The mask is drawn in fp32: drawn in bf16, as the original does, the probability is quantised.
    """
    keep = torch.rand(x.shape[0], *[1] * (x.ndim - 1), device=x.device) >= rate
    return x * (keep / (1 - rate)).to(x.dtype)


class Block(PreparingModule[LayerWeights]):
    """residual (b, l, d) fp32 -> residual + drop_path(mixer(norm(residual))).

    `orders` are its scan orders, None for the order of the tokens; the results of several are averaged, so that nothing
    changes on a single frame, where all orders agree.
    """

    def __init__(self, mixer: BiMamba, *, dim: int, norm_eps: float, drop_path_rate: float) -> None:
        super().__init__()
        self.drop_path_rate = drop_path_rate
        self.mixer = mixer
        self.norm = RMSNorm(dim, eps=norm_eps)

    def forward(self, residual: Tensor, orders: tuple[Order, ...] = (None,), lengths: Tensor | None = None) -> Tensor:
        """From token lengths[i] on, `lengths` (b,) int64, entry i is padding in every order and keeps its residual.

        At inference on a CPU one op computes the same over blocks of tokens.
        """
        if self._fuses(residual, lengths):
            return _mean([reordered(residual, order, partial(self._fused, lengths=lengths)) for order in orders])
        x = self.norm(residual)
        hidden = _mean([reordered(x, order, partial(self.mixer, lengths=lengths)) for order in orders])
        if self.training and self.drop_path_rate > 0:
            hidden = drop_path(hidden, self.drop_path_rate)
        return residual + hidden

    @torch.no_grad()
    def halves(self, *, reverse: bool) -> tuple[dispatch.FirstHalf, dispatch.SecondHalf]:
        """The two walks of this block for a stream of tokens of any length, no gradient; the first from the end if `reverse`.

        Raises ValueError for a block with adapters, hooks or active drop path, whose steps the walks do not have.
        """
        if not self._is_plain():
            raise ValueError("a block runs in halves without drop path, adapters and hooks: merge or remove these")
        call = self._call(self.norm.weight)._replace(in_halves=True)
        return dispatch.layer_halves(self._weights(), reverse=reverse, eps=self.norm.eps, call=call)

    def _is_plain(self) -> bool:
        """Whether it has no adapter, no hook and no active drop path."""
        drops = self.training and self.drop_path_rate > 0
        built = type(self.norm) is RMSNorm and type(self.mixer) is BiMamba and self.mixer.is_plain()
        watched = any(module._forward_hooks or module._forward_pre_hooks for module in self.children())
        return built and not drops and not watched

    def _fuses(self, residual: Tensor, lengths: Tensor | None) -> bool:
        return self._is_plain() and dispatch.fuses_layer(residual, self.parameters(), self._call(residual, lengths))

    def _call(self, like: Tensor, lengths: Tensor | None = None) -> LayerCall:
        mixer = self.mixer
        dtype, taps = mixer.in_proj.weight.dtype, mixer.conv1d.kernel_size[0]
        return LayerCall(
            like.device, dtype, tuple(like.shape), mixer.d_state, taps, mixer.discretization, lengths is not None
        )

    def _weights(self) -> LayerWeights:
        """The weights of the fused layer, prepared once. No gradient."""
        parameters = (self.norm.weight, *self.mixer.parameters())
        return self._prepared.get(parameters, partial(self.mixer.layer_weights, self.norm.weight))

    def _fused(self, residual: Tensor, lengths: Tensor | None) -> Tensor:
        call = self._call(residual, lengths)
        return dispatch.call_layer(residual, self._weights(), eps=self.norm.eps, lengths=lengths, call=call)


def _mean(results: list[Tensor]) -> Tensor:
    return results[0] if len(results) == 1 else torch.stack(results).mean(dim=0)
