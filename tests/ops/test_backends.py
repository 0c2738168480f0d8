"""One body for all backends: outputs and every gradient against the reference in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.golden import golden_scan
from tests.ops.cases import (
    SEQUENCES,
    Call,
    as_leaves,
    conv_call,
    entry,
    in_double,
    relative_errors,
    scan_call,
    with_nan_padding,
)
from tests.ops.conftest import BACKENDS
from videomamba.ops import causal_conv1d, chunked, selective_scan
from videomamba.ops.dispatch import use_backend

TOLERANCE = {torch.float64: 1e-11, torch.float32: 2e-5, torch.bfloat16: 2e-2}
PADDED_TOLERANCE = {
    torch.float32: 1e-6,
    torch.bfloat16: 2**-8,
}  # sums over entries and channels may differ in their order


def run_scan(call: Call, **flags: object) -> dict[str, Tensor]:
    """Output, final state and all gradients of a fixed weighted sum of the two."""
    leaves = as_leaves(call)
    out, state = selective_scan(**leaves, return_final_state=True, **flags)
    weights = torch.Generator().manual_seed(7)
    total = (out.double() * torch.randn(out.shape, generator=weights, dtype=torch.float64)).sum()
    total = total + (state.double() * torch.randn(state.shape, generator=weights, dtype=torch.float64)).sum()
    wanted = {name: leaf for name, leaf in leaves.items() if leaf is not None}
    grads = torch.autograd.grad(total, list(wanted.values()))
    return {"out": out.detach(), "state": state.detach(), **dict(zip(wanted, grads, strict=True))}


def run_conv(call: Call, **flags: object) -> dict[str, Tensor]:
    leaves = as_leaves(call)
    out = causal_conv1d(**leaves, **flags)
    weights = torch.Generator().manual_seed(7)
    total = (out.double() * torch.randn(out.shape, generator=weights, dtype=torch.float64)).sum()
    wanted = {name: leaf for name, leaf in leaves.items() if leaf is not None}
    grads = torch.autograd.grad(total, list(wanted.values()))
    return {"out": out.detach(), **dict(zip(wanted, grads, strict=True))}


@pytest.mark.parametrize("discretization", ["euler", "zoh"])
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("full", [False, True], ids=["bare", "full"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=["fp32", "bf16", "fp64"])
@pytest.mark.parametrize(("length", "channels", "states"), [(1, 6, 5), (63, 33, 16), (200, 40, 20)])
def test_scan_matches_the_reference(
    backend: str,
    length: int,
    channels: int,
    states: int,
    dtype: torch.dtype,
    full: bool,
    reverse: bool,
    discretization: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if backend == "native" and dtype == torch.float64:
        pytest.skip("the native kernels serve fp32 and bf16")
    monkeypatch.setattr(chunked, "SEGMENT_ELEMENTS", 2 * channels * states * 64)  # several segments in a short test
    call = scan_call(length=length, channels=channels, states=states, dtype=dtype, full=full, strided=full)
    found = run_scan(call, reverse=reverse, discretization=discretization)
    with use_backend("reference"):
        expected = run_scan(in_double(call), reverse=reverse, discretization=discretization)
    assert {name: t.dtype for name, t in found.items() if name in call} == {
        name: t.dtype for name, t in call.items() if t is not None
    }
    errors = relative_errors(found, expected)
    assert max(errors.values()) < TOLERANCE[dtype], errors


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("softplus", [False, True])
def test_scan_of_a_thousand_tokens(backend: str, reverse: bool, softplus: bool) -> None:
    call = scan_call(length=1000, channels=8, states=4, dtype=torch.float32, full=True, strided=False)
    if not softplus:
        call["delta"], call["delta_bias"] = call["delta"].abs() * 0.1, call["delta_bias"].abs() * 0.1
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


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("activation", ["silu", None])
@pytest.mark.parametrize("full", [False, True], ids=["bare", "full"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=["fp32", "bf16", "fp64"])
@pytest.mark.parametrize(("length", "channels", "taps"), [(1, 6, 4), (3, 40, 4), (63, 33, 3), (50, 16, 1)])
def test_conv_matches_the_reference(
    backend: str,
    length: int,
    channels: int,
    taps: int,
    dtype: torch.dtype,
    full: bool,
    activation: str | None,
    reverse: bool,
) -> None:
    if backend == "native" and dtype == torch.float64:
        pytest.skip("the native kernels serve fp32 and bf16")
    call = conv_call(length=length, channels=channels, taps=taps, dtype=dtype, full=full)
    found = run_conv(call, activation=activation, reverse=reverse)
    with use_backend("reference"):
        expected = run_conv(in_double(call), activation=activation, reverse=reverse)
    errors = relative_errors(found, expected)
    assert max(errors.values()) < TOLERANCE[dtype], errors


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


def run_alone(
    op: Callable[..., Sequence[Tensor]], call: Call, grads: Sequence[Tensor], lengths: Tensor
) -> dict[str, Tensor]:
    """Results and gradients of a padded batch from calls of one entry each; an entry of no tokens only passes its state on."""
    length = grads[0].shape[1]
    parts = []
    for i, n in enumerate(lengths.tolist()):
        one, one_grads = entry(call, i, n), [grads[0][i : i + 1, :n], *(g[i : i + 1] for g in grads[1:])]
        if n == 0:
            leaves = {name: torch.zeros_like(t) for name, t in one.items() if t is not None}
            outs = [torch.zeros_like(one_grads[0]), *(torch.zeros_like(g) for g in one_grads[1:])]
            if "initial_state" in leaves and len(outs) > 1:
                outs[1], leaves["initial_state"] = one["initial_state"], one_grads[1]
            parts.append((outs, leaves))
        else:
            parts.append(run_with_gradients(op, one, one_grads))

    def padded(t: Tensor) -> Tensor:
        return torch.nn.functional.pad(t, (0, 0, 0, length - t.shape[1]))

    expected = {"out": torch.cat([padded(outs[0]) for outs, _ in parts])}
    if len(grads) > 1:
        expected["state"] = torch.cat([outs[1] for outs, _ in parts])
    for name in parts[0][1]:
        of_entries = [found[name] for _, found in parts]
        if name in SEQUENCES:
            expected[name] = torch.cat([padded(t) for t in of_entries])
        else:
            expected[name] = torch.cat(of_entries) if name == "initial_state" else torch.stack(of_entries).sum(0)
    return expected


def run_with_gradients(
    op: Callable[..., Sequence[Tensor]], call: Call, grads: Sequence[Tensor], **flags: object
) -> tuple[list[Tensor], dict[str, Tensor]]:
    """The results of `op`, and the gradient of each input when `grads` are those of the results."""
    leaves = as_leaves(call)
    outs = op(**leaves, **flags)
    wanted = {name: leaf for name, leaf in leaves.items() if leaf is not None}
    found = torch.autograd.grad(outs, list(wanted.values()), list(grads))
    return [out.detach() for out in outs], dict(zip(wanted, found, strict=True))


def check_padded_batch(
    backend: str, op: Callable[..., Sequence[Tensor]], call: Call, grads: list[Tensor], lengths: Tensor
) -> None:
    """A batch whose padding holds NaN, in inputs and in the gradient of the result, is its entries alone."""
    expected = run_alone(op, call, grads, lengths)
    padding = torch.arange(grads[0].shape[1]) >= lengths[:, None]
    padded_grads = [grads[0].masked_fill(padding[..., None], float("nan")), *grads[1:]]
    outs, gradients = run_with_gradients(op, with_nan_padding(call, lengths), padded_grads, lengths=lengths)
    found = {**dict(zip(("out", "state"), outs, strict=False)), **gradients}
    errors = relative_errors(found, expected)
    assert max(errors.values()) < PADDED_TOLERANCE[grads[0].dtype], errors
    for name in (SEQUENCES | {"out"}) & found.keys():
        assert not found[name][padding].any(), name
    if backend == "native":
        assert torch.equal(found["out"], expected["out"])


@pytest.mark.parametrize("backend", ["reference", *BACKENDS], indirect=True)
@pytest.mark.parametrize("discretization", ["euler", "zoh"])
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("full", [False, True], ids=["bare", "full"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_a_padded_scan_is_its_entries_alone(
    backend: str, dtype: torch.dtype, full: bool, reverse: bool, discretization: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunked, "SEGMENT_ELEMENTS", 5 * 20 * 17 * 32)  # a segment of one block for the batch
    lengths = torch.tensor([70, 33, 0, 1, 64])
    call = scan_call(batch=5, length=70, channels=20, states=17, dtype=dtype, full=full, strided=full)
    generator = torch.Generator().manual_seed(1)
    grads = [torch.randn(5, 70, 20, generator=generator).to(dtype), torch.randn(5, 20, 17, generator=generator)]
    op = partial(selective_scan, reverse=reverse, discretization=discretization, return_final_state=True)
    check_padded_batch(backend, op, call, grads, lengths)


@pytest.mark.parametrize("backend", ["reference", *BACKENDS], indirect=True)
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("activation", ["silu", None])
@pytest.mark.parametrize("full", [False, True], ids=["bare", "full"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("taps", [4, 3, 1])
def test_a_padded_conv_is_its_entries_alone(
    backend: str, taps: int, dtype: torch.dtype, full: bool, activation: str | None, reverse: bool
) -> None:
    lengths = torch.tensor([30, 17, 0, 1, 2])
    call = conv_call(batch=5, length=30, channels=20, taps=taps, dtype=dtype, full=full)
    grads = [torch.randn(5, 30, 20, generator=torch.Generator().manual_seed(1)).to(dtype)]

    def op(**inputs: Tensor) -> tuple[Tensor]:
        return (causal_conv1d(**inputs, activation=activation, reverse=reverse),)

    check_padded_batch(backend, op, call, grads, lengths)


def test_an_infinite_decay_does_not_meet_padding(backend: str) -> None:
    """exp(0 A) is 1 for every finite A only."""
    call = scan_call(batch=1, length=40, channels=16, states=16, dtype=torch.float32, full=True, strided=False)
    call["A"][3, 5] = -float("inf")
    whole = selective_scan(**{**entry(call, 0, 7), "initial_state": None}, return_final_state=True)
    found = selective_scan(**{**call, "initial_state": None}, lengths=torch.tensor([7]), return_final_state=True)
    torch.testing.assert_close(found[0][:, :7], whole[0], rtol=1e-6, atol=1e-6, equal_nan=True)
    torch.testing.assert_close(found[1], whole[1], rtol=1e-6, atol=1e-6, equal_nan=True)


def test_two_runs_give_the_same_bits(backend: str) -> None:
    call = scan_call(batch=3, length=77, channels=50, states=16, dtype=torch.float32, full=True, strided=False)
    first, second = run_scan(call), run_scan(call)
    assert all(torch.equal(first[name], second[name]) for name in first)
