"""The bidirectional Mamba block (B-Mamba) that replaces self-attention: paper, section 3.1 and figure 2.

Shapes: b batch, l length, d width, e = expand * d inner channels, n states per channel, r rank of delta, k taps.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videomamba import ops
from videomamba.modules.prepared import PreparingModule
from videomamba.ops import dispatch
from videomamba.ops.layout import Direction, LayerWeights, clear_padding


class BiMamba(PreparingModule[tuple[Tensor, Tensor]]):
    """Two selective scans of one projected sequence, one from each end, gated, joined and projected back.

    Parameter names are those of the released weights: the suffix `_b` marks the backward direction.
    """

    def __init__(
        self,
        *,
        dim: int,
        inner_dim: int,
        d_state: int,
        d_conv: int,
        dt_rank: int,
        merge: Literal["sum", "mean"] = "sum",
        discretization: Literal["euler", "zoh"] = "euler",
    ) -> None:
        super().__init__()
        self.inner_dim, self.d_state, self.dt_rank = inner_dim, d_state, dt_rank
        self.merge, self.discretization = merge, discretization
        self.A_log = nn.Parameter(torch.empty(inner_dim, d_state))
        self.D = nn.Parameter(torch.empty(inner_dim))
        self.A_b_log = nn.Parameter(torch.empty(inner_dim, d_state))
        self.D_b = nn.Parameter(torch.empty(inner_dim))
        self.in_proj = nn.Linear(dim, 2 * inner_dim, bias=False)
        self.conv1d = nn.Conv1d(inner_dim, inner_dim, d_conv, groups=inner_dim)
        self.x_proj = nn.Linear(inner_dim, dt_rank + 2 * d_state, bias=False)
        self.dt_proj = nn.Linear(dt_rank, inner_dim)
        self.conv1d_b = nn.Conv1d(inner_dim, inner_dim, d_conv, groups=inner_dim)
        self.x_proj_b = nn.Linear(inner_dim, dt_rank + 2 * d_state, bias=False)
        self.dt_proj_b = nn.Linear(dt_rank, inner_dim)
        self.out_proj = nn.Linear(inner_dim, dim, bias=False)

    def forward(self, tokens: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(b, l, d) -> (b, l, d). From token lengths[i] on, `lengths` (b,) int64, entry i is padding; the result there is 0."""
        tokens = clear_padding(tokens, lengths)  # in_proj has no bias: x and z are 0 at padding too
        x, z = self.in_proj(tokens.to(self.in_proj.weight.dtype)).chunk(2, dim=-1)  # (b, l, e) each
        A, A_b = self.decay_rates()
        forward = self.conv1d, self.x_proj, self.dt_proj, A, self.D
        backward = self.conv1d_b, self.x_proj_b, self.dt_proj_b, A_b, self.D_b
        y = self._direction(x, z, *forward, lengths=lengths, reverse=False)
        y = y + self._direction(x, z, *backward, lengths=lengths, reverse=True)
        if self.merge == "mean":
            y = 0.5 * y
        projected: Tensor = self.out_proj(y)
        return projected

    def is_plain(self) -> bool:
        """Whether no adapter replaces a projection and none has a hook."""
        return all(
            type(module) in (nn.Linear, nn.Conv1d) and not module._forward_hooks and not module._forward_pre_hooks
            for module in self.children()
        )

    def decay_rates(self) -> tuple[Tensor, Tensor]:
        """A = -exp(A_log) of both directions, (e, n) fp32, computed once where no gradient is needed."""
        logs = (self.A_log, self.A_b_log)

        def make() -> tuple[Tensor, Tensor]:
            return -torch.exp(self.A_log.float()), -torch.exp(self.A_b_log.float())

        needed = torch.is_grad_enabled() and any(log.requires_grad for log in logs)
        return make() if needed or torch.compiler.is_compiling() else self._prepared.get(logs, make)

    def layer_weights(self, norm: Tensor) -> LayerWeights:
        """The weights of the fused layer: `norm` (d,) and those of this mixer. No gradient."""

        def direction(conv: nn.Conv1d, x_proj: nn.Linear, dt_proj: nn.Linear, A: Tensor, D: Tensor) -> Direction:
            assert conv.bias is not None
            taps = conv.weight.squeeze(1)
            return dispatch.prepare_direction(taps, conv.bias, x_proj.weight, dt_proj.weight, A, D, dt_proj.bias)

        A, A_b = self.decay_rates()
        return dispatch.prepare_layer(
            norm,
            self.in_proj.weight,
            self.out_proj.weight,
            direction(self.conv1d, self.x_proj, self.dt_proj, A, self.D),
            direction(self.conv1d_b, self.x_proj_b, self.dt_proj_b, A_b, self.D_b),
            merge=self.merge,
        )

    def class_attention(self, tokens: Tensor) -> Tensor:
        """(b, l, d), normalised, in scan order and without padding -> (b, l) fp32: how much the first token reads of each.

        That is row 0 of the backward scan's `hidden_attention`, the mean of its absolute values over channels. The gate, which
        is the same for a whole row, is not part of it; neither is the forward scan, in which token 0 reads only itself. An
        empty batch has a result without rows.
        """
        batch, length, _ = tokens.shape
        if not batch:
            return tokens.new_zeros(batch, length, dtype=torch.float32)
        first = torch.zeros(batch, length, self.inner_dim, device=tokens.device)
        first[:, 0] = 1
        _, row = self.hidden_attention(tokens, first, reverse=True)
        return row.abs().mean(dim=-1)

    def hidden_attention(self, tokens: Tensor, outputs: Tensor, *, reverse: bool) -> tuple[Tensor, Tensor]:
        """The inputs u (b, l, e) of one scan, and how much `outputs` read of each of them, (b, l, e), both fp32.

        tokens: (b, l, d), normalised, in scan order and without padding, at least one clip. outputs: (b, l, e), a weight for
        each output of the scan, before its gate.

        A scan is a product of a matrix alpha (l, l) for each channel with its inputs, as attention is ("The Hidden Attention of
        Mamba", arXiv 2403.01590). The result is sum_t outputs[t] alpha[t, s], where, for the scan from the first token on,

            alpha[t, s] = d y[t] / d u[s] = C_t exp((delta_{s+1} + ... + delta_t) A) phi(delta_s, A) B_s

        with delta, B and C held fixed: the backward pass of the scan, so that no matrix is built. D is not part of it. u_s has
        been through the convolution: it contains token s and the K - 1 before it, with `reverse` those after it. No gradient.
        """
        conv, x_proj, dt_proj = (
            (self.conv1d_b, self.x_proj_b, self.dt_proj_b) if reverse else (self.conv1d, self.x_proj, self.dt_proj)
        )
        with torch.no_grad():
            x, _ = self.in_proj(tokens.to(self.in_proj.weight.dtype)).chunk(2, dim=-1)
            found = self._scan_inputs(x, conv, x_proj, dt_proj, lengths=None, reverse=reverse)
            u, delta, B, C = (part.float() for part in found[:4])
            A = self.decay_rates()[reverse]
            bias = None if found[4] is None else found[4].detach()
        with torch.enable_grad():
            u.requires_grad_()
            inputs = u, delta, A, B, C, None, None, bias
            y = ops.selective_scan(*inputs, reverse=reverse, discretization=self.discretization)
        assert isinstance(y, Tensor)
        (read,) = torch.autograd.grad(y, u, outputs.float())
        return u.detach(), read

    def _direction(
        self,
        x: Tensor,
        z: Tensor,
        conv: nn.Conv1d,
        x_proj: nn.Linear,
        dt_proj: nn.Linear,
        A: Tensor,
        D: Tensor,
        *,
        lengths: Tensor | None,
        reverse: bool,
    ) -> Tensor:
        """One scan: x, z (b, l, e) -> gated (b, l, e)."""
        u, delta, B, C, bias = self._scan_inputs(x, conv, x_proj, dt_proj, lengths=lengths, reverse=reverse)
        inputs = u, delta, A, B, C, D, z, bias
        out = ops.selective_scan(*inputs, reverse=reverse, discretization=self.discretization, lengths=lengths)
        assert isinstance(out, Tensor)
        return out

    def _scan_inputs(
        self,
        x: Tensor,
        conv: nn.Module,
        x_proj: nn.Module,
        dt_proj: nn.Module,
        *,
        lengths: Tensor | None,
        reverse: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
        """x (b, l, e) -> u, delta (b, l, e), B, C (b, l, n), and the bias of delta (e,), None where delta contains it.

        Raises ValueError for a convolution that an adapter replaces: the operator reads its taps alone.
        """
        if not isinstance(conv, nn.Conv1d):
            raise ValueError("an adapter of conv1d would have no effect: adapt in_proj, x_proj, dt_proj or out_proj")
        u = ops.causal_conv1d(x, conv.weight.squeeze(1), conv.bias, reverse=reverse, lengths=lengths)
        dt, B, C = x_proj(u).split([self.dt_rank, self.d_state, self.d_state], dim=-1)
        if isinstance(dt_proj, nn.Linear):
            delta, bias = F.linear(dt, dt_proj.weight), dt_proj.bias  # the bias enters inside the scan, in fp32
        else:  # an adapter, whose weight alone would be that without it
            delta, bias = dt_proj(dt), None
        return u.to(delta.dtype), delta, B, C, bias
