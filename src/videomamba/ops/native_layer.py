"""One layer, norm and B-Mamba mixer and residual sum, as one inference pass over blocks of tokens, on the native kernels.

The modular form holds the expanded tensors of all tokens: (b, l, 2e) projected, (b, l, e) convolved, delta, scanned. Here
a block of tokens goes through norm, projections, conv and scan while it is in the cache, and the states of scan and
convolution are carried to the next block. The backward direction walks first, from the end; its ungated result is the
only (b, l, e) of all tokens. The forward direction adds it, applies the gate once, projects back and adds the residual.

Both walks need x, the scanned half of in_proj. The memory of the layer's output, which the forward walk writes, and
`SPARE_BYTES` more keep the x of as many blocks as they hold; that of the others is computed again.

Shapes: b batch, l length, s tokens of a block, d width, e inner channels, n states, r rank of delta, k taps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from videomamba.ops import native
from videomamba.ops.layout import Direction, LayerWeights
from videomamba.ops.walk import Walk, Work, blocks_of, buffers, product, within

SPARE_BYTES = 2**26
"""At most this much memory, whatever the length, is for the x of blocks that do not fit in the output."""


def layer(
    residual: Tensor, weights: LayerWeights, *, eps: float, discretization: str, lengths: Tensor | None = None
) -> Tensor:
    """residual (b, l, d) fp32 -> (b, l, d) fp32, equal to the modular layer up to rounding, no gradient.

    Products run in the dtype of `to_x`. From token lengths[i] on entry i is padding, which changes nothing and keeps its
    residual. `native.why_not` gives the reason when it cannot be called.
    """
    batch, length, _ = residual.shape
    norm, to_x, to_z, to_out, forward, backward = weights
    channels, dtype = to_x.shape[1], to_x.dtype
    blocks = blocks_of(length, token_bytes=batch * channels * dtype.itemsize)
    memory = buffers()
    out = torch.empty_like(residual)
    room_for = min(SPARE_BYTES // dtype.itemsize, batch * length * channels)
    kept = _rooms(out, blocks, channels, dtype, spare=memory.get("spare", (room_for,), like=to_x))
    ungated = memory.get("ungated", (batch, length, channels), like=to_x)

    def start(direction: Direction, *, reverse: bool) -> Walk:
        return Walk(native, direction, reverse=reverse, discretization=discretization, lengths=lengths)

    def enter(block: slice) -> Work:  # norm; 0 at padding, so that x and z are
        work = memory.work(batch, block.stop - block.start, weights)
        native.norm(residual[:, block], norm, eps=eps, out=work.normed, lengths=within(lengths, block))
        return work

    walk = start(backward, reverse=True)
    for block, room in zip(reversed(blocks), reversed(kept), strict=True):
        work = enter(block)
        x = product(work.normed, to_x, out=work.x if room is None else room)
        walk.step(block, work, x, z=None, other=None, out=ungated[:, block])

    walk = start(forward, reverse=False)
    for block, room in zip(blocks, kept, strict=True):
        work = enter(block)
        x = product(work.normed, to_x, out=work.x) if room is None else room
        z = product(work.normed, to_z, out=work.z)
        gated = ungated[:, block]  # read as the other direction and overwritten by the sum, token by token
        walk.step(block, work, x, z=z, other=gated, out=gated)
        torch.add(residual[:, block], product(gated, to_out, out=work.hidden), out=out[:, block])
    return out


def _rooms(
    out: Tensor, blocks: list[slice], channels: int, dtype: torch.dtype, *, spare: Tensor
) -> list[Tensor | None]:
    """For each block a (b, s, e) of `dtype` that is not overwritten before the forward walk has left the block, or None.

    Rooms are taken from the end of the output; that of a block may begin where the block's own output does. Blocks without
    room there take parts of `spare`, (values,), while it lasts.
    """
    batch, _, dim = out.shape
    memory = out.view(dtype).flatten(1)  # (b, values)
    per_token = dim * out.element_size() // dtype.itemsize
    end, rooms = memory.shape[1], list[Tensor | None]()
    for block in reversed(blocks):
        tokens = block.stop - block.start
        begin, size = end - tokens * channels, batch * tokens * channels
        if begin >= block.start * per_token:
            rooms.append(memory[:, begin:end].view(batch, tokens, channels))
            end = begin
        elif size <= len(spare):
            rooms.append(spare[:size].view(batch, tokens, channels))
            spare = spare[size:]
        else:
            rooms.append(None)
    return rooms[::-1]
