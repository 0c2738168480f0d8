"""One body for all backends: outputs and every gradient against the reference in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.golden import golden_scan
from tests.ops.cases import (
    Call,
    Case,
    as_leaves,
    conv_call,
    each_case,
    in_double,
    positive_steps,
    relative_errors,
    scan_call,
    with_nan_padding,
    without,
)
from tests.ops.conftest import BACKENDS
from videomamba.ops import causal_conv1d, chunked, selective_scan
from videomamba.ops.dispatch import use_backend

TOLERANCE = {torch.float64: 1e-11, torch.float32: 2e-5, torch.bfloat16: 2e-2}


FLAG = (False, True)
COMMON = {
    "backend": BACKENDS,
    "dtype": (torch.float32, torch.bfloat16, torch.float64),
    "reverse": FLAG,
    "padded": FLAG,
    "initial_state": FLAG,
}


def served(case: Case) -> bool:
    """The native kernels have no float64."""
    return not (case.get("backend", "").startswith("native") and case.get("dtype") == torch.float64)


def run_scan(call: Call, *, final_state: bool = True, **flags: object) -> dict[str, Tensor]:
    """Output, final state and all gradients of a fixed weighted sum of the two."""
    leaves = as_leaves(call)
    found = selective_scan(**leaves, return_final_state=final_state, **flags)
    outs = dict(zip(("out", "state"), found if final_state else (found,), strict=False))
    weights = torch.Generator().manual_seed(7)
    total = sum(
        (t.double() * torch.randn(t.shape, generator=weights, dtype=torch.float64)).sum() for t in outs.values()
    )
    wanted = {name: leaf for name, leaf in leaves.items() if leaf is not None}
    grads = torch.autograd.grad(total, list(wanted.values()))
    return {**{name: t.detach() for name, t in outs.items()}, **dict(zip(wanted, grads, strict=True))}


def run_conv(call: Call, **flags: object) -> dict[str, Tensor]:
    leaves = as_leaves(call)
    out = causal_conv1d(**leaves, **flags)
    weights = torch.Generator().manual_seed(7)
    total = (out.double() * torch.randn(out.shape, generator=weights, dtype=torch.float64)).sum()
    wanted = {name: leaf for name, leaf in leaves.items() if leaf is not None}
    grads = torch.autograd.grad(total, list(wanted.values()))
    return {"out": out.detach(), **dict(zip(wanted, grads, strict=True))}


@each_case(
    3,
    served,
    **COMMON,
    shape=((1, 6, 5), (63, 33, 16), (130, 40, 20)),
    discretization=("euler", "zoh"),
    delta_softplus=FLAG,
    strided=FLAG,
    D=FLAG,
    z=FLAG,
    delta_bias=FLAG,
    final_state=FLAG,
)
def test_scan_matches_the_reference(
    backend: str,
    dtype: torch.dtype,
    reverse: bool,
    padded: bool,
    initial_state: bool,
    shape: tuple[int, int, int],
    discretization: str,
    delta_softplus: bool,
    strided: bool,
    D: bool,
    z: bool,
    delta_bias: bool,
    final_state: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    length, channels, states = shape
    monkeypatch.setattr(chunked, "SEGMENT_ELEMENTS", 3 * channels * states * 64)  # several segments in a short test
    given = {"D": D, "z": z, "delta_bias": delta_bias, "initial_state": initial_state}
    call = scan_call(batch=3, length=length, channels=channels, states=states, dtype=dtype, full=True, strided=strided)
    call = call if delta_softplus else positive_steps(call)
    call = without(call, *(name for name, wanted in given.items() if not wanted))
    flags = {"reverse": reverse, "discretization": discretization, "delta_softplus": delta_softplus}
    if padded:
        flags["lengths"] = torch.tensor([length, length // 3, 0])
        call = with_nan_padding(call, flags["lengths"])
    found = run_scan(call, final_state=final_state, **flags)
    with use_backend("reference"):
        expected = run_scan(in_double(call), final_state=final_state, **flags)
    compare(found, expected, call, dtype)


def compare(found: dict[str, Tensor], expected: dict[str, Tensor], call: Call, dtype: torch.dtype) -> None:
    assert {name: t.dtype for name, t in found.items() if name in call} == {
        name: t.dtype for name, t in call.items() if t is not None
    }
    errors = relative_errors(found, expected)
    if "A" in errors:
        errors["A"] /= 2  # a sum over the batch and the length, whose terms cancel
    assert max(errors.values()) < TOLERANCE[dtype], errors


@each_case(2, backend=BACKENDS, reverse=FLAG, softplus=FLAG)
def test_scan_of_a_thousand_tokens(backend: str, reverse: bool, softplus: bool) -> None:
    call = scan_call(length=1000, channels=8, states=4, dtype=torch.float32, full=True, strided=False)
    call = call if softplus else positive_steps(call)
    found = run_scan(call, reverse=reverse, delta_softplus=softplus)
    with use_backend("reference"):
        expected = run_scan(in_double(call), reverse=reverse, delta_softplus=softplus)
    assert max(relative_errors(found, expected).values()) < 5e-5


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_states_carry_a_sequence_over_a_cut(backend: str, reverse: bool) -> None:
    call = scan_call(length=100, channels=20, states=16, dtype=torch.float32, full=True, strided=False)
    whole, last = selective_scan(**call, reverse=reverse, return_final_state=True)
    cut = 37
    parts = [slice(cut, None), slice(0, cut)] if reverse else [slice(0, cut), slice(cut, None)]
    state, outs = call["initial_state"], []
    for part in parts:
        piece = {k: t[:, part] if k in ("u", "delta", "B", "C", "z") else t for k, t in call.items()}
        out, state = selective_scan(**{**piece, "initial_state": state}, reverse=reverse, return_final_state=True)
        outs.append(out)
    joined = torch.cat(outs[::-1] if reverse else outs, dim=1)
    torch.testing.assert_close(joined, whole, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(state, last, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("discretization", ["euler", "zoh"])
def test_extreme_steps_stay_finite_and_exact(backend: str, discretization: str) -> None:
    """Raw delta from far below to far above softplus's switch at 20, A from nearly 0 to fast decay."""
    raw = torch.linspace(-60, 60, 121).repeat(2, 1)[..., None].expand(2, 121, 8).contiguous()
    call = scan_call(length=121, channels=8, states=3, dtype=torch.float32, full=True, strided=False)
    call["delta"] = raw
    call["A"] = -torch.logspace(-9, 3, 24).reshape(8, 3)
    found = run_scan(call, discretization=discretization)
    with use_backend("reference"):
        expected = run_scan(in_double(call), discretization=discretization)
    errors = relative_errors(found, expected)
    assert max(errors.values()) < 2e-4, errors


def test_nan_inputs_are_not_hidden(backend: str) -> None:
    call = scan_call(length=40, channels=16, states=16, dtype=torch.float32, full=True, strided=False)
    call["delta"][0, 20, 3] = float("nan")
    out = selective_scan(**call)
    assert out[0, 20:, 3].isnan().all()
    assert not out[0, :20].isnan().any() and not out[1].isnan().any()


@each_case(
    3,
    served,
    **COMMON,
    shape=((1, 6, 4), (3, 40, 4), (63, 33, 3), (50, 16, 1)),
    bias=FLAG,
    activation=("silu", None),
)
def test_conv_matches_the_reference(
    backend: str,
    dtype: torch.dtype,
    reverse: bool,
    padded: bool,
    initial_state: bool,
    shape: tuple[int, int, int],
    bias: bool,
    activation: str | None,
) -> None:
    length, channels, taps = shape
    call = conv_call(batch=3, length=length, channels=channels, taps=taps, dtype=dtype, full=True)
    call = without(call, *["bias"] * (not bias), *["initial_state"] * (not initial_state))
    flags = {"activation": activation, "reverse": reverse}
    if padded:
        flags["lengths"] = torch.tensor([length, length // 3, 0])
        call = with_nan_padding(call, flags["lengths"])
    found = run_conv(call, **flags)
    with use_backend("reference"):
        expected = run_conv(in_double(call), **flags)
    compare(found, expected, call, dtype)


def test_conv_is_pytorchs_grouped_conv(backend: str) -> None:
    call = conv_call(length=30, channels=12, taps=4, dtype=torch.float32, full=True)
    call["initial_state"] = None
    found = causal_conv1d(**call)
    padded = torch.nn.functional.conv1d(
        call["x"].transpose(1, 2), call["weight"][:, None], call["bias"], padding=3, groups=12
    )
    torch.testing.assert_close(found, torch.nn.functional.silu(padded[..., :30]).transpose(1, 2), rtol=1e-5, atol=1e-5)


def test_the_original_operator_is_matched(backend: str) -> None:
    """Golden values of the original's scan, made in float64."""
    golden = golden_scan()
    dtype = torch.float64 if backend == "chunked" else torch.float32
    names = {"u": "u", "delta": "delta", "A": "A", "B": "Bm", "C": "C", "D": "Dv", "z": "z", "delta_bias": "bias"}
    sequences = ("u", "delta", "B", "C", "z")  # the original keeps channels before length

    def ours(key: str, value: np.ndarray) -> Tensor:
        t = torch.from_numpy(value).to(dtype)
        return t.transpose(1, 2) if key in sequences else t

    leaves = {key: ours(key, golden[name]).requires_grad_() for key, name in names.items()}
    out, state = selective_scan(**leaves, return_final_state=True)
    grads = torch.autograd.grad(
        out, list(leaves.values()), torch.from_numpy(golden["grad_out"]).to(dtype).transpose(1, 2)
    )
    found = {"out": out.detach(), "state": state.detach(), **dict(zip(leaves, grads, strict=True))}
    expected = {key: ours(key, golden[f"grad.{name}"]) for key, name in names.items()}
    expected["out"] = ours("u", golden["out"])
    expected["state"] = torch.from_numpy(golden["last_state"])
    errors = relative_errors(found, expected)
    assert max(errors.values()) < (1e-12 if dtype == torch.float64 else 1e-5), errors


def test_two_runs_give_the_same_bits(backend: str) -> None:
    call = scan_call(batch=3, length=77, channels=50, states=16, dtype=torch.float32, full=True, strided=False)
    first, second = run_scan(call), run_scan(call)
    assert all(torch.equal(first[name], second[name]) for name in first)
