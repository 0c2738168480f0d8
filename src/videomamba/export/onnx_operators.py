"""The operators of the package in ONNX: the selective scan as a `Scan` over tokens, the convolution as one of PyTorch.

The graph that PyTorch traced has our operators as opaque nodes. Here each becomes operators that every runtime knows. Only
calls as the network makes them are translated; any other raises.

Shapes: b batch, l tokens, e channels, n states, k taps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from videomamba.ops.layout import ConvFlags, ScanFlags, ScanInputs, state_dtype

DOMAIN = "videomamba"
OPSET = 20
"""The version of the standard operators. Softplus, Scan and the rest of the functions below exist since version 16."""

_EULER = """
     bx = Mul (xt, Bt)"""
_ZOH = """
     bu = Mul (xt, Bt)
     size = Abs (exponent)
     near = Constant <value_float = 0.1> ()
     small = Less (size, near)
     c5 = Constant <value_float = 0.008333333333> ()
     c4 = Constant <value_float = 0.041666666667> ()
     c3 = Constant <value_float = 0.166666666667> ()
     c2 = Constant <value_float = 0.5> ()
     c1 = Constant <value_float = 1.0> ()
     p5 = Mul (exponent, c5)
     p4 = Add (p5, c4)
     q4 = Mul (exponent, p4)
     p3 = Add (q4, c3)
     q3 = Mul (exponent, p3)
     p2 = Add (q3, c2)
     q2 = Mul (exponent, p2)
     series = Add (q2, c1)
     minus = Sub (decay, c1)
     closed = Div (minus, exponent)
     ratio = Where (small, series, closed)
     bx = Mul (bu, ratio)"""
"""phi B u with phi = delta (exp(delta A) - 1) / (delta A), whose closed form cancels near 0: there its series."""

_SCAN = """<opset_import: ["" : {opset}], domain: "{domain}">
{name} (u, delta, A, B, C, D, z, bias) => (out) {{
  biased = Add (delta, bias)
  positive = Softplus (biased)
  product = Mul (positive, u)
  two = Constant <value_ints = [2]> ()
  three = Constant <value_ints = [3]> ()
  d = Unsqueeze (positive, two)
  x = Unsqueeze (product, two)
  Bs = Unsqueeze (B, three)
  Cs = Unsqueeze (C, two)
  At = Transpose <perm = [1, 0]> (A)
  batch = Shape <start = 0, end = 1> (u)
  matrix = Shape (At)
  sizes = Concat <axis = 0> (batch, matrix)
  nothing = Constant <value_float = 0.0> ()
  start = Expand (nothing, sizes)
  last, A_last, ys = Scan <
    num_scan_inputs = 4, scan_input_axes = [1, 1, 1, 1], scan_output_axes = [1],
    scan_input_directions = [{back}, {back}, {back}, {back}], scan_output_directions = [{back}],
    body = token (
      float[batch, states, channels] h, float[states, channels] Ah,
      float[batch, 1, channels] dt, float[batch, 1, channels] xt,
      float[batch, states, 1] Bt, float[batch, 1, states] Ct
    ) => (
      float[batch, states, channels] following, float[states, channels] A_same, float[batch, 1, channels] yt
    ) {{
     A_same = Identity (Ah)
     exponent = Mul (dt, Ah)
     decay = Exp (exponent)
     kept = Mul (decay, h){input}
     following = Add (kept, bx)
     yt = MatMul (Ct, following)
    }}> (start, At, d, x, Bs, Cs)
  y = Squeeze (ys, two)
  skipped = Mul (D, u)
  both = Add (y, skipped)
  sigmoid = Sigmoid (z)
  gate = Mul (z, sigmoid)
  out = Mul (both, gate)
}}"""
# A is a state that does not change, because OpenVINO reads no body that uses values from outside of it. `Scan` walks from the
# end where a direction is 1, so nothing is flipped.


def _scan_name(discretization: str, reverse: bool) -> str:
    return f"SelectiveScan{'Zoh' if discretization == 'zoh' else ''}{'Reverse' if reverse else ''}"


def scan_functions() -> list[str]:
    """The text of each model-local function: both discretisations, in both directions."""
    return [
        _SCAN.format(
            opset=OPSET,
            domain=DOMAIN,
            name=_scan_name(discretization, reverse),
            back=int(reverse),
            input=_ZOH if discretization == "zoh" else _EULER,
        )
        for discretization in ("euler", "zoh")
        for reverse in (False, True)
    ]


def _scan(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    """The registered scan as one node of DOMAIN; its state and what a backward pass needs are empty, nobody reads them."""
    inputs, lengths, flags = ScanInputs(*arguments[:9]), arguments[9], ScanFlags(*arguments[10:14])
    given = (inputs.u, inputs.delta, inputs.A, inputs.B, inputs.C, inputs.D, inputs.z, inputs.delta_bias)
    if lengths is not None or inputs.initial_state is not None or any(t is None for t in given):
        raise NotImplementedError("an exported scan has D, z and delta_bias, and neither initial_state nor lengths")
    if not flags.delta_softplus or inputs.u.dtype != torch.float32:
        raise NotImplementedError("an exported scan is fp32, with delta_softplus")
    out = torch.onnx.ops.symbolic(
        f"{DOMAIN}::{_scan_name(flags.discretization, flags.reverse)}",
        given,
        dtype=inputs.u.dtype,
        shape=inputs.u.shape,
        version=1,
    )
    return out, inputs.u.new_empty(0), inputs.u.new_empty(0)


def convolve(*arguments: Any) -> Tensor:
    """The registered causal convolution as PyTorch's own: channels first, padded at one end, mirrored taps in reverse."""
    x, weight, bias, initial_state, lengths = arguments[:5]
    flags = ConvFlags(*arguments[5:7])
    if lengths is not None or initial_state is not None:
        raise NotImplementedError("an exported convolution has neither initial_state nor lengths")
    taps = weight.shape[1]
    kernel, sides = (weight.flip(1), (0, taps - 1)) if flags.reverse else (weight, (taps - 1, 0))
    padded = F.pad(x.to(state_dtype(x)).transpose(1, 2), sides)
    out = F.conv1d(padded, kernel.unsqueeze(1), bias, groups=weight.shape[0]).transpose(1, 2)
    return (F.silu(out) if flags.activation == "silu" else out).to(x.dtype)


def decompositions() -> Mapping[Any, Callable[..., Any]]:
    """For each registered operator what replaces it: the table for `ExportedProgram.run_decompositions`."""
    return {
        torch.ops.videomamba.selective_scan.default: _scan,
        torch.ops.videomamba.causal_conv1d.default: convolve,
    }
