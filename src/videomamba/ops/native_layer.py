"""One layer, norm and B-Mamba mixer and residual sum, as one inference pass over blocks of tokens, on the native kernels.

The modular form holds the expanded tensors of all tokens: (b, l, 2e) projected, (b, l, e) convolved, delta, scanned. Here
a block of tokens goes through norm, projections, conv and scan while it is in the cache, and the states of scan and
convolution are carried to the next block. The backward direction walks first, from the end; its ungated result is the
only (b, l, e) of all tokens. The forward direction adds it, applies the gate once, projects back and adds the residual.

Both walks need x, the half of in_proj that is scanned. A layer's output has no values until the forward walk writes them:
its memory, and `SPARE_BYTES` beside, keep the x of as many blocks as they hold; the others' is computed again.

Shapes: b batch, l length, s tokens of a block, d width, e inner channels, n states, r rank of delta, k taps.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from videomamba.ops import native
from videomamba.ops.layout import ConvFlags, Direction, LayerWeights, ScanFlags, ScanInputs

BLOCK_TOKENS = 1024
"""Tokens of a block, over the whole batch: few enough for the cache, enough to make a call worth its overhead."""
SPARE_BYTES = 2**23
"""Memory for the x of blocks that find no room in the output, whatever the length."""


def layer(
    residual: Tensor,
    weights: LayerWeights,
    *,
    eps: float,
    merge: str,
    discretization: str,
    lengths: Tensor | None = None,
) -> Tensor:
    """residual (b, l, d) fp32 -> (b, l, d) fp32, equal to the modular layer up to rounding, no gradient.

    Products run in the dtype of `in_proj`. From token lengths[i] on entry i is padding: it changes nothing and keeps its
    residual. CPU only; `native.why_not` says whether it can be called.
    """
    batch, length, _ = residual.shape
    mixer = weights.mixer
    channels, dtype = mixer.out_proj.shape[1], mixer.in_proj.dtype
    to_x, to_z = mixer.in_proj[:channels], mixer.in_proj[channels:]
    out_proj = 0.5 * mixer.out_proj if merge == "mean" else mixer.out_proj  # exact: a power of two
    size = max(BLOCK_TOKENS // batch, 1)
    blocks = [slice(i, min(i + size, length)) for i in range(0, length, size)]

    def normed(block: slice) -> Tensor:  # (b, s, d); 0 at padding, so that x and z are
        within = _within(lengths, block)
        return native.norm(residual[:, block], weights.norm, eps=eps, dtype=dtype, lengths=within)

    out = torch.empty_like(residual)
    kept = _rooms(out, blocks, channels, dtype, spare=SPARE_BYTES)
    ungated = torch.empty(batch, length, channels, dtype=dtype)

    walk = _Walk(mixer.backward, reverse=True, discretization=discretization, lengths=lengths)
    for block, room in zip(reversed(blocks), reversed(kept), strict=True):
        x = _linear(normed(block), to_x, out=room)
        walk.step(block, x, z=None, other=None, out=ungated[:, block])

    walk = _Walk(mixer.forward, reverse=False, discretization=discretization, lengths=lengths)
    for block, room in zip(blocks, kept, strict=True):
        tokens = normed(block)
        x = F.linear(tokens, to_x) if room is None else room
        gated = ungated[:, block]  # read as the other direction and overwritten by the sum, token by token
        walk.step(block, x, z=F.linear(tokens, to_z), other=gated, out=gated)
        torch.add(residual[:, block], F.linear(gated, out_proj), out=out[:, block])
    return out


def _within(lengths: Tensor | None, block: slice) -> Tensor | None:
    """How many tokens of the block each entry has."""
    return None if lengths is None else (lengths - block.start).clamp(0, block.stop - block.start)


def _linear(x: Tensor, weight: Tensor, *, out: Tensor | None) -> Tensor:
    """x (b, s, i), weight (o, i) -> (b, s, o), in `out` where given."""
    if out is None:
        return F.linear(x, weight)
    if x.shape[0] > 1:  # `out` lies a batch entry apart, which a product does not write to
        return out.copy_(F.linear(x, weight))
    torch.mm(x[0], weight.t(), out=out[0])
    return out


def _rooms(out: Tensor, blocks: list[slice], channels: int, dtype: torch.dtype, *, spare: int) -> list[Tensor | None]:
    """For each block a (b, s, e) of `dtype` that nobody writes to before the forward walk has left the block, or None.

    Rooms are handed out from the end of the output; that of a block may begin where the block's own output does. Blocks
    that find none there get memory of their own while its bytes do not exceed `spare`.
    """
    batch, _, dim = out.shape
    memory = out.view(dtype).flatten(1)  # (b, values)
    per_token = dim * out.element_size() // dtype.itemsize
    tokens_to_spare = spare // (batch * channels * dtype.itemsize)
    end, rooms = memory.shape[1], list[Tensor | None]()
    for block in reversed(blocks):
        tokens = block.stop - block.start
        begin = end - tokens * channels
        if begin >= block.start * per_token:
            rooms.append(memory[:, begin:end].view(batch, tokens, channels))
            end = begin
        elif tokens <= tokens_to_spare:
            rooms.append(out.new_empty(batch, tokens, channels, dtype=dtype))
            tokens_to_spare -= tokens
        else:
            rooms.append(None)
    return rooms[::-1]


class _Walk:
    """One direction on its way through the sequence: the states of its scan and of its convolution."""

    def __init__(self, weights: Direction, *, reverse: bool, discretization: str, lengths: Tensor | None) -> None:
        self.weights, self.reverse, self.lengths = weights, reverse, lengths
        self.scan_flags = ScanFlags(True, reverse, discretization, save_states=False)
        self.conv_flags = ConvFlags("silu", reverse)
        self.state: Tensor | None = None  # (b, e, n)
        self.border: Tensor | None = None  # (b, k - 1, e), the tokens just passed, in sequence order

    def step(self, block: slice, x: Tensor, *, z: Tensor | None, other: Tensor | None, out: Tensor) -> None:
        """x (b, s, e) -> out (b, s, e): scan of this block, with `other` added and the gate of `z` where given."""
        w = self.weights
        lengths = _within(self.lengths, block)
        u = native.conv(x, w.conv, w.conv_bias, self.border, self.conv_flags, lengths=lengths)
        self.border = self._border_after(x)
        states = w.A.shape[1]
        dt, B, C = F.linear(u, w.x_proj).split([w.dt_proj.shape[1], states, states], dim=-1)  # type: ignore[no-untyped-call]
        delta = F.linear(dt, w.dt_proj)
        inputs = ScanInputs(u, delta, w.A, B, C, w.D, z, w.dt_bias, self.state)
        self.state = native.scan(inputs, self.scan_flags, out=out, other=other, lengths=lengths).final_state

    def _border_after(self, x: Tensor) -> Tensor:
        outside = self.weights.conv.shape[1] - 1
        if x.shape[1] < outside:
            before = x.new_zeros(x.shape[0], outside, x.shape[2]) if self.border is None else self.border
            x = torch.cat((x, before) if self.reverse else (before, x), dim=1)
        # A copy: x may lie in memory that the output is about to take.
        return (x[:, :outside] if self.reverse else x[:, x.shape[1] - outside :]).clone()
