"""The ops as PyTorch knows them: `torch.library` custom ops, each with a fake and an autograd formula.

The backward pass of an op is a custom op too, so `torch.compile(fullgraph=True)` and `torch.export` see opaque nodes. The
backend is chosen when the node runs, see `choice`.
"""

from __future__ import annotations

from types import ModuleType

import torch
from torch import Tensor

from videomamba.ops import choice
from videomamba.ops.layout import (
    ConvCall,
    ConvFlags,
    Direction,
    LayerWeights,
    ScanCall,
    ScanFlags,
    ScanGrads,
    ScanInputs,
    check_lengths,
    state_dtype,
)


def scan_call(inputs: ScanInputs, flags: ScanFlags, lengths: Tensor | None) -> ScanCall:
    u = inputs.u
    padded = lengths is not None
    softplus, reverse, discretization, gradient = flags
    return ScanCall(
        u.device, u.dtype, tuple(u.shape), inputs.A.shape[1], softplus, reverse, discretization, gradient, padded
    )


def conv_call(x: Tensor, weight: Tensor, flags: ConvFlags, lengths: Tensor | None) -> ConvCall:
    return ConvCall(
        x.device, x.dtype, tuple(x.shape), weight.shape[1], flags.activation, flags.reverse, lengths is not None
    )


def _serving(backend: str, call: ScanCall | ConvCall) -> ModuleType:
    return choice.module(choice.resolve(backend, call))


def _empty(like: Tensor) -> Tensor:
    return like.new_empty(0)


# --- selective scan -------------------------------------------------------------------------------------------------


@torch.library.custom_op("videomamba::selective_scan", mutates_args=())
def scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    initial_state: Tensor | None,
    lengths: Tensor | None,
    delta_softplus: bool,
    reverse: bool,
    discretization: str,
    save_states: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    check_lengths(lengths, u)
    inputs = ScanInputs(u, delta, A, B, C, D, z, delta_bias, initial_state)
    flags = ScanFlags(delta_softplus, reverse, discretization, save_states)
    out, final_state, states = _serving(backend, scan_call(inputs, flags, lengths)).scan(inputs, flags, lengths=lengths)
    return out, final_state, states


@scan.register_fake
def _(
    u,
    delta,
    A,
    B,
    C,
    D,
    z,
    delta_bias,
    initial_state,
    lengths,
    delta_softplus,
    reverse,
    discretization,
    save_states,
    backend,
):
    kept = (0,)
    if save_states:  # of the backend in force here; where another one runs the graph, the backward pass says so
        inputs = ScanInputs(u, delta, A, B, C, D, z, delta_bias, initial_state)
        flags = ScanFlags(delta_softplus, reverse, discretization, save_states)
        kept = _serving(backend, scan_call(inputs, flags, lengths)).states_shape(u.shape, A.shape[1])
    return (
        torch.empty(u.shape, dtype=u.dtype, device=u.device),
        u.new_empty((u.shape[0], u.shape[2], A.shape[1]), dtype=state_dtype(u)),
        u.new_empty(kept, dtype=state_dtype(u)),
    )


@torch.library.custom_op("videomamba::selective_scan_backward", mutates_args=())
def _scan_backward(
    grad_out: Tensor,
    grad_state: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    initial_state: Tensor | None,
    lengths: Tensor | None,
    states: Tensor,
    delta_softplus: bool,
    reverse: bool,
    discretization: str,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    inputs = ScanInputs(u, delta, A, B, C, D, z, delta_bias, initial_state)
    flags = ScanFlags(delta_softplus, reverse, discretization, True)
    check_lengths(lengths, u)
    kernels = _serving(backend, scan_call(inputs, flags, lengths))
    if states.shape != kernels.states_shape(u.shape, A.shape[1]):
        raise RuntimeError(
            "the forward pass ran on another backend than this backward pass: force the same one for both"
        )
    grads: ScanGrads = kernels.scan_backward(grad_out, grad_state, inputs, states, flags, lengths=lengths)
    # An absent input has an empty gradient: the schema of an op cannot return an optional tensor.
    return tuple(_empty(u) if g is None else g for g in grads)  # type: ignore[return-value]


@_scan_backward.register_fake
def _(
    grad_out,
    grad_state,
    u,
    delta,
    A,
    B,
    C,
    D,
    z,
    delta_bias,
    initial_state,
    lengths,
    states,
    delta_softplus,
    reverse,
    discretization,
    backend,
):
    inputs = (u, delta, A, B, C, D, z, delta_bias, initial_state)
    return tuple(_empty(u) if t is None else torch.empty(t.shape, dtype=t.dtype, device=t.device) for t in inputs)


def _scan_save(ctx, inputs, output):
    *tensors, delta_softplus, reverse, discretization, save_states, backend = inputs
    if not save_states:
        raise RuntimeError(
            "selective_scan was called with save_states=False under autograd; call videomamba.ops.selective_scan"
        )
    ctx.save_for_backward(*tensors, output[2])
    ctx.flags = (delta_softplus, reverse, discretization, backend)
    ctx.set_materialize_grads(True)
    ctx.mark_non_differentiable(output[2])


def _scan_grad(ctx, grad_out, grad_state, _grad_states):
    *tensors, lengths, states = ctx.saved_tensors
    grads = _scan_backward(grad_out, grad_state, *tensors, lengths, states, *ctx.flags)
    return (*(None if t is None else g for t, g in zip(tensors, grads, strict=True)), *[None] * 6)


scan.register_autograd(_scan_grad, setup_context=_scan_save)


# --- causal convolution ---------------------------------------------------------------------------------------------


@torch.library.custom_op("videomamba::causal_conv1d", mutates_args=())
def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    initial_state: Tensor | None,
    lengths: Tensor | None,
    activation: str,
    reverse: bool,
    backend: str,
) -> Tensor:
    check_lengths(lengths, x)
    flags = ConvFlags(activation, reverse)
    kernels = _serving(backend, conv_call(x, weight, flags, lengths))
    out: Tensor = kernels.conv(x, weight, bias, initial_state, flags, lengths=lengths)
    return out


@conv.register_fake
def _(x, weight, bias, initial_state, lengths, activation, reverse, backend):
    return torch.empty(x.shape, dtype=x.dtype, device=x.device)


@torch.library.custom_op("videomamba::causal_conv1d_backward", mutates_args=())
def _conv_backward(
    grad_out: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    initial_state: Tensor | None,
    lengths: Tensor | None,
    activation: str,
    reverse: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    flags = ConvFlags(activation, reverse)
    kernels = _serving(backend, conv_call(x, weight, flags, lengths))
    grads = kernels.conv_backward(grad_out, x, weight, bias, initial_state, flags, lengths=lengths)
    return tuple(_empty(x) if g is None else g for g in grads)  # type: ignore[return-value]


@_conv_backward.register_fake
def _(grad_out, x, weight, bias, initial_state, lengths, activation, reverse, backend):
    inputs = (x, weight, bias, initial_state)
    return tuple(_empty(x) if t is None else torch.empty(t.shape, dtype=t.dtype, device=t.device) for t in inputs)


def _conv_save(ctx, inputs, output):
    *tensors, activation, reverse, backend = inputs
    ctx.save_for_backward(*tensors)
    ctx.flags = (activation, reverse, backend)


def _conv_grad(ctx, grad_out):
    *tensors, lengths = ctx.saved_tensors
    grads = _conv_backward(grad_out, *tensors, lengths, *ctx.flags)
    return (*(None if t is None else g for t, g in zip(tensors, grads, strict=True)), *[None] * 4)


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
    found: Tensor = choice.module(f"{backend}_layer").layer(
        residual, given, eps=eps, discretization=discretization, lengths=lengths
    )
    return found


@layer.register_fake
def _(residual, weights, eps, discretization, lengths, backend):
    return torch.empty(residual.shape, dtype=residual.dtype, device=residual.device)
