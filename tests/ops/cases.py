"""Random calls of the two ops, and few of them that meet every pair or triple of what the ops accept."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from itertools import combinations, product
from typing import Any

import pytest
import torch
from torch import Tensor

Call = Mapping[str, Tensor | None]
Case = dict[str, Any]


def covering(
    strength: int, factors: Mapping[str, Collection[Any]], *, possible: Callable[[Case], bool] = lambda _: True
) -> list[Case]:
    """Few cases in which any `strength` factors have every combination of values: a covering array, built greedily.

    `possible` is asked about cases with some of the factors only; what it refuses is in no case.
    """
    groups = list(combinations(factors, strength))
    combined = (
        tuple(zip(names, values, strict=True))
        for names in groups
        for values in product(*(factors[name] for name in names))
    )
    missing = dict.fromkeys(pairs for pairs in combined if possible(dict(pairs)))
    cases = []
    while missing:
        case = dict(next(iter(missing)))
        for name in [name for name in factors if name not in case]:
            known = [group for group in groups if name in group and case.keys() >= set(group) - {name}]
            choices = [{**case, name: value} for value in factors[name]]
            case = max(
                (choice for choice in choices if possible(choice)),
                key=lambda choice: sum(_part(choice, group) in missing for group in known),
            )
        for group in groups:
            missing.pop(_part(case, group), None)
        cases.append({name: case[name] for name in factors})
    return cases


def _part(case: Case, names: tuple[str, ...]) -> tuple[tuple[str, Any], ...]:
    return tuple((name, case[name]) for name in names)


def each_case(
    strength: int, possible: Callable[[Case], bool] = lambda _: True, **factors: Collection[Any]
) -> pytest.MarkDecorator:
    """Parametrises a test with a `covering` of its factors."""

    def said(name: str, value: Any) -> str:
        return f"{'' if value else 'no '}{name}" if isinstance(value, bool) else str(value).removeprefix("torch.")

    cases = covering(strength, factors, possible=possible)
    return pytest.mark.parametrize(
        tuple(factors),
        [pytest.param(*case.values(), id="-".join(said(*item) for item in case.items())) for case in cases],
        indirect=["backend"] if "backend" in factors else False,
    )


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


def without(call: Call, *absent: str) -> dict[str, Tensor | None]:
    return {name: None if name in absent else t for name, t in call.items()}


def positive_steps(call: Call) -> dict[str, Tensor | None]:
    """The call with steps that need no softplus."""
    return {name: t.abs() * 0.1 if t is not None and name in ("delta", "delta_bias") else t for name, t in call.items()}


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
