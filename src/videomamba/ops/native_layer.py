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

import contextlib
import math
import threading
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from videomamba.ops import native
from videomamba.ops.layout import ConvFlags, Direction, LayerWeights, ScanFlags, ScanInputs

BLOCK_BYTES = 5 * 2**19
"""Of one (b, s, e) of a block, of which four are in use at once: few enough for the cache, enough to be worth the calls."""
SPARE_BYTES = 2**26
"""At most this much memory, whatever the length, is for the x of blocks that find no room in the output."""
MOST_WORKS = 64
"""Lengths of blocks, for which the tensors of a block are remembered."""
KEPT_BYTES = 2**26
"""What a thread may keep of its buffers when a network is done."""


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
    batch, length, dim = residual.shape
    mixer = weights.mixer
    channels, dtype = mixer.out_proj.shape[1], mixer.in_proj.dtype
    to_x, to_z, to_out = mixer.in_proj[:channels].t(), mixer.in_proj[channels:].t(), mixer.out_proj.t()
    if merge == "mean":
        to_out = 0.5 * to_out  # exact: a power of two
    blocks = _blocks(length, most=max(BLOCK_BYTES // (batch * channels * dtype.itemsize), 1))
    buffers = _thread.shared or _Buffers()
    out = torch.empty_like(residual)
    spare = buffers.get("spare", (min(SPARE_BYTES // dtype.itemsize, batch * length * channels),), dtype)
    kept = _rooms(out, blocks, channels, dtype, spare=spare)
    ungated = buffers.get("ungated", (batch, length, channels), dtype)

    def start(direction: Direction, *, reverse: bool) -> _Walk:
        return _Walk(direction, reverse=reverse, discretization=discretization, lengths=lengths)

    def enter(block: slice, walk: _Walk) -> _Work:  # norm; 0 at padding, so that x and z are
        work = buffers.work(batch, block.stop - block.start, dim, walk.weights, dtype)
        native.norm(residual[:, block], weights.norm, eps=eps, out=work.normed, lengths=_within(lengths, block))
        return work

    walk = start(mixer.backward, reverse=True)
    for block, room in zip(reversed(blocks), reversed(kept), strict=True):
        work = enter(block, walk)
        x = _product(work.normed, to_x, out=work.x if room is None else room)
        walk.step(block, work, x, z=None, other=None, out=ungated[:, block])

    walk = start(mixer.forward, reverse=False)
    for block, room in zip(blocks, kept, strict=True):
        work = enter(block, walk)
        x = _product(work.normed, to_x, out=work.x) if room is None else room
        z = _product(work.normed, to_z, out=work.z)
        gated = ungated[:, block]  # read as the other direction and overwritten by the sum, token by token
        walk.step(block, work, x, z=z, other=gated, out=gated)
        torch.add(residual[:, block], _product(gated, to_out, out=work.hidden), out=out[:, block])
    return out


class _Work(NamedTuple):
    """The tensors of a block of s tokens: normed, hidden (b, s, d); x, u, delta, z (b, s, e); projected (b, s, r + 2n)."""

    normed: Tensor
    x: Tensor
    u: Tensor
    projected: Tensor
    dt: Tensor  # a part of projected, (b, s, r); so are B and C, (b, s, n)
    B: Tensor
    C: Tensor
    delta: Tensor
    z: Tensor
    hidden: Tensor


class _Buffers:
    """Memory by name. Fresh memory costs more than it seems: the system hands it out page by page, zeroed."""

    def __init__(self) -> None:
        self._held: dict[str, Tensor] = {}
        self._works: dict[tuple[object, ...], _Work] = {}

    def get(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """A tensor of any content, in the memory that the last one of this name had."""
        size, held = math.prod(shape), self._held.get(name)
        with torch.inference_mode(False):  # what is made in that mode may not be written to outside it
            if held is None or held.dtype != dtype or held.numel() < size:
                held = self._held[name] = torch.empty(size, dtype=dtype, device="cpu")
                self._works.clear()
            return held[:size].view(shape)

    def work(self, batch: int, tokens: int, dim: int, weights: Direction, dtype: torch.dtype) -> _Work:
        """What a block of `tokens` needs; blocks of all lengths and both directions have the same memory."""
        channels, (rank, states) = weights.conv.shape[0], (weights.dt_proj.shape[1], weights.A.shape[1])
        key = (batch, tokens, dim, channels, rank, states, dtype)
        if key not in self._works:
            if len(self._works) >= MOST_WORKS:
                self._works.clear()

            def tensor(name: str, width: int) -> Tensor:
                return self.get(name, (batch, tokens, width), dtype)

            with torch.inference_mode(False):
                projected = tensor("projected", _whole_vectors(rank + 2 * states, dtype))
                work = _Work(
                    normed=tensor("normed", dim),
                    x=tensor("x", channels),
                    u=tensor("u", channels),
                    projected=projected,
                    dt=projected[..., :rank],
                    B=projected[..., rank : rank + states],
                    C=projected[..., rank + states : rank + 2 * states],
                    delta=tensor("delta", channels),
                    z=tensor("z", channels),
                    hidden=tensor("hidden", dim),
                )
            self._works[key] = work
        return self._works[key]

    def size(self) -> int:
        """In bytes."""
        return sum(held.numel() * held.element_size() for held in self._held.values())


class _Thread(threading.local):
    kept: _Buffers | None = None  # between networks
    shared: _Buffers | None = None  # between the layers of the one that runs


_thread = _Thread()


@contextlib.contextmanager
def reused_buffers() -> Iterator[None]:
    """Within the context the layers of a network share their memory; at most `KEPT_BYTES` wait for the thread's next one."""
    before = _thread.shared
    _thread.shared = before or _thread.kept or _Buffers()
    try:
        yield
    finally:
        _thread.kept = _thread.shared if _thread.shared.size() <= KEPT_BYTES else None
        _thread.shared = before


def _blocks(length: int, *, most: int) -> list[slice]:
    """The fewest blocks of at most `most` tokens, as equal as can be."""
    size = -(-length // -(-length // most))
    return [slice(i, min(i + size, length)) for i in range(0, length, size)]


def _within(lengths: Tensor | None, block: slice) -> Tensor | None:
    """How many tokens of the block each entry has."""
    return None if lengths is None else (lengths - block.start).clamp(0, block.stop - block.start)


def _whole_vectors(outputs: int, dtype: torch.dtype) -> int:
    """Outputs of x_proj and of the 0 behind it: MKL takes a quarter less time for 48 than for 44; oneDNN, in bf16, does not."""
    return -(-outputs // 16) * 16 if dtype == torch.float32 else outputs


def _product(x: Tensor, weight: Tensor, *, out: Tensor) -> Tensor:
    """x (b, s, i), weight (i, o) -> out (b, s, o), whose entries may lie apart."""
    if out.is_contiguous():
        torch.mm(x.flatten(0, 1), weight, out=out.flatten(0, 1))
    else:
        for rows, entry in zip(x, out, strict=True):
            torch.mm(rows, weight, out=entry)
    return out


def _rooms(
    out: Tensor, blocks: list[slice], channels: int, dtype: torch.dtype, *, spare: Tensor
) -> list[Tensor | None]:
    """For each block a (b, s, e) of `dtype` that nobody writes to before the forward walk has left the block, or None.

    Rooms are handed out from the end of the output; that of a block may begin where the block's own output does. Blocks
    that find none there share `spare`, (values,), while it lasts.
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


class _Walk:
    """One direction on its way through the sequence: the states of its scan and of its convolution."""

    def __init__(self, weights: Direction, *, reverse: bool, discretization: str, lengths: Tensor | None) -> None:
        self.weights, self.reverse, self.lengths = weights, reverse, lengths
        outputs = weights.x_proj.shape[0]
        missing = _whole_vectors(outputs, weights.x_proj.dtype) - outputs
        zeros = weights.x_proj.new_zeros(missing, weights.x_proj.shape[1])
        self.to_projected = (torch.cat((weights.x_proj, zeros)) if missing else weights.x_proj).t()
        self.to_delta = weights.dt_proj.t()
        self.scan_flags = ScanFlags(True, reverse, discretization, save_states=False)
        self.conv_flags = ConvFlags("silu", reverse)
        self.state: Tensor | None = None  # (b, e, n)
        self.border: Tensor | None = None  # (b, k - 1, e), the tokens just passed, in sequence order

    def step(
        self, block: slice, work: _Work, x: Tensor, *, z: Tensor | None, other: Tensor | None, out: Tensor
    ) -> None:
        """x (b, s, e) -> out (b, s, e): scan of this block, with `other` added and the gate of `z` where given."""
        w, lengths = self.weights, _within(self.lengths, block)
        native.conv(x, w.conv, w.conv_bias, self.border, self.conv_flags, out=work.u, lengths=lengths)
        self.border = self._border_after(x)
        _product(work.u, self.to_projected, out=work.projected)
        _product(work.dt, self.to_delta, out=work.delta)
        inputs = ScanInputs(work.u, work.delta, w.A, work.B, work.C, w.D, z, w.dt_bias, self.state)
        self.state = native.scan(inputs, self.scan_flags, out=out, other=other, lengths=lengths).final_state

    def _border_after(self, x: Tensor) -> Tensor:
        outside = self.weights.conv.shape[1] - 1
        if x.shape[1] < outside:
            before = x.new_zeros(x.shape[0], outside, x.shape[2]) if self.border is None else self.border
            x = torch.cat((x, before) if self.reverse else (before, x), dim=1)
        # A copy: x lies in memory that others are about to take.
        return (x[:, :outside] if self.reverse else x[:, x.shape[1] - outside :]).clone()
