"""One direction of a layer walking through the sequence, block by block, and the memory that it works in.

The states of scan and convolution are carried from block to block, so every block costs the same and only tensors of one
block exist. `native_layer` builds a layer from two walks, `halves` a layer whose two walks are separate.

A backend for walks has `norm`, `conv` and `scan` that write into `out`, and its scan adds the ungated result of another
scan before the gate (`other`): "native" and "chunked".

Shapes: b batch, l length, s tokens of a block, d width, e inner channels, n states, r rank of delta, k taps.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor

from videomamba.ops.layout import ConvFlags, Direction, LayerWeights, ScanFlags, ScanInputs, WalkState

BLOCK_BYTES = 5 * 2**19
"""Of one (b, s, e) tensor of a block; four are in use at once: small enough for the cache, large enough for the calls."""
MOST_WORKS = 64
"""Block lengths for which the tensors of a block are remembered."""
KEPT_BYTES = 2**26
"""Most bytes of buffers that a thread keeps when a network is done."""


class Work(NamedTuple):
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


class Buffers:
    """Memory by name. New memory is expensive: the system provides it page by page, zeroed."""

    def __init__(self) -> None:
        self._held: dict[str, Tensor] = {}
        self._works: dict[tuple[object, ...], Work] = {}

    def get(self, name: str, shape: tuple[int, ...], *, like: Tensor) -> Tensor:
        """A tensor of any content, with dtype and device of `like`, in the memory of the last one of this name."""
        size, held = math.prod(shape), self._held.get(name)
        with torch.inference_mode(False):  # a tensor made in that mode cannot be written to outside it
            if held is None or (held.dtype, held.device) != (like.dtype, like.device) or held.numel() < size:
                held = self._held[name] = torch.empty(size, dtype=like.dtype, device=like.device)
                self._works.clear()
            return held[:size].view(shape)

    def work(self, batch: int, tokens: int, weights: LayerWeights) -> Work:
        """The tensors of a block of `tokens`; blocks of all lengths and both directions have the same memory."""
        to_x, direction = weights.to_x, weights.forward
        (dim, channels), width = to_x.shape, direction.to_projected.shape[1]
        rank, states = direction.to_delta.shape[0], direction.A.shape[1]
        key = (batch, tokens, dim, channels, width, rank, states, to_x.dtype, to_x.device)
        if key not in self._works:
            if len(self._works) >= MOST_WORKS:
                self._works.clear()

            def tensor(name: str, width: int) -> Tensor:
                return self.get(name, (batch, tokens, width), like=to_x)

            with torch.inference_mode(False):
                projected = tensor("projected", width)
                work = Work(
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
    kept: Buffers | None = None  # between networks
    shared: Buffers | None = None  # between the layers of the one that runs


_thread = _Thread()


def buffers() -> Buffers:
    """Those of the open context, else new ones."""
    return _thread.shared or Buffers()


@contextlib.contextmanager
def reused_buffers() -> Iterator[None]:
    """Within the context the layers of a network share memory; up to `KEPT_BYTES` are kept for the thread's next network."""
    before = _thread.shared
    _thread.shared = before or _thread.kept or Buffers()
    try:
        yield
    finally:
        _thread.kept = _thread.shared if _thread.shared.size() <= KEPT_BYTES else None
        _thread.shared = before


def blocks_of(length: int, *, token_bytes: int) -> list[slice]:
    """The fewest blocks within BLOCK_BYTES, as equal as possible; `token_bytes` are those of a token of (b, s, e)."""
    most = max(BLOCK_BYTES // token_bytes, 1)
    size = -(-length // -(-length // most))
    return [slice(i, min(i + size, length)) for i in range(0, length, size)]


def within(lengths: Tensor | None, block: slice) -> Tensor | None:
    """The number of tokens of each entry in the block."""
    return None if lengths is None else (lengths - block.start).clamp(0, block.stop - block.start)


def prepare_direction(
    conv: Tensor, conv_bias: Tensor, x_proj: Tensor, dt_proj: Tensor, A: Tensor, D: Tensor, dt_bias: Tensor
) -> Direction:
    """From the parameters, x_proj (r + 2n, e) and dt_proj (e, r); all others become fp32.

    In fp32 x_proj gets outputs of 0 up to whole vectors: MKL takes a quarter less time for 48 than for 44. oneDNN, in bf16,
    does not.
    """
    missing = -len(x_proj) % 16 if x_proj.dtype == torch.float32 else 0
    padded = torch.cat((x_proj, x_proj.new_zeros(missing, x_proj.shape[1]))) if missing else x_proj
    return Direction(conv.float(), conv_bias.float(), padded.t(), dt_proj.t(), A, D.float(), dt_bias.float())


def prepare_layer(
    norm: Tensor, in_proj: Tensor, out_proj: Tensor, forward: Direction, backward: Direction, *, merge: str
) -> LayerWeights:
    """norm (d,), in_proj (2e, d), out_proj (d, e) and the directions, whose results are summed or, by `merge`, averaged."""
    channels = out_proj.shape[1]
    to_out = out_proj.t()
    if merge == "mean":
        to_out = 0.5 * to_out  # exact: a power of two
    return LayerWeights(norm.float(), in_proj[:channels].t(), in_proj[channels:].t(), to_out, forward, backward)


def product(x: Tensor, weight: Tensor, *, out: Tensor) -> Tensor:
    """x (b, s, i), weight (i, o) -> out (b, s, o), whose entries need not be contiguous."""
    if out.is_contiguous():
        torch.mm(x.flatten(0, 1), weight, out=out.flatten(0, 1))
    else:
        for rows, entry in zip(x, out, strict=True):
            torch.mm(rows, weight, out=entry)
    return out


class Walk:
    """One direction walking through the sequence. `state` is that after the blocks so far; it may be set."""

    def __init__(
        self,
        kernels: ModuleType,
        weights: Direction,
        *,
        reverse: bool,
        discretization: str,
        lengths: Tensor | None = None,
    ) -> None:
        self.kernels, self.weights, self.reverse, self.lengths = kernels, weights, reverse, lengths
        self.scan_flags = ScanFlags(True, reverse, discretization, save_states=False)
        self.conv_flags = ConvFlags("silu", reverse)
        self.state = WalkState()

    def step(self, block: slice, work: Work, x: Tensor, *, z: Tensor | None, other: Tensor | None, out: Tensor) -> None:
        """x (b, s, e) -> out (b, s, e): scan of this block, with `other` added and the gate of `z` where given."""
        w, (state, border), lengths = self.weights, self.state, within(self.lengths, block)
        self.kernels.conv(x, w.conv, w.conv_bias, border, self.conv_flags, out=work.u, lengths=lengths)
        border = self._border_after(x)
        product(work.u, w.to_projected, out=work.projected)
        product(work.dt, w.to_delta, out=work.delta)
        inputs = ScanInputs(work.u, work.delta, w.A, work.B, work.C, w.D, z, w.dt_bias, state)
        scanned = self.kernels.scan(inputs, self.scan_flags, out=out, other=other, lengths=lengths)
        self.state = WalkState(scanned.final_state, border)

    def _border_after(self, x: Tensor) -> Tensor:
        outside = self.weights.conv.shape[1] - 1
        if x.shape[1] < outside:
            before = self.state.border
            before = x.new_zeros(x.shape[0], outside, x.shape[2]) if before is None else before
            x = torch.cat((x, before) if self.reverse else (before, x), dim=1)
        # A copy: the memory of x is reused.
        return (x[:, :outside] if self.reverse else x[:, x.shape[1] - outside :]).clone()
