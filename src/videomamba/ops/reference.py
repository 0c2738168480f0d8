"""The standard: both ops as plain loops, any floating dtype, any device; autograd computes their gradients.

Shapes: b batch, l length, e channels, n states per channel, k convolution taps.
Every other backend must reproduce these outputs and gradients.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from videomamba.ops.layout import Call, ConvFlags, LayerCall, ScanFlags, ScanInputs, state_dtype


def why_not(call: Call) -> str | None:
    """The reason why it does not serve a registered op: `dispatch` calls it inline."""
    if isinstance(call, LayerCall):
        return "it walks whole sequences only"
    return "it is differentiated by autograd, so it does not run inside a compiled or exported graph"


def expm1_ratio(x: Tensor) -> Tensor:
    """(exp(x) - 1) / x, elementwise, exact in the limit x -> 0, where it is 1."""
    safe = torch.where(x == 0, torch.ones_like(x), x)
    return torch.where(x == 0, 1 + x / 2, torch.expm1(safe) / safe)


def _append_padding(out: Tensor, length: int) -> Tensor:
    """(1, m, e) -> (1, l, e): 0 from token m on."""
    return F.pad(out, (0, 0, 0, length - out.shape[1]))


def scan(inputs: ScanInputs, flags: ScanFlags, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Selective scan by the formula of `ops.selective_scan`: Mamba section 3.2; the paper's equations 3 and 4, A diagonal.

    Returns (out, final state). With `lengths` (b,) every entry runs alone, cut to its length; 0 is appended to its result.
    """
    if lengths is not None:
        outs, states = zip(*(scan(_entry(inputs, i, n), flags) for i, n in enumerate(lengths.tolist())), strict=True)
        return torch.cat([_append_padding(out, inputs.u.shape[1]) for out in outs]), torch.cat(states)
    dtype = state_dtype(inputs.u)
    u, delta, A, B, C = (t.to(dtype) for t in (inputs.u, inputs.delta, inputs.A, inputs.B, inputs.C))
    batch, length, channels = u.shape
    if inputs.delta_bias is not None:
        delta = delta + inputs.delta_bias.to(dtype)
    if flags.delta_softplus:
        delta = F.softplus(delta)  # switches to the identity above 20, as the original does

    h = u.new_zeros(batch, channels, A.shape[1]) if inputs.initial_state is None else inputs.initial_state.to(dtype)
    steps: list[Tensor] = [u.new_empty(0)] * length
    order = range(length - 1, -1, -1) if flags.reverse else range(length)
    for t in order:
        exponent = delta[:, t, :, None] * A  # (b, e, n)
        phi = delta[:, t, :, None]
        if flags.discretization == "zoh":
            phi = phi * expm1_ratio(exponent)
        h = torch.exp(exponent) * h + phi * B[:, t, None, :] * u[:, t, :, None]
        steps[t] = (h * C[:, t, None, :]).sum(-1)  # (b, e)
    y = torch.stack(steps, dim=1) if steps else torch.zeros_like(u)  # (b, l, e)
    if inputs.D is not None:
        y = y + inputs.D.to(dtype) * u
    if inputs.z is not None:
        y = y * F.silu(inputs.z.to(dtype))
    return y.to(inputs.u.dtype), h


def _entry(inputs: ScanInputs, i: int, length: int) -> ScanInputs:
    """Entry i of the batch, cut to its first tokens."""
    one = slice(i, i + 1)
    return inputs._replace(
        u=inputs.u[one, :length],
        delta=inputs.delta[one, :length],
        B=inputs.B[one, :length],
        C=inputs.C[one, :length],
        z=None if inputs.z is None else inputs.z[one, :length],
        initial_state=None if inputs.initial_state is None else inputs.initial_state[one],
    )


def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    initial_state: Tensor | None,
    flags: ConvFlags,
    lengths: Tensor | None = None,
) -> Tensor:
    """Causal depthwise convolution by the formula of `ops.causal_conv1d`; `lengths` as in `scan`."""
    if lengths is not None:
        outs = []
        for i, n in enumerate(lengths.tolist()):
            before = None if initial_state is None else initial_state[i : i + 1]
            outs.append(_append_padding(conv(x[i : i + 1, :n], weight, bias, before, flags), x.shape[1]))
        return torch.cat(outs)
    dtype = state_dtype(x)
    batch, length, channels = x.shape
    taps = weight.shape[1]
    outside = x.new_zeros(batch, taps - 1, channels) if initial_state is None else initial_state.to(x.dtype)
    padded = torch.cat((x, outside) if flags.reverse else (outside, x), dim=1).to(dtype)  # (b, l + k - 1, e)
    out = torch.zeros_like(x, dtype=dtype)
    for w in range(taps):
        start = taps - 1 - w if flags.reverse else w
        out = out + weight[:, w].to(dtype) * padded[:, start : start + length]
    if bias is not None:
        out = out + bias.to(dtype)
    if flags.activation == "silu":
        out = F.silu(out)
    return out.to(x.dtype)
