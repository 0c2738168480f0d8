"""The only access of the package to the backends: operators, layers and the native kernels.

`choice` says which backend serves a call, `registered` makes the calls known to PyTorch. Only the reference backend
bypasses the registered ops: autograd itself differentiates it, so that it checks their gradient formulas too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from types import ModuleType

import torch
from torch import Tensor

from videomamba.ops import choice, derivatives, reference, registered
from videomamba.ops.choice import PREFERENCE as PREFERENCE
from videomamba.ops.choice import explain as explain
from videomamba.ops.choice import use_backend as use_backend
from videomamba.ops.choice import why_not as why_not
from videomamba.ops.derivatives import is_transformed as is_transformed
from videomamba.ops.halves import FirstHalf as FirstHalf
from videomamba.ops.halves import SecondHalf as SecondHalf
from videomamba.ops.layout import ConvCall as ConvCall
from videomamba.ops.layout import ConvFlags, LayerWeights, ScanFlags, ScanInputs, check_lengths
from videomamba.ops.layout import LayerCall as LayerCall
from videomamba.ops.layout import ScanCall as ScanCall
from videomamba.ops.layout import WalkState as WalkState
from videomamba.ops.walk import blocks_of as blocks_of
from videomamba.ops.walk import prepare_direction as prepare_direction
from videomamba.ops.walk import prepare_layer as prepare_layer
from videomamba.ops.walk import reused_buffers as _reused_buffers

# --- the two operators ------------------------------------------------------------------------------------------------


def call_scan(
    inputs: ScanInputs, lengths: Tensor | None, *, delta_softplus: bool, reverse: bool, discretization: str
) -> tuple[Tensor, Tensor]:
    """(out, final_state) on the chosen backend; all but the values of `lengths` has been checked."""
    gradient = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in inputs)
    flags = ScanFlags(delta_softplus, reverse, discretization, gradient)
    inline = choice.inline()
    if inline is not None:
        _check_values(lengths, inputs.u)
        inputs = ScanInputs._make(_for_inline(inline, inputs))
        out, final_state = inline.scan(inputs, flags._replace(save_states=False), lengths)[:2]
        return out, final_state
    backend = choice.for_a_node(registered.scan_call(inputs, flags, lengths))
    with _checked(inputs):
        out, final_state, _ = registered.scan(*inputs, lengths, *flags, backend)
    return out, final_state


def call_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    initial_state: Tensor | None,
    lengths: Tensor | None,
    flags: ConvFlags,
) -> Tensor:
    """The convolution on the chosen backend; all but the values of `lengths` has been checked."""
    inline = choice.inline()
    if inline is not None:
        _check_values(lengths, x)
        out: Tensor = inline.conv(*_for_inline(inline, (x, weight, bias, initial_state)), flags, lengths)
        return out
    backend = choice.for_a_node(registered.conv_call(x, weight, flags, lengths))
    with _checked((x, weight, bias, initial_state)):
        out = registered.conv(x, weight, bias, initial_state, lengths, *flags, backend)
    return out


def _checked(tensors: Iterable[Tensor | None]) -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext() if torch.compiler.is_compiling() else derivatives.checked(tensors)


def _check_values(lengths: Tensor | None, sequence: Tensor) -> None:
    if not torch.compiler.is_compiling():  # a graph of PyTorch's own operators cannot raise an error
        check_lengths(lengths, sequence)


def _for_inline(backend: ModuleType, tensors: Iterable[Tensor | None]) -> tuple[Tensor | None, ...]:
    """The tensors of an inline call, detached where autograd cannot differentiate the code of `backend`."""
    tensors = tuple(tensors)
    needed = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
    if backend is reference:
        return tensors
    if not torch.compiler.is_compiling() and derivatives.in_forward_mode(tensors):
        raise derivatives.missing("forward-mode derivative (jvp)")
    if not needed:
        return tensors
    if not torch.compiler.is_exporting():
        raise RuntimeError(f"the plain code of {backend.__name__} has no gradients: call it under torch.no_grad()")
    return tuple(None if t is None else t.detach() for t in tensors)


# --- a whole layer, or its halves, for inference ----------------------------------------------------------------------


def reused_buffers() -> contextlib.AbstractContextManager[None]:
    """Within the context fused layers share their memory instead of allocating new pages for each layer."""
    return contextlib.nullcontext() if torch.compiler.is_compiling() else _reused_buffers()


def fuses_layer(residual: Tensor, parameters: Iterable[Tensor], call: LayerCall) -> bool:
    """Whether `call_layer` may replace the modular layer with these `parameters`: a backend fuses `call`, and there is no
    gradient, no autocast, no tracing and no transform of `torch.func`, which need the single steps."""
    if torch.compiler.is_compiling() or residual.numel() == 0 or residual.dtype != torch.float32:
        return False
    parameters = tuple(parameters)
    if derivatives.is_transformed((residual, *parameters)):
        return False
    if torch.is_grad_enabled() and (residual.requires_grad or any(p.requires_grad for p in parameters)):
        return False
    return not torch.is_autocast_enabled(residual.device.type) and _layer_backend(call) is not None


def _layer_backend(call: LayerCall) -> str | None:
    """The forced backend, if it fuses `call`; for "auto" the best one that does; None where there is none."""
    forced = choice.request().backend
    names = choice.PREFERENCE if forced == "auto" else (forced,)
    return next((name for name in names if why_not(name, call) is None), None)


def call_layer(
    residual: Tensor, weights: LayerWeights, *, eps: float, lengths: Tensor | None, call: LayerCall
) -> Tensor:
    """The fused layer as a registered op, where `fuses_layer` allows it: residual (b, l, d) -> (b, l, d), no gradient."""
    backend = _layer_backend(call)
    assert backend is not None
    flat = [*weights[:4], *weights.forward, *weights.backward]
    out: Tensor = registered.layer(residual.contiguous(), flat, eps, call.discretization, lengths, backend)
    return out


def layer_halves(weights: LayerWeights, *, reverse: bool, eps: float, call: LayerCall) -> tuple[FirstHalf, SecondHalf]:
    """The two walks of a layer for a stream of any length, on the chosen backend; no gradient. See `ops.halves`.

    The first starts at the end where `reverse`, the second at the other side. Raises RuntimeError when "reference" is
    forced, which walks whole sequences only.
    """
    kernels = choice.module(choice.resolve("auto", call))
    first = FirstHalf(kernels, weights, reverse=reverse, eps=eps, discretization=call.discretization)
    return first, SecondHalf(kernels, weights, reverse=not reverse, eps=eps, discretization=call.discretization)


# --- the native kernels -----------------------------------------------------------------------------------------------


def describe_native() -> str:
    """One line on the C++ kernels: their instruction set and threads, or why they are absent."""
    text: str = choice.module("native").describe()
    return text


def native_isas() -> tuple[str, ...]:
    """The instruction sets whose C++ kernels run on this machine, best first; () where the kernels are absent."""
    kernels = choice.module("native").kernels
    return () if kernels is None else tuple(kernels.isas())


@contextlib.contextmanager
def use_isa(name: str) -> Iterator[None]:
    """Within the context the native kernels of instruction set `name` run, in every thread: to measure and to test.

    Raises ValueError when `name` is not one of `native_isas()`.
    """
    if name not in native_isas():
        raise ValueError(f"no native kernels for {name!r} here; choose from {', '.join(native_isas()) or 'none'}")
    kernels = choice.module("native").kernels
    before = kernels.isa()
    kernels.set_isa(name)
    try:
        yield
    finally:
        kernels.set_isa(before)


@contextlib.contextmanager
def kernels_in_profiles() -> Iterator[None]:
    """Within the context each call of a native kernel is an event of PyTorch's profiler, `videomamba::native_<name>`.

    Otherwise a profile would not show those of fused layers, which do not pass through a registered op.
    """
    native = choice.module("native")
    originals = {name: getattr(native, name) for name in ("scan", "scan_backward", "conv", "conv_backward", "norm")}
    for name, original in originals.items():
        # As a decorator it opens a new event for each call.
        setattr(native, name, torch.autograd.profiler.record_function(f"videomamba::native_{name}")(original))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(native, name, original)
