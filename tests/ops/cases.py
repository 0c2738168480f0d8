"""Random calls of the two ops, in every combination of what they accept."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

Call = Mapping[str, Tensor | None]


def scan_call(
    *,
    batch: int = 2,
    length: int,
    channels: int,
    states: int,
    dtype: torch.dtype,
    full: bool,
    strided: bool,
    seed: int = 0,
) -> dict[str, Tensor | None]:
    """Inputs of selective_scan; without `full` the optional ones are None; `strided` makes u, z, B, C parts of wider rows."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    def rows(width: int) -> Tensor:
        if not strided:
            return normal(batch, length, width).to(dtype)
        return normal(batch, 2 * length, width + 3).to(dtype)[:, ::2, 1 : width + 1]

    parameter = torch.float64 if dtype == torch.float64 else torch.float32
    return {
        "u": rows(channels),
        "delta": rows(channels) - 1,
        "A": -torch.exp(normal(channels, states)).to(parameter),
        "B": rows(states),
        "C": rows(states),
        "D": normal(channels).to(parameter) if full else None,
        "z": rows(channels) if full else None,
        "delta_bias": normal(channels).to(parameter) if full else None,
        "initial_state": normal(batch, channels, states).to(parameter) if full else None,
    }


def conv_call(
    *, batch: int = 2, length: int, channels: int, taps: int, dtype: torch.dtype, full: bool, seed: int = 0
) -> dict[str, Tensor | None]:
    """Inputs of causal_conv1d; x is one half of a wider row, as in the mixer."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    parameter = torch.float64 if dtype == torch.float64 else torch.float32
    return {
        "x": normal(batch, length, 2 * channels).to(dtype).chunk(2, dim=-1)[1],
        "weight": normal(channels, taps).to(parameter),
        "bias": normal(channels).to(parameter) if full else None,
        "initial_state": normal(batch, taps - 1, channels).to(dtype) if full else None,
    }


SEQUENCES = frozenset({"u", "delta", "B", "C", "z", "x"})
"""Names of inputs with a row for each token."""


def with_nan_padding(call: Call, lengths: Tensor) -> dict[str, Tensor | None]:
    """The call with NaN in the tokens of entry i from lengths[i] on; strides stay as they are."""

    def filled(t: Tensor) -> Tensor:
        padding = torch.arange(t.shape[1]) >= lengths[:, None]
        return t.masked_fill_(padding[..., None], float("nan"))

    return {name: filled(t) if t is not None and name in SEQUENCES else t for name, t in call.items()}


def entry(call: Call, i: int, length: int) -> dict[str, Tensor | None]:
    """Entry i of the batch alone, cut to its first tokens."""

    def cut(name: str, t: Tensor) -> Tensor:
        if name in SEQUENCES:
            return t[i : i + 1, :length]
        return t[i : i + 1] if name == "initial_state" else t

    return {name: None if t is None else cut(name, t) for name, t in call.items()}


def in_double(call: Call) -> dict[str, Tensor | None]:
    return {name: None if t is None else t.double() for name, t in call.items()}


def as_leaves(call: Call) -> dict[str, Tensor | None]:
    return {name: None if t is None else t.detach().clone().requires_grad_() for name, t in call.items()}


def relative_errors(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, float]:
    """For each name the largest difference over the largest expected magnitude; NaN counts as infinite."""
    assert found.keys() == expected.keys()
    errors = {}
    for name, value in expected.items():
        if value.numel() == 0:
            continue
        difference = (found[name].double() - value.double()).abs().max() / value.double().abs().max().clamp(min=1e-30)
        errors[name] = float(torch.nan_to_num(difference, nan=float("inf")))
    return errors
