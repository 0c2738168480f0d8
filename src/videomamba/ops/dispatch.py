"""Registers the ops with PyTorch, picks a backend for a call, and can say why.

Each op is a `torch.library` custom op with a fake and an autograd formula; its backward is a custom op too, so
`torch.compile(fullgraph=True)` and `torch.export` see two opaque nodes. The backend is chosen when the node runs:
the first in `PREFERENCE` that can serve the call, or the one that `use_backend` names, which must be able to.
The reference backend alone bypasses the ops: it is differentiated by autograd itself, so that it judges the formulas too.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from videomamba.ops import reference
from videomamba.ops.layout import (
    ConvFlags,
    Direction,
    LayerWeights,
    MixerWeights,
    ScanFlags,
    ScanGrads,
    ScanInputs,
    check_lengths,
    num_checkpoints,
    state_dtype,
)

if TYPE_CHECKING:
    from videomamba.ops.halves import FirstHalf, SecondHalf

PREFERENCE = ("native", "chunked")
"""Best first; "chunked" serves every device and dtype. "reference" runs only when asked for."""

_forced: ContextVar[str] = ContextVar("videomamba_backend", default="auto")


@contextlib.contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Within the context every op runs on backend `name`: "reference", "chunked" or "native"; "auto" restores the default.

    Raises ValueError for an unknown name. A call that the named backend cannot serve raises RuntimeError with the reason.
    """
    known = (*PREFERENCE, "reference", "auto")
    if name not in known:
        raise ValueError(f"unknown backend {name!r}; choose from {', '.join(known)}")
    token = _forced.set(name)
    try:
        yield
    finally:
        _forced.reset(token)


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"videomamba.ops.{name}")


def why_not(name: str, *, device: torch.device, dtype: torch.dtype) -> str | None:
    """None when backend `name` can serve tensors of this device and dtype, else the reason in plain words."""
    if name == "chunked":
        return None
    if name == "reference":
        return "it is differentiated by autograd, so it does not run inside a compiled or exported graph"
    reason: str | None = _module(name).why_not(device=device, dtype=dtype)
    return reason


def _requested() -> str:
    """What a call asks for: the backend forced here, or "auto". A traced call leaves it to the time when its node runs."""
    return "auto" if torch.compiler.is_compiling() else _forced.get()


def pick(requested: str, like: Tensor) -> ModuleType:
    """The backend module for a call with `like` as its main tensor; RuntimeError when the requested one cannot serve it."""
    if requested == "auto":
        requested = _forced.get()
    if requested != "auto":
        reason = why_not(requested, device=like.device, dtype=like.dtype)
        if reason is not None:
            raise RuntimeError(f"backend {requested!r} cannot serve this call: {reason}")
        return _module(requested)
    return _module(next(name for name in PREFERENCE if why_not(name, device=like.device, dtype=like.dtype) is None))


def explain(*, device: torch.device, dtype: torch.dtype) -> list[tuple[str, str]]:
    """For each backend, best first, (name, verdict): "serves", "can serve" or the reason why it cannot."""
    verdicts: list[tuple[str, str]] = []
    chosen = False
    for name in PREFERENCE:
        reason = why_not(name, device=device, dtype=dtype)
        verdicts.append((name, reason or ("can serve" if chosen else "serves")))
        chosen = chosen or reason is None
    return verdicts


def describe_native() -> str:
    """One line on the C++ kernels: their instruction set and threads, or why they are absent."""
    text: str = _module("native").describe()
    return text


def native_isas() -> tuple[str, ...]:
    """The instruction sets whose C++ kernels run on this machine, best first; () where the kernels are absent."""
    kernels = _module("native").kernels
    return () if kernels is None else tuple(kernels.isas())


@contextlib.contextmanager
def use_isa(name: str) -> Iterator[None]:
    """Within the context the native kernels are those of instruction set `name`, in every thread: to measure and to test.

    Raises ValueError when `name` is not one of `native_isas()`.
    """
    if name not in native_isas():
        raise ValueError(f"no native kernels for {name!r} here; choose from {', '.join(native_isas()) or 'none'}")
    kernels = _module("native").kernels
    before = kernels.isa()
    kernels.set_isa(name)
    try:
        yield
    finally:
        kernels.set_isa(before)


@contextlib.contextmanager
def kernels_in_profiles() -> Iterator[None]:
    """Within the context each call of a native kernel is an event of PyTorch's profiler, `videomamba::native_<name>`.

    A layer that runs fused calls them without passing through a registered op, which a profile would not show.
    """
    native = _module("native")
    names = ("scan", "scan_backward", "conv", "conv_backward", "norm")
    originals = {name: getattr(native, name) for name in names}

    def labelled(name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            with torch.autograd.profiler.record_function(f"videomamba::native_{name}"):
                return originals[name](*args, **kwargs)

        return call

    for name in names:
        setattr(native, name, labelled(name))
    try:
        yield
    finally:
        for name in names:
            setattr(native, name, originals[name])


def _empty(like: Tensor) -> Tensor:
    return like.new_empty(0)


# --- selective scan -------------------------------------------------------------------------------------------------


@torch.library.custom_op("videomamba::selective_scan", mutates_args=())
def _scan(
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
    out, final_state, states = pick(backend, u).scan(inputs, flags, lengths=lengths)
    return out, final_state, states


@_scan.register_fake
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
    batch, length, channels = u.shape
    states = (batch, num_checkpoints(length), A.shape[1], channels) if save_states else (0,)
    return (
        torch.empty(u.shape, dtype=u.dtype, device=u.device),
        u.new_empty((batch, channels, A.shape[1]), dtype=state_dtype(u)),
        u.new_empty(states, dtype=state_dtype(u)),
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
    grads: ScanGrads = pick(backend, u).scan_backward(grad_out, grad_state, inputs, states, flags, lengths=lengths)
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


_scan.register_autograd(_scan_grad, setup_context=_scan_save)


# --- causal convolution ---------------------------------------------------------------------------------------------


@torch.library.custom_op("videomamba::causal_conv1d", mutates_args=())
def _conv(
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
    out: Tensor = pick(backend, x).conv(x, weight, bias, initial_state, flags, lengths=lengths)
    return out


@_conv.register_fake
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
    grads = pick(backend, x).conv_backward(grad_out, x, weight, bias, initial_state, flags, lengths=lengths)
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


_conv.register_autograd(_conv_grad, setup_context=_conv_save)


# --- entry points for videomamba.ops ----------------------------------------------------------------------------------


def call_scan(
    inputs: ScanInputs, lengths: Tensor | None, *, delta_softplus: bool, reverse: bool, discretization: str
) -> tuple[Tensor, Tensor]:
    """(out, final_state) of the registered op on the backend in force; all but the values of `lengths` has been checked."""
    backend = _requested()
    save_states = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in inputs)
    if backend == "reference":
        check_lengths(lengths, inputs.u)
        return reference.scan(inputs, ScanFlags(delta_softplus, reverse, discretization, save_states=False), lengths)
    out, final_state, _ = _scan(*inputs, lengths, delta_softplus, reverse, discretization, save_states, backend)
    return out, final_state


def call_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    initial_state: Tensor | None,
    lengths: Tensor | None,
    *,
    activation: str,
    reverse: bool,
) -> Tensor:
    """The registered op on the backend in force; all but the values of `lengths` has been checked."""
    backend = _requested()
    if backend == "reference":
        check_lengths(lengths, x)
        return reference.conv(x, weight, bias, initial_state, ConvFlags(activation, reverse), lengths)
    out: Tensor = _conv(x, weight, bias, initial_state, lengths, activation, reverse, backend)
    return out


# --- a whole layer, or its halves, for inference ----------------------------------------------------------------------


@torch.library.custom_op("videomamba::layer", mutates_args=())
def _layer(
    residual: Tensor, weights: list[Tensor], eps: float, merge: str, discretization: str, lengths: Tensor | None
) -> Tensor:
    check_lengths(lengths, residual)
    norm, in_proj, out_proj, *directions = weights
    fields = len(Direction._fields)
    mixer = MixerWeights(in_proj, out_proj, Direction(*directions[:fields]), Direction(*directions[fields:]))
    out: Tensor = _module("native_layer").layer(
        residual, LayerWeights(norm, mixer), eps=eps, merge=merge, discretization=discretization, lengths=lengths
    )
    return out


@_layer.register_fake
def _(residual, weights, eps, merge, discretization, lengths):
    return torch.empty(residual.shape, dtype=residual.dtype, device=residual.device)


def reused_buffers() -> contextlib.AbstractContextManager[None]:
    """Within the context fused layers share their memory instead of asking the system for new pages at each layer."""
    if torch.compiler.is_compiling():
        return contextlib.nullcontext()
    context: contextlib.AbstractContextManager[None] = _module("walk").reused_buffers()
    return context


def fuses_layer(residual: Tensor, parameters: Iterable[Tensor], dtype: torch.dtype) -> bool:
    """Whether `call_layer` may take the place of the modular layer with these `parameters` and products in `dtype`.

    It does where the native kernels would run anyway and nobody needs the steps: no gradient, no autocast, no tracing.
    """
    return (
        not torch.compiler.is_compiling()
        and _forced.get() in ("auto", "native")
        and residual.numel() > 0
        and residual.dtype == torch.float32
        and not (torch.is_grad_enabled() and (residual.requires_grad or any(p.requires_grad for p in parameters)))
        and not torch.is_autocast_enabled(residual.device.type)
        and why_not("native", device=residual.device, dtype=dtype) is None
    )


def call_layer(
    residual: Tensor, weights: LayerWeights, *, eps: float, merge: str, discretization: str, lengths: Tensor | None
) -> Tensor:
    """The fused layer as a registered op, where `fuses_layer` allows it: residual (b, l, d) -> (b, l, d), no gradient."""
    mixer = weights.mixer
    flat = [weights.norm, mixer.in_proj, mixer.out_proj, *mixer.forward, *mixer.backward]
    out: Tensor = _layer(residual.contiguous(), flat, eps, merge, discretization, lengths)
    return out


def layer_halves(
    weights: LayerWeights, *, reverse: bool, eps: float, merge: str, discretization: str
) -> tuple[FirstHalf, SecondHalf]:
    """The two walks of a layer for a stream of any length, on the backend in force; no gradient. See `ops.halves`.

    The first goes from the end where `reverse`, the second from the other side. Raises RuntimeError when "reference" is
    forced, which walks whole sequences only.
    """
    kernels, halves = pick("auto", weights.mixer.in_proj), _module("halves")
    first, second = (
        kind(kernels, weights, reverse=way, eps=eps, merge=merge, discretization=discretization)
        for kind, way in ((halves.FirstHalf, reverse), (halves.SecondHalf, not reverse))
    )
    return first, second
