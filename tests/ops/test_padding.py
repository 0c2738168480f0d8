"""A padded batch is its entries alone, whatever its padding holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import pytest
import torch
from torch import Tensor

from tests.ops.cases import (
    SEQUENCES,
    Call,
    as_leaves,
    conv_call,
    each_case,
    entry,
    relative_errors,
    scan_call,
    with_nan_padding,
)
from tests.ops.conftest import BACKENDS
from videomamba.ops import causal_conv1d, chunked, selective_scan

FLAG = (False, True)
PADDED_TOLERANCE = {
    torch.float32: 1e-6,
    torch.bfloat16: 2**-8,
}  # sums over entries and channels may differ in their order


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


@each_case(
    2,
    backend=("reference", *BACKENDS),
    dtype=(torch.float32, torch.bfloat16),
    full=FLAG,
    reverse=FLAG,
    discretization=("euler", "zoh"),
)
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


@each_case(
    2,
    backend=("reference", *BACKENDS),
    taps=(4, 3, 1),
    dtype=(torch.float32, torch.bfloat16),
    full=FLAG,
    activation=("silu", None),
    reverse=FLAG,
)
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
