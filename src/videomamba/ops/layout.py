"""What crosses the border between `dispatch` and a backend: the tensors of a call, its flags, its results."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

CHECKPOINT_INTERVAL = 32
"""Tokens between two states that the forward pass keeps for the backward pass, in walking order."""


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


class ScanGrads(NamedTuple):
    """One gradient for each field of ScanInputs, of the same shape and dtype; None where the input was None."""

    u: Tensor
    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None
    z: Tensor | None
    delta_bias: Tensor | None
    initial_state: Tensor | None


class ScanFlags(NamedTuple):
    delta_softplus: bool
    reverse: bool
    discretization: str
    save_states: bool


class ScanResult(NamedTuple):
    """out (b, l, e) in u's dtype; final_state (b, e, n) fp32 (fp64 for fp64 inputs).

    states (b, ceil(l / CHECKPOINT_INTERVAL), n, e): the state before each block of tokens in walking order, or empty. The
    walk of an entry that ends in padding leaves it out, in both directions; what follows its last block is not read.
    """

    out: Tensor
    final_state: Tensor
    states: Tensor


class ConvFlags(NamedTuple):
    activation: str  # "silu" or "" for none
    reverse: bool


class Direction(NamedTuple):
    """The parameters of one scan: conv (e, k), x_proj (r + 2n, e), dt_proj (e, r), A (e, n); conv_bias, D, dt_bias (e,)."""

    conv: Tensor
    conv_bias: Tensor
    x_proj: Tensor
    dt_proj: Tensor
    A: Tensor
    D: Tensor
    dt_bias: Tensor


class MixerWeights(NamedTuple):
    """in_proj (2e, d), out_proj (d, e), and the two directions."""

    in_proj: Tensor
    out_proj: Tensor
    forward: Direction
    backward: Direction


class LayerWeights(NamedTuple):
    """norm (d,), and the mixer's."""

    norm: Tensor
    mixer: MixerWeights


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
            f"lengths must be (b,) = ({sequence.shape[0]},) of int64, got {tuple(lengths.shape)} of {lengths.dtype}"
        )
    if lengths.device != sequence.device:
        raise ValueError(f"lengths must be on the device of the sequence, {sequence.device}, got {lengths.device}")


def check_lengths(lengths: Tensor | None, sequence: Tensor) -> None:
    """Their form, and that 0 <= lengths[i] <= l. It reads values, so it runs inside the registered ops."""
    check_form_of_lengths(lengths, sequence)
    length = sequence.shape[1]
    if lengths is not None and ((lengths < 0) | (lengths > length)).any():
        raise ValueError(f"lengths must lie between 0 and l = {length}, got {lengths.tolist()}")


def clear_padding(t: Tensor, lengths: Tensor | None, first: int = 0) -> Tensor:
    """(b, s, ...), the tokens from `first` on, with 0 at padding. A product would let NaN through."""
    if lengths is None:
        return t
    kept = torch.arange(first, first + t.shape[1], device=t.device) < lengths[:, None]
    return torch.where(kept.view(*kept.shape, *[1] * (t.ndim - 2)), t, 0)


def num_checkpoints(length: int) -> int:
    return (length + CHECKPOINT_INTERVAL - 1) // CHECKPOINT_INTERVAL
