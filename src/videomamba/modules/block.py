"""One layer of the stack: normalise, mix, add. There is no MLP."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videomamba.modules.mixer import BiMamba


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


class Block(nn.Module):
    """residual (b, l, d) fp32 -> residual + drop_path(mixer(norm(residual))).

    `orders` are the scan orders that the block runs, each as (order, inverse) or None for the order of the tokens;
    the results of several are averaged, so that on a single frame, where all orders agree, nothing changes.
    """

    def __init__(
        self,
        *,
        dim: int,
        inner_dim: int,
        d_state: int,
        d_conv: int,
        dt_rank: int,
        norm_eps: float,
        drop_path_rate: float,
        merge: Literal["sum", "mean"],
        discretization: Literal["euler", "zoh"],
    ) -> None:
        super().__init__()
        self.drop_path_rate = drop_path_rate
        self.mixer = BiMamba(
            dim=dim,
            inner_dim=inner_dim,
            d_state=d_state,
            d_conv=d_conv,
            dt_rank=dt_rank,
            merge=merge,
            discretization=discretization,
        )
        self.norm = RMSNorm(dim, eps=norm_eps)

    def forward(self, residual: Tensor, orders: tuple[tuple[Tensor, Tensor] | None, ...]) -> Tensor:
        x = self.norm(residual)
        mixed = [self.mixer(x) if order is None else self.mixer(x[:, order[0]])[:, order[1]] for order in orders]
        hidden = mixed[0] if len(mixed) == 1 else sum(mixed) / len(mixed)
        if self.training and self.drop_path_rate > 0:
            hidden = drop_path(hidden, self.drop_path_rate)
        joined: Tensor = residual + hidden
        return joined
