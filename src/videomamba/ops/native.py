"""The C++ CPU kernels of csrc/: which calls they serve, and their arguments as pointers, shapes and strides.

The instruction set is chosen when the extension is loaded; VIDEOMAMBA_ISA=avx512|avx2|generic overrides it.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from videomamba.ops.layout import Call, ConvFlags, ScanFlags, ScanGrads, ScanInputs, ScanResult

kernels: Any  # the extension, or None where it is absent: `why_not` is called first
try:
    kernels = importlib.import_module("videomamba.ops._native")
except ModuleNotFoundError:
    kernels = None
    _absence = "it was not built: install a C++ compiler and reinstall videomamba"
except ImportError as error:
    kernels = None
    _absence = f"it was built but does not load ({error}): reinstall videomamba"
else:
    _isa = os.environ.get("VIDEOMAMBA_ISA", "")
    if _isa and _isa not in kernels.isas():
        _absence = f"VIDEOMAMBA_ISA={_isa} is not one of {', '.join(kernels.isas())}"
        kernels = None
    elif _isa:
        kernels.set_isa(_isa)

_DTYPES = (torch.float32, torch.bfloat16)

Rows = tuple[int, int, int]
"""Pointer, stride of the batch, stride of the length, in elements; (0, 0, 0) for an absent tensor."""


def why_not(call: Call) -> str | None:
    """None when the kernels serve `call`, else the reason. They accept any shape and every flag."""
    if call.device.type != "cpu":
        return f"it serves the CPU, not {call.device.type}"
    if call.dtype not in _DTYPES:
        return f"it serves float32 and bfloat16, not {str(call.dtype).removeprefix('torch.')}"
    if kernels is None:
        return _absence
    return None


def states_shape(shape: Sequence[int], states: int) -> tuple[int, int, int, int]:
    """(b, blocks, n, e) for u of `shape` (b, l, e): the state before each block of tokens in walking order.

    In both directions the walk of an entry skips its padding; what follows its last block is not read.
    """
    batch, length, channels = shape
    interval: int = kernels.CHECKPOINT_INTERVAL
    return batch, (length + interval - 1) // interval, states, channels


def describe() -> str:
    """One line: instruction set, threads."""
    if kernels is None:
        return f"absent: {_absence}"
    others = ", ".join(isa for isa in kernels.isas() if isa != kernels.isa())
    threads = f"OpenMP, {torch.get_num_threads()} threads" if kernels.OPENMP else "built without OpenMP: one thread"
    return f"{kernels.isa()}, {kernels.lanes()} fp32 lanes ({threads}; also runs {others or 'nothing else'})"


def _unit_stride(t: Tensor) -> Tensor:
    return t if t.stride(-1) == 1 else t.contiguous()


def _contiguous(t: Tensor | None) -> Tensor | None:
    return None if t is None else t.contiguous()


def _like(t: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Contiguous memory for a result of the shape of t, in its dtype unless another is given."""
    return torch.empty_like(t, dtype=dtype, memory_format=torch.contiguous_format)


def _floats(*shape: int) -> Tensor:
    """Memory for fp32 results, whatever PyTorch's defaults are."""
    return torch.empty(shape, dtype=torch.float32, device="cpu")


def _rows(t: Tensor | None) -> Rows:
    return (0, 0, 0) if t is None else (t.data_ptr(), t.stride(0), t.stride(1))


def _pointer(t: Tensor | None) -> int:
    return 0 if t is None else t.data_ptr()


def _prepare(inputs: ScanInputs) -> ScanInputs:
    """For the kernels: sequences with unit stride along the channels, parameters and states contiguous."""
    u, delta, A, B, C, D, z, delta_bias, initial_state = inputs
    u, delta, B, C = (_unit_stride(t) for t in (u, delta, B, C))
    D, delta_bias, initial_state = (_contiguous(t) for t in (D, delta_bias, initial_state))
    z = None if z is None else _unit_stride(z)
    return ScanInputs(u, delta, A.contiguous(), B, C, D, z, delta_bias, initial_state)


def _scan_arguments(
    inputs: ScanInputs, flags: ScanFlags, shares: tuple[int, int, int], lengths: Tensor | None
) -> tuple[object, ...]:
    """The first arguments of both scan kernels: sizes, flags, shares, and pointers of all that `_prepare` returned but the
    initial state."""
    u, delta, A, B, C, D, z, delta_bias, _ = inputs
    sizes = (*u.shape, A.shape[1])
    switches = (flags.delta_softplus, flags.reverse, flags.discretization == "zoh")
    start = (sizes, switches, u.dtype == torch.bfloat16, shares, _pointer(lengths), _rows(u), _rows(delta), _pointer(A))
    return *start, _rows(B), _rows(C), _pointer(D), _rows(z), _pointer(delta_bias)


def _parts(batch: int, units: int, threads: int) -> int:
    """The number of parts into which a batch entry of `units` is cut so that all threads have equal shares."""
    return 1 if batch % threads == 0 or batch >= 4 * threads else min(threads, units)


PIECE_TOKENS = 256
"""The shortest piece of a walk that is worth waking a thread for, a whole number of the blocks of `states_shape`."""


def _shares(batch: int, length: int, channels: int, pieces: int | None) -> tuple[int, int, int]:
    """(parts, pieces, threads): ranges of channels, and of the length, into which a scan of each batch entry is cut.

    Channels are independent, tokens are not: a walk in pieces has a first pass for the state that enters each piece, which
    costs most of a forward walk. So the length is cut only for threads that would be idle, and into at least 3 pieces: two
    would gain little. `pieces` overrides the choice.
    """
    threads = torch.get_num_threads()
    parts = _parts(batch, -(-channels // kernels.lanes()), threads)
    if pieces is None:
        pieces = min(threads // (batch * parts), length // PIECE_TOKENS)
        pieces = pieces if pieces >= 3 else 1
    return parts, pieces, threads


def scan(
    inputs: ScanInputs,
    flags: ScanFlags,
    *,
    out: Tensor | None = None,
    other: Tensor | None = None,
    lengths: Tensor | None = None,
    pieces: int | None = None,
) -> ScanResult:
    """Selective scan; the contract is `reference.scan`.

    `out` (b, l, e) takes the result; it may be part of wider rows. `other` (b, l, e), an ungated result of another
    scan, is added before the gate: out = (y + other) silu(z). Both have u's dtype and unit stride along the channels.
    `pieces` is the number of pieces of the length; None: `_shares` chooses.
    """
    inputs, lengths = _prepare(inputs), _contiguous(lengths)
    u, states = inputs.u, inputs.A.shape[1]
    batch, length, channels = u.shape
    out = _like(u) if out is None else out
    final_state = _floats(batch, channels, states)
    kept = _floats(*(states_shape(u.shape, states) if flags.save_states else (0,)))
    kernels.scan_forward(
        *_scan_arguments(inputs, flags, _shares(batch, length, channels, pieces), lengths),
        _pointer(inputs.initial_state),
        _rows(out),
        _rows(other),
        _pointer(final_state),
        _pointer(kept) if flags.save_states else 0,
    )
    return ScanResult(out, final_state, kept)


def scan_backward(
    grad_out: Tensor,
    grad_state: Tensor,
    inputs: ScanInputs,
    states: Tensor,
    flags: ScanFlags,
    *,
    lengths: Tensor | None = None,
    pieces: int | None = None,
) -> ScanGrads:
    """Gradients of `scan`; sums over channels, length, batch and threads have a fixed order: two runs agree bit for bit."""
    inputs, lengths = _prepare(inputs), _contiguous(lengths)
    u, _, A, B, C, D, z, delta_bias, initial_state = inputs
    batch, length, channels = u.shape
    n = A.shape[1]
    shares = parts, pieces, _ = _shares(batch, length, channels, pieces)
    grad_out, grad_state = _unit_stride(grad_out.to(u.dtype)), grad_state.float().contiguous()
    grad_u, grad_delta = _like(u), _like(u)
    grad_z = None if z is None else _like(u)
    grad_A = _floats(pieces, batch, channels, n)
    grad_B, grad_C = _floats(parts, batch, length, n), _floats(parts, batch, length, n)
    grad_D = None if D is None else _floats(pieces, batch, channels)
    grad_bias = None if delta_bias is None else _floats(pieces, batch, channels)
    grad_initial = None if initial_state is None else _floats(batch, channels, n)
    kernels.scan_backward(
        *_scan_arguments(inputs, flags, shares, lengths),
        *(_pointer(states), _rows(grad_out), _pointer(grad_state), _rows(grad_u), _rows(grad_delta)),
        *(_pointer(grad) for grad in (grad_A, grad_B, grad_C, grad_D)),
        *(_rows(grad_z), _pointer(grad_bias), _pointer(grad_initial)),
    )
    return ScanGrads(
        grad_u,
        grad_delta,
        grad_A.sum((0, 1)),
        grad_B.sum(0).to(B.dtype),
        grad_C.sum(0).to(C.dtype),
        None if grad_D is None else grad_D.sum((0, 1)),
        grad_z,
        None if grad_bias is None else grad_bias.sum((0, 1)),
        grad_initial,
    )


def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    initial_state: Tensor | None,
    flags: ConvFlags,
    *,
    out: Tensor | None = None,
    lengths: Tensor | None = None,
) -> Tensor:
    """Causal depthwise convolution; the contract is `reference.conv`."""
    x = _unit_stride(x)
    out = _like(x) if out is None else out
    weight, bias, initial_state, lengths = _prepare_conv(weight, bias, initial_state, lengths)
    kernels.conv_forward(*_conv_arguments(x, weight, bias, initial_state, flags, lengths), _rows(out))
    return out


def _prepare_conv(
    weight: Tensor, bias: Tensor | None, initial_state: Tensor | None, lengths: Tensor | None
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
    before = None if initial_state is None or weight.shape[1] == 1 else _unit_stride(initial_state)
    return weight.contiguous(), _contiguous(bias), before, _contiguous(lengths)


def _conv_arguments(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    initial_state: Tensor | None,
    flags: ConvFlags,
    lengths: Tensor | None,
) -> tuple[object, ...]:
    """The first arguments of both convolution kernels, from prepared tensors."""
    threads = torch.get_num_threads()
    sizes, switches = (*x.shape, weight.shape[1]), (flags.activation == "silu", flags.reverse)
    start = (sizes, switches, x.dtype == torch.bfloat16, _parts(x.shape[0], x.shape[1], threads), threads)
    return *start, _pointer(lengths), _rows(x), _pointer(weight), _pointer(bias), _rows(initial_state)


def conv_backward(
    grad_out: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    initial_state: Tensor | None,
    flags: ConvFlags,
    *,
    lengths: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Gradients for (x, weight, bias, initial_state), summed in a fixed order."""
    batch, length, channels = x.shape
    taps = weight.shape[1]
    x, grad_out = _unit_stride(x), _unit_stride(grad_out.to(x.dtype))
    weight, bias, before, lengths = _prepare_conv(weight, bias, initial_state, lengths)
    grad_x = _like(x)
    grad_weight = _floats(_parts(batch, length, torch.get_num_threads()), batch, taps + 1, channels)
    grad_initial = None if initial_state is None else _like(initial_state, dtype=x.dtype)
    kernels.conv_backward(
        *_conv_arguments(x, weight, bias, before, flags, lengths),
        _rows(grad_out),
        _rows(grad_x),
        _pointer(grad_weight),
        _rows(grad_initial),
    )
    total = grad_weight.sum((0, 1))  # (k + 1, e)
    return grad_x, total[:taps].t().contiguous(), None if bias is None else total[taps].clone(), grad_initial


def norm(x: Tensor, weight: Tensor, *, eps: float, out: Tensor, lengths: Tensor | None = None) -> Tensor:
    """RMSNorm of x (b, l, d) fp32 with weight (d,) fp32 into `out`, fp32 or bf16; 0 at padding. Source: arXiv 1910.07467."""
    x, weight = _unit_stride(x), weight.contiguous()
    lengths = _contiguous(lengths)
    kernels.norm(
        tuple(x.shape),
        out.dtype == torch.bfloat16,
        torch.get_num_threads(),
        _pointer(lengths),
        _rows(x),
        _pointer(weight),
        eps,
        _rows(out),
    )
    return out
