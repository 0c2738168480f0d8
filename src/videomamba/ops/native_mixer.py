"""The whole B-Mamba mixer as one inference pass over blocks of tokens, on the native kernels.

The modular form of the mixer holds the expanded tensors of all tokens: (b, l, 2e) projected, (b, l, e) convolved, delta,
scanned. Here a block of tokens goes through conv, projections and scan while it is in the cache, and the states of scan
and convolution are carried to the next block. The backward direction runs first, from the end; its ungated result is
the only (b, l, e) that is kept. The forward direction adds it, applies the gate once and projects back.

Shapes: b batch, l length, s tokens of a block, d width, e inner channels, n states, r rank of delta, k taps.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from videomamba.ops import native
from videomamba.ops.layout import ConvFlags, Direction, MixerWeights, ScanFlags, ScanInputs

BLOCK_TOKENS = 512
"""Tokens of a block. Its tensors together stay in the second-level caches; larger blocks amortise the calls better."""


def mixer(tokens: Tensor, weights: MixerWeights, *, merge: str, discretization: str) -> Tensor:
    """(b, l, d) -> (b, l, d), equal to the modular mixer up to rounding. Products run in the dtype of `in_proj`.

    No gradient. CPU only; `native.why_not` says whether it can be called.
    """
    batch, length, _ = tokens.shape
    channels = weights.out_proj.shape[1]
    dtype = weights.in_proj.dtype
    to_x, to_z = weights.in_proj[:channels], weights.in_proj[channels:]
    blocks = [slice(i, min(i + BLOCK_TOKENS, length)) for i in range(0, length, BLOCK_TOKENS)]

    ungated = torch.empty(batch, length, channels, dtype=dtype)
    walk = _Walk(weights.backward, reverse=True, discretization=discretization)
    for block in reversed(blocks):
        walk.step(F.linear(tokens[:, block].to(dtype), to_x), z=None, other=None, out=ungated[:, block])

    out = torch.empty(batch, length, weights.out_proj.shape[0], dtype=dtype)
    walk = _Walk(weights.forward, reverse=False, discretization=discretization)
    for block in blocks:
        part = tokens[:, block].to(dtype)
        gated = ungated[:, block]  # read as the other direction and overwritten by the sum, token by token
        walk.step(F.linear(part, to_x), z=F.linear(part, to_z), other=gated, out=gated)
        out[:, block] = F.linear(gated, weights.out_proj)
    return out.mul_(0.5) if merge == "mean" else out


class _Walk:
    """One direction on its way through the sequence: the states of its scan and of its convolution."""

    def __init__(self, weights: Direction, *, reverse: bool, discretization: str) -> None:
        self.weights, self.reverse = weights, reverse
        self.scan_flags = ScanFlags(True, reverse, discretization, save_states=False)
        self.conv_flags = ConvFlags("silu", reverse)
        self.state: Tensor | None = None  # (b, e, n)
        self.border: Tensor | None = None  # (b, k - 1, e), the tokens just passed, in sequence order

    def step(self, x: Tensor, *, z: Tensor | None, other: Tensor | None, out: Tensor) -> None:
        """x (b, s, e) -> out (b, s, e): scan of this block, with `other` added and the gate of `z` where given."""
        w = self.weights
        u = native.conv(x, w.conv, w.conv_bias, self.border, self.conv_flags)
        self.border = self._border_after(x)
        states = w.A.shape[1]
        dt, B, C = F.linear(u, w.x_proj).split([w.dt_proj.shape[1], states, states], dim=-1)  # type: ignore[no-untyped-call]
        delta = F.linear(dt, w.dt_proj)
        inputs = ScanInputs(u, delta, w.A, B, C, w.D, z, w.dt_bias, self.state)
        self.state = native.scan(inputs, self.scan_flags, out=out, other=other).final_state

    def _border_after(self, x: Tensor) -> Tensor:
        outside = self.weights.conv.shape[1] - 1
        if x.shape[1] >= outside:
            return x[:, :outside] if self.reverse else x[:, x.shape[1] - outside :]
        before = x.new_zeros(x.shape[0], outside, x.shape[2]) if self.border is None else self.border
        known = torch.cat((x, before) if self.reverse else (before, x), dim=1)
        return known[:, :outside] if self.reverse else known[:, known.shape[1] - outside :]
