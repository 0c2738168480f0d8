"""The two operators at the size of one layer, on every backend, with PyTorch's own convolution and the machine's limits.

Shapes: l length, e channels, n states, k taps; the batch is 1. The inputs have the strides that they have in the mixer:
x and z are halves of one row, B and C are parts of one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from videomamba.bench.flops import tokens
from videomamba.bench.measure import DTYPE_NAMES, Figure, Limits, Timing, measure, measure_limits, peak_memory
from videomamba.models.config import VideoMambaConfig
from videomamba.ops import causal_conv1d, dispatch, selective_scan

Call = Callable[[], object]
Context = Callable[[], contextlib.AbstractContextManager[object]]
MODES = ("forward", "fwd+bwd")
BASELINES = ("reference", "conv1d alone", "conv1d with transposes")
SCANS: tuple[Callable[..., Any], ...] = (selective_scan, partial(selective_scan, reverse=True))

# Floating-point operations as the C++ kernels do them, a fused multiply-add being two. Per token, channel and state:
# delta A 1, exponential 11 (rounding, a polynomial of degree 4, scaling), state 3, output 2; the backward pass does these
# again and adds 14 for the adjoint, dA, dB, dC and d delta. Per token and channel: softplus, D, gate; their derivatives.
SCAN_PER_STATE = {"forward": 17, "fwd+bwd": 17 + 31}
SCAN_PER_CHANNEL = {"forward": 60, "fwd+bwd": 60 + 90}
# Per token and channel: each tap 2, SiLU 20; the backward pass does the taps again and adds those of dx and d weight.
CONV_PER_TAP = {"forward": 2, "fwd+bwd": 2 + 6}
CONV_PER_CHANNEL = {"forward": 20, "fwd+bwd": 20 + 25}


def scan_inputs(config: VideoMambaConfig, dtype: torch.dtype) -> dict[str, Tensor]:
    """Arguments of `selective_scan` for one direction of one layer, as the mixer passes them."""
    length, channels, states = tokens(config), config.inner_dim, config.d_state
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    projected = normal(1, length, config.dt_rank + 2 * states).to(dtype)
    return {
        "u": normal(1, length, channels).to(dtype),
        "delta": normal(1, length, channels).to(dtype) - 3,
        "A": -torch.arange(1.0, states + 1).repeat(channels, 1),
        "B": projected[..., config.dt_rank : config.dt_rank + states],
        "C": projected[..., config.dt_rank + states :],
        "D": normal(channels),
        "z": normal(1, length, 2 * channels).to(dtype).chunk(2, dim=-1)[1],
        "delta_bias": normal(channels),
    }


def conv_inputs(config: VideoMambaConfig, dtype: torch.dtype) -> dict[str, Tensor]:
    """Arguments of `causal_conv1d` for one direction of one layer."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(1, tokens(config), 2 * config.inner_dim, generator=generator).to(dtype)
    return {
        "x": rows.chunk(2, dim=-1)[0],
        "weight": torch.randn(config.inner_dim, config.d_conv, generator=generator),
        "bias": torch.randn(config.inner_dim, generator=generator),
    }


def in_mode(mode: str, op: Callable[..., Any], inputs: dict[str, Tensor]) -> Call:
    """A call of `op`, without gradients or with those of all its inputs."""
    if mode == "forward":
        return torch.inference_mode()(partial(op, **inputs))
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in inputs.items()}
    with torch.no_grad():
        grad = torch.randn_like(op(**inputs))
    return lambda: torch.autograd.grad(op(**leaves), list(leaves.values()), grad)


def backends() -> dict[str, Context]:
    """Contexts by name: every backend that serves a CPU here, the native one once for each instruction set."""

    @contextlib.contextmanager
    def native(isa: str) -> Iterator[None]:
        with dispatch.use_backend("native"), dispatch.use_isa(isa):
            yield

    plain: dict[str, Context] = {name: partial(dispatch.use_backend, name) for name in ("reference", "chunked")}
    return plain | {f"native {isa}": partial(native, isa) for isa in dispatch.native_isas()}


def _within(context: Context, calls: Sequence[Call]) -> Call:
    def run() -> None:
        with context():
            for call in calls:
                call()

    return run


def torch_conv(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`causal_conv1d` by PyTorch's own grouped convolution, from and to channels last."""
    return F.silu(torch_conv_alone(x.mT, weight, bias)[..., : x.shape[1]]).mT.contiguous()


def torch_conv_alone(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The grouped convolution alone: x (1, e, l) channels first, k - 1 outputs too many, no activation."""
    taps = weight.shape[1]
    return F.conv1d(x, weight[:, None].to(x.dtype), bias.to(x.dtype), padding=taps - 1, groups=x.shape[1])


def bench_ops(config: VideoMambaConfig, dtypes: Sequence[torch.dtype], *, runs: int) -> Iterator[Figure]:
    """The lines of `videomamba bench ops`: times of both ops, memory of the scan's backward pass, and a roofline."""
    fastest: list[tuple[str, str, torch.dtype, Timing]] = []
    for op in ("selective_scan", "causal_conv1d"):
        for dtype in dtypes:
            for mode in MODES:
                calls = _scan_calls(config, dtype, mode) if op == "selective_scan" else _conv_calls(config, dtype, mode)
                found = measure(calls, runs=runs)
                for name, timing in found.items():
                    cells = {"dtype": DTYPE_NAMES[dtype], "mode": mode, "candidate": name, **timing.cells()}
                    ratios = {f"vs {base}": found[base].over(timing) for base in BASELINES if base in found}
                    yield Figure(_title(op, config), {**cells, **ratios})
                best = next((name for name in found if name.startswith("native")), "chunked")
                fastest.append((op, mode, dtype, found[best]))
    yield from _memory(config, dtypes)
    yield from _roofline(config, fastest)


def _title(op: str, config: VideoMambaConfig) -> str:
    sizes = f"b 1, l {tokens(config)}, e {config.inner_dim}"
    if op == "selective_scan":
        return f"selective_scan, both directions of one layer, {sizes}, n {config.d_state}; vs: times faster than"
    return f"causal_conv1d, one direction of one layer, {sizes}, k {config.d_conv}; vs: times faster than"


def _scan_calls(config: VideoMambaConfig, dtype: torch.dtype, mode: str) -> dict[str, Call]:
    inputs = scan_inputs(config, dtype)
    both = [in_mode(mode, op, inputs) for op in SCANS]
    return {name: _within(context, both) for name, context in backends().items()}


def _conv_calls(config: VideoMambaConfig, dtype: torch.dtype, mode: str) -> dict[str, Call]:
    inputs = conv_inputs(config, dtype)
    call = in_mode(mode, causal_conv1d, inputs)
    channels_first = {**inputs, "x": inputs["x"].mT.contiguous()}
    return {name: _within(context, [call]) for name, context in backends().items()} | {
        "conv1d alone": in_mode(mode, torch_conv_alone, channels_first),
        "conv1d with transposes": in_mode(mode, torch_conv, inputs),
    }


def build_scan(config: VideoMambaConfig, dtype: torch.dtype, backend: str) -> Call:
    """One direction, forward and backward, on `backend`, for the process of `peak_memory`."""
    call = in_mode(MODES[1], selective_scan, scan_inputs(config, dtype))
    return _within(partial(dispatch.use_backend, backend), [call])


def _size(tensors: dict[str, Tensor], *names: str) -> int:
    return sum(tensors[name].numel() * tensors[name].element_size() for name in names or tensors)


def _memory(config: VideoMambaConfig, dtypes: Sequence[torch.dtype]) -> Iterator[Figure]:
    names = ("chunked", *(("native",) if dispatch.native_isas() else ()))
    for dtype in dtypes:
        inputs = scan_inputs(config, dtype)
        own = _size(inputs)
        for name in names:
            peak = peak_memory(build_scan, config, dtype, name)
            yield Figure(
                "memory of forward+backward, one direction: inputs and gradients, and the peak with all that is in between",
                {
                    "dtype": DTYPE_NAMES[dtype],
                    "candidate": name,
                    "inputs+gradients MB": 2 * own / 1e6,
                    "peak MB": None if peak is None else (own + peak) / 1e6,
                    "ratio": None if peak is None else (own + peak) / (2 * own),
                },
            )


def least_work(op: str, mode: str, config: VideoMambaConfig, dtype: torch.dtype) -> tuple[int, int]:
    """The least (bytes, operations) of one measured call: inputs read once, outputs written once in each pass."""
    cells = tokens(config) * config.inner_dim
    if op == "selective_scan":
        inputs, directions = scan_inputs(config, dtype), 2
        out = _size(inputs, "u")
        operations = cells * (config.d_state * SCAN_PER_STATE[mode] + SCAN_PER_CHANNEL[mode])
    else:
        inputs, directions = conv_inputs(config, dtype), 1
        out = _size(inputs, "x")
        operations = cells * (config.d_conv * CONV_PER_TAP[mode] + CONV_PER_CHANNEL[mode])
    moved = _size(inputs) + out
    if mode != "forward":
        moved += 2 * _size(inputs) + out  # inputs and the output's gradient read, the inputs' gradients written
    return directions * moved, directions * operations


def _roofline(config: VideoMambaConfig, fastest: Sequence[tuple[str, str, torch.dtype, Timing]]) -> Iterator[Figure]:
    limits: Limits = measure_limits()
    yield Figure(
        "limits of this machine: a copy beyond the caches, an fp32 product of F.linear",
        {"copy GB/s": limits.bytes_per_second / 1e9, "product GFLOP/s": limits.flops_per_second / 1e9},
    )
    for op, mode, dtype, timing in fastest:
        moved, operations = least_work(op, mode, config, dtype)
        bound = limits.seconds(moved=moved, flops=operations)
        yield Figure(
            "roofline: the least time by these limits, and the fraction of it that the best backend reaches",
            {
                "op": op,
                "dtype": DTYPE_NAMES[dtype],
                "mode": mode,
                "MB": moved / 1e6,
                "MFLOP": operations / 1e6,
                "bound by": "memory" if bound * limits.bytes_per_second <= moved else "arithmetic",
                "bound ms": 1e3 * bound,
                "ms": 1e3 * timing.median,
                "fraction": bound / timing.median,
            },
        )
