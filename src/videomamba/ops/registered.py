"""The ops as PyTorch knows them: `torch.library` custom ops, each with a fake and an autograd formula.

The backward pass of an op is a custom op too, so `torch.compile(fullgraph=True)` and `torch.export` see opaque nodes. The
backend is chosen when the node runs, see `choice`.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from videomamba.ops import choice, derivatives
from videomamba.ops.layout import (
    ConvCall,
    ConvFlags,
    Direction,
    LayerWeights,
    ScanCall,
    ScanFlags,
    ScanInputs,
    check_lengths,
    state_dtype,
)


def scan_call(inputs: ScanInputs, flags: ScanFlags, lengths: Tensor | None) -> ScanCall:
    u = inputs.u
    return ScanCall(u.device, u.dtype, tuple(u.shape), inputs.A.shape[1], *flags, lengths is not None)


def conv_call(x: Tensor, weight: Tensor, flags: ConvFlags, lengths: Tensor | None) -> ConvCall:
    return ConvCall(x.device, x.dtype, tuple(x.shape), weight.shape[1], *flags, lengths is not None)


def _serving(backend: str, call: ScanCall | ConvCall) -> ModuleType:
    return choice.module(choice.resolve(backend, call))


def _like(t: Tensor) -> Tensor:
    return torch.empty(t.shape, dtype=t.dtype, device=t.device)


def _present(grads: Iterable[Tensor | None], like: Tensor) -> tuple[Tensor, ...]:
    """An absent input has an empty gradient: the schema of an op cannot return an optional tensor."""
    return tuple(like.new_empty(0) if grad is None else grad for grad in grads)


def _where_given(grads: Iterable[Tensor], inputs: Iterable[Tensor | None]) -> tuple[Tensor | None, ...]:
    return tuple(None if t is None else grad for t, grad in zip(inputs, grads, strict=True))


def _no_second_derivative(*_: Any) -> None:
    raise derivatives.missing("second derivative")


# --- selective scan -------------------------------------------------------------------------------------------------

_SCAN_INPUTS = (
    "Tensor u, Tensor delta, Tensor A, Tensor B, Tensor C, Tensor? D, Tensor? z, Tensor? delta_bias, "
    "Tensor? initial_state, Tensor? lengths"
)


@torch.library.custom_op(
    "videomamba::selective_scan",
    mutates_args=(),
    schema=f"({_SCAN_INPUTS}, bool delta_softplus, bool reverse, str discretization, bool save_states, str backend)"
    " -> (Tensor, Tensor, Tensor)",
)
def scan(*arguments):
    inputs, lengths, flags, backend = _scan_parts(*arguments)
    check_lengths(lengths, inputs.u)
    return tuple(_serving(backend, scan_call(inputs, flags, lengths)).scan(inputs, flags, lengths=lengths))


def _scan_parts(*arguments: Any) -> tuple[ScanInputs, Tensor | None, ScanFlags, str]:
    return ScanInputs(*arguments[:9]), arguments[9], ScanFlags(*arguments[10:14]), arguments[14]


@scan.register_fake
def _(*arguments):
    derivatives.check_trace()
    inputs, lengths, flags, backend = _scan_parts(*arguments)
    u, states = inputs.u, inputs.A.shape[1]
    kept = (0,)
    if flags.save_states:  # of the backend in force here; where another one runs the graph, the backward pass says so
        kept = _serving(backend, scan_call(inputs, flags, lengths)).states_shape(u.shape, states)
    dtype = state_dtype(u)
    return _like(u), u.new_empty((u.shape[0], u.shape[2], states), dtype=dtype), u.new_empty(kept, dtype=dtype)


@torch.library.custom_op(
    "videomamba::selective_scan_backward",
    mutates_args=(),
    schema=f"(Tensor grad_out, Tensor grad_state, {_SCAN_INPUTS}, Tensor states, bool delta_softplus, bool reverse, "
    f"str discretization, str backend) -> ({', '.join(['Tensor'] * 9)})",
)
def _scan_backward(grad_out, grad_state, *arguments):
    *tensors, lengths, states, delta_softplus, reverse, discretization, backend = arguments
    inputs = ScanInputs(*tensors)
    flags = ScanFlags(delta_softplus, reverse, discretization, True)
    check_lengths(lengths, inputs.u)
    kernels = _serving(backend, scan_call(inputs, flags, lengths))
    if states.shape != kernels.states_shape(inputs.u.shape, inputs.A.shape[1]):
        raise RuntimeError("the forward pass ran on another backend than this backward pass: force one for both")
    return _present(kernels.scan_backward(grad_out, grad_state, inputs, states, flags, lengths=lengths), inputs.u)


@_scan_backward.register_fake
def _(grad_out, grad_state, *arguments):
    inputs = arguments[:9]
    return _present((None if t is None else _like(t) for t in inputs), inputs[0])


_scan_backward.register_autograd(_no_second_derivative)


def _scan_save(ctx, inputs, output):
    *tensors, delta_softplus, reverse, discretization, save_states, backend = inputs
    if not save_states:
        raise RuntimeError("save_states=False has no gradient; call videomamba.ops.selective_scan")
    ctx.save_for_backward(*tensors, output[2])
    ctx.flags = (delta_softplus, reverse, discretization, backend)
    ctx.set_materialize_grads(True)
    ctx.mark_non_differentiable(output[2])


def _scan_grad(ctx, grad_out, grad_state, _grad_states):
    *tensors, lengths, states = ctx.saved_tensors
    grads = _scan_backward(grad_out, grad_state, *tensors, lengths, states, *ctx.flags)
    return *_where_given(grads, tensors), *[None] * 6


scan.register_autograd(_scan_grad, setup_context=_scan_save)


# --- causal convolution ---------------------------------------------------------------------------------------------

_CONV_INPUTS = (
    "Tensor x, Tensor weight, Tensor? bias, Tensor? initial_state, Tensor? lengths, "
    "str activation, bool reverse, str backend"
)


@torch.library.custom_op("videomamba::causal_conv1d", mutates_args=(), schema=f"({_CONV_INPUTS}) -> Tensor")
def conv(x, weight, bias, initial_state, lengths, activation, reverse, backend):
    check_lengths(lengths, x)
    flags = ConvFlags(activation, reverse)
    kernels = _serving(backend, conv_call(x, weight, flags, lengths))
    return kernels.conv(x, weight, bias, initial_state, flags, lengths=lengths)


@conv.register_fake
def _(x, *_):
    derivatives.check_trace()
    return _like(x)


@torch.library.custom_op(
    "videomamba::causal_conv1d_backward",
    mutates_args=(),
    schema=f"(Tensor grad_out, {_CONV_INPUTS}) -> (Tensor, Tensor, Tensor, Tensor)",
)
def _conv_backward(grad_out, x, weight, bias, initial_state, lengths, activation, reverse, backend):
    flags = ConvFlags(activation, reverse)
    kernels = _serving(backend, conv_call(x, weight, flags, lengths))
    return _present(kernels.conv_backward(grad_out, x, weight, bias, initial_state, flags, lengths=lengths), x)


@_conv_backward.register_fake
def _(grad_out, *arguments):
    inputs = arguments[:4]
    return _present((None if t is None else _like(t) for t in inputs), inputs[0])


_conv_backward.register_autograd(_no_second_derivative)


def _conv_save(ctx, inputs, output):
    *tensors, activation, reverse, backend = inputs
    ctx.save_for_backward(*tensors)
    ctx.flags = (activation, reverse, backend)


def _conv_grad(ctx, grad_out):
    *tensors, lengths = ctx.saved_tensors
    return *_where_given(_conv_backward(grad_out, *tensors, lengths, *ctx.flags), tensors), *[None] * 4


conv.register_autograd(_conv_grad, setup_context=_conv_save)


# --- a whole layer, for inference -------------------------------------------------------------------------------------


@torch.library.custom_op("videomamba::layer", mutates_args=())
def layer(
    residual: Tensor, weights: list[Tensor], eps: float, discretization: str, lengths: Tensor | None, backend: str
) -> Tensor:
    check_lengths(lengths, residual)
    norm, to_x, to_z, to_out, *rest = weights
    fields = len(Direction._fields)
    given = LayerWeights(norm, to_x, to_z, to_out, Direction(*rest[:fields]), Direction(*rest[fields:]))
    fused = choice.module(f"{backend}_layer").layer
    result: Tensor = fused(residual, given, eps=eps, discretization=discretization, lengths=lengths)
    return result


@layer.register_fake
def _(residual, *_):
    return _like(residual)
