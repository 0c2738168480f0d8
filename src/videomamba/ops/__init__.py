"""The operators of VideoMamba: tensors in, tensors out. No module, no configuration, no state.

Shapes: b batch, l length, e channels, n states per channel, k taps of the convolution. Channels come last, as the
linear layers before and after produce them; `reverse=True` walks the sequence from its end, without a flipped copy.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from videomamba.ops import dispatch
from videomamba.ops.layout import ConvFlags, ScanInputs, check_form_of_lengths, state_dtype

__all__ = ["causal_conv1d", "dispatch", "selective_scan"]


def _check(
    name: str, tensor: Tensor | None, shape: tuple[int, ...], letters: str, first: Tensor, *, same_dtype: bool = False
) -> None:
    """Raises ValueError unless `tensor`, where given, has this shape, is real and is on the device of `first`, the sequence."""
    if tensor is None:
        return
    if tensor.shape != shape:
        raise ValueError(f"{name} must be {letters} = {tuple(shape)}, got {tuple(tensor.shape)}")
    if tensor.device != first.device:
        raise ValueError(f"{name} must be on the device of the sequence, {first.device}, got {tensor.device}")
    if same_dtype and tensor.dtype != first.dtype:
        raise ValueError(f"{name} must have the dtype of the sequence, {first.dtype}, got {tensor.dtype}")
    if not tensor.dtype.is_floating_point:
        raise ValueError(f"{name} must be real and floating point, got {tensor.dtype}")


def _check_sequence(name: str, x: Tensor) -> None:
    if x.ndim != 3:
        raise ValueError(f"{name} must be (b, l, e), got {tuple(x.shape)}")
    if 0 in x.shape:  # no minimum: a graph with free dimensions would fix which of them is the least
        raise ValueError(f"{name} must not be empty, got (b, l, e) = {tuple(x.shape)}")
    if not x.dtype.is_floating_point:
        raise ValueError(f"{name} must be floating point, got {x.dtype}")


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = True,
    reverse: bool = False,
    initial_state: Tensor | None = None,
    return_final_state: bool = False,
    discretization: Literal["euler", "zoh"] = "euler",
    lengths: Tensor | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """Selective state space scan (S6) over a sequence, linear in its length.

        delta_t = softplus(delta_t + delta_bias)                     (softplus only with `delta_softplus`)
        h_t     = exp(delta_t A) h_{t-1} + phi(delta_t, A) B_t u_t    per channel and state
        y_t     = sum_n C_t h_t + D u_t
        out_t   = y_t silu(z_t)

    with phi = delta for "euler", which the original's code and all released weights use, and
    phi = (delta A)^-1 (exp(delta A) - 1) delta for "zoh", the zero-order hold of VideoMamba's equation 3.

    u, delta, z: (b, l, e) of one dtype. A: (e, n). B, C: (b, l, n), of u's dtype. D, delta_bias: (e,).
    initial_state: (b, e, n), the state before the first token walked. Any strides. Arithmetic and state are fp32
    (fp64 for fp64 inputs); `out` (b, l, e) has u's dtype. With `return_final_state`, (out, state (b, e, n)).
    Every input has a gradient; the final state may have one too.

    lengths: (b,) int64, 0 <= lengths[i] <= l. Tokens of entry i from lengths[i] on are padding: their values, NaN too,
    change nothing, `out` and gradients are 0 there, and all else equals the result of entry i alone, cut to its length. A
    reverse walk starts at token lengths[i] - 1; with a length of 0 the final state is the initial one.

    Raises ValueError when shapes, dtypes or lengths do not fit or a dimension is 0.
    Source: Mamba (arXiv 2312.00752) algorithm 2; VideoMamba (arXiv 2403.06977) section 3.1.
    """
    _check_sequence("u", u)
    batch, length, channels = u.shape
    if A.ndim != 2:
        raise ValueError(f"A must be (e, n), got {tuple(A.shape)}")
    states = A.shape[1]
    _check("delta", delta, (batch, length, channels), "(b, l, e)", u, same_dtype=True)
    _check("A", A, (channels, states), "(e, n)", u)
    _check("B", B, (batch, length, states), "(b, l, n)", u, same_dtype=True)
    _check("C", C, (batch, length, states), "(b, l, n)", u, same_dtype=True)
    _check("D", D, (channels,), "(e,)", u)
    _check("z", z, (batch, length, channels), "(b, l, e)", u, same_dtype=True)
    _check("delta_bias", delta_bias, (channels,), "(e,)", u)
    _check("initial_state", initial_state, (batch, channels, states), "(b, e, n)", u)
    check_form_of_lengths(lengths, u)
    if discretization not in ("euler", "zoh"):
        raise ValueError(f"discretization must be 'euler' or 'zoh', got {discretization!r}")
    D, delta_bias, initial_state = (None if t is None else t.to(state_dtype(u)) for t in (D, delta_bias, initial_state))
    inputs = ScanInputs(u, delta, A.to(state_dtype(u)), B, C, D, z, delta_bias, initial_state)
    out, final_state = dispatch.call_scan(
        inputs, lengths, delta_softplus=delta_softplus, reverse=reverse, discretization=discretization
    )
    return (out, final_state) if return_final_state else out


def causal_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: Literal["silu"] | None = "silu",
    reverse: bool = False,
    initial_state: Tensor | None = None,
    lengths: Tensor | None = None,
) -> Tensor:
    """Causal depthwise convolution over the length, with bias and activation in the same pass.

        out_t = activation(bias + sum_w weight[:, w] x_{t - (k-1) + w})

    x: (b, l, e), any strides. weight: (e, k), the last tap multiplies the current token. bias: (e,).
    `reverse` mirrors time: token t reads t, t+1, ..., t+k-1 and the last tap is still its own.
    initial_state: (b, k-1, e), the tokens just outside the sequence (before it, or after it with `reverse`) in
    sequence order; zeros when absent. fp32 arithmetic; the result (b, l, e) has x's dtype.
    lengths: (b,) int64, as in `selective_scan`; the sequence of entry i ends before token lengths[i], so that with
    `reverse` its initial state follows there.

    Raises ValueError when shapes or lengths do not fit, a dimension is 0, or the activation is unknown.
    """
    _check_sequence("x", x)
    batch, _, channels = x.shape
    if weight.ndim != 2 or weight.shape[1] == 0:
        raise ValueError(f"weight must be (e, k), got {tuple(weight.shape)}")
    taps = weight.shape[1]
    _check("weight", weight, (channels, taps), "(e, k)", x)
    _check("bias", bias, (channels,), "(e,)", x)
    _check("initial_state", initial_state, (batch, taps - 1, channels), "(b, k-1, e)", x, same_dtype=True)
    check_form_of_lengths(lengths, x)
    if activation not in ("silu", None):
        raise ValueError(f"activation must be 'silu' or None, got {activation!r}")
    weight, bias = weight.to(state_dtype(x)), None if bias is None else bias.to(state_dtype(x))
    return dispatch.call_conv(x, weight, bias, initial_state, lengths, ConvFlags(activation or "", reverse))
