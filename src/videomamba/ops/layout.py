"""What `dispatch` and a backend exchange: the description of a call, its tensors, its flags, its results."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class ScanCall(NamedTuple):
    """A call of `selective_scan` without its tensors: a backend may refuse it. shape (b, l, e)."""

    device: torch.device
    dtype: torch.dtype
    shape: tuple[int, ...] = (1, 1, 1)
    states: int = 16
    delta_softplus: bool = True
    reverse: bool = False
    discretization: str = "euler"
    gradient: bool = False
    padded: bool = False


class ConvCall(NamedTuple):
    """The same for `causal_conv1d`. shape (b, l, e)."""

    device: torch.device
    dtype: torch.dtype
    shape: tuple[int, ...] = (1, 1, 1)
    taps: int = 4
    activation: str = "silu"
    reverse: bool = False
    padded: bool = False


class LayerCall(NamedTuple):
    """The same for a whole layer, fused or `in_halves`. dtype is that of its products; shape (b, l, d)."""

    device: torch.device
    dtype: torch.dtype
    shape: tuple[int, ...] = (1, 1, 1)
    states: int = 16
    taps: int = 4
    discretization: str = "euler"
    padded: bool = False
    in_halves: bool = False


Call = ScanCall | ConvCall | LayerCall


class ScanInputs(NamedTuple):
    """u, delta, z (b, l, e); A (e, n); B, C (b, l, n); D, delta_bias (e,); initial_state (b, e, n)."""

    u: Tensor
    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None
    z: Tensor | None
    delta_bias: Tensor | None
    initial_state: Tensor | None


class ScanGrads(ScanInputs):
    """One gradient for each field of ScanInputs, of the same shape and dtype; None where the input was None."""


class ScanFlags(NamedTuple):
    delta_softplus: bool
    reverse: bool
    discretization: str
    save_states: bool


class ScanResult(NamedTuple):
    """out (b, l, e) in u's dtype; final_state (b, e, n) fp32 (fp64 for fp64 inputs); states, which the backend's backward
    pass needs, of the shape that its `states_shape` gives, empty without `save_states`."""

    out: Tensor
    final_state: Tensor
    states: Tensor


class ConvFlags(NamedTuple):
    activation: str  # "silu" or "" for none
    reverse: bool


class Direction(NamedTuple):
    """One scan as a walk reads it: conv (e, k), conv_bias (e,), to_projected (e, r + 2n or more), to_delta (r, e), A (e, n),
    D, dt_bias (e,). Columns of to_projected beyond r + 2n are 0."""

    conv: Tensor
    conv_bias: Tensor
    to_projected: Tensor
    to_delta: Tensor
    A: Tensor
    D: Tensor
    dt_bias: Tensor


class LayerWeights(NamedTuple):
    """A layer as its walks read it: norm (d,), to_x, to_z (d, e), to_out (e, d), and the two directions."""

    norm: Tensor
    to_x: Tensor
    to_z: Tensor
    to_out: Tensor
    forward: Direction
    backward: Direction


class WalkState(NamedTuple):
    """What a walk carries from block to block: the scan's state (b, e, n) and the border (b, k - 1, e) of the convolution,
    the tokens just passed in sequence order. None before the first block."""

    scan: Tensor | None = None
    border: Tensor | None = None


def state_dtype(x: Tensor) -> torch.dtype:
    """The dtype of all arithmetic inside the ops: fp32 whatever the inputs are, fp64 for fp64."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def check_form_of_lengths(lengths: Tensor | None, sequence: Tensor) -> None:
    """Raises ValueError unless lengths is (b,) int64 on the device of the sequence (b, l, ...)."""
    if lengths is None:
        return
    if not isinstance(lengths, Tensor):
        raise ValueError(f"lengths must be a tensor (b,) of int64, got {type(lengths).__name__}")
    if lengths.shape != sequence.shape[:1] or lengths.dtype != torch.int64:
        raise ValueError(
            f"lengths must be (b,) = ({len(sequence)},) of int64, got {tuple(lengths.shape)} of {lengths.dtype}"
        )
    if lengths.device != sequence.device:
        raise ValueError(f"lengths must be on the device of the sequence, {sequence.device}, got {lengths.device}")


def check_lengths(lengths: Tensor | None, sequence: Tensor) -> None:
    """`check_form_of_lengths`, and that 0 <= lengths[i] <= l. It reads values, so it runs inside the registered ops."""
    check_form_of_lengths(lengths, sequence)
    length = sequence.shape[1]
    if lengths is not None and ((lengths < 0) | (lengths > length)).any():
        raise ValueError(f"lengths must lie between 0 and l = {length}, got {lengths.tolist()}")


def clear_padding(t: Tensor, lengths: Tensor | None, first: int = 0) -> Tensor:
    """t (b, s, ...), the tokens from `first` on, with 0 at padding. Multiplying by 0 would let NaN through."""
    if lengths is None:
        return t
    kept = torch.arange(first, first + t.shape[1], device=t.device) < lengths[:, None]
    return torch.where(kept.view(*kept.shape, *[1] * (t.ndim - 2)), t, 0)
