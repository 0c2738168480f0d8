"""Any shape, stride and flag that the ops accept: every backend against the reference, on outputs and all gradients."""

from __future__ import annotations

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.ops.cases import conv_call, in_double, positive_steps, relative_errors, scan_call, with_nan_padding, without
from tests.ops.test_backends import run_conv, run_scan
from videomamba.ops.dispatch import use_backend

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 4e-2}
dtypes = st.sampled_from([torch.float32, torch.bfloat16])
ends = st.none() | st.lists(st.floats(0, 1), min_size=3, max_size=3)
anything = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # the backend is the same for all examples
)


def lengths_at(ends: list[float], sequence: torch.Tensor) -> torch.Tensor:
    """The lengths of the entries as fractions of the whole; the last is not empty, so that every gradient is defined."""
    batch, length, _ = sequence.shape
    return torch.tensor([round(end * length) for end in ends[: batch - 1]] + [max(round(ends[-1] * length), 1)])


@anything
@given(
    shape=st.fixed_dictionaries(
        {
            "batch": st.integers(1, 3),
            "length": st.integers(1, 80),
            "channels": st.integers(1, 40),
            "states": st.integers(1, 20),
            "dtype": dtypes,
            "full": st.just(True),
            "strided": st.booleans(),
            "seed": st.integers(0, 1000),
        }
    ),
    absent=st.sets(st.sampled_from(["D", "z", "delta_bias", "initial_state"])),
    flags=st.fixed_dictionaries(
        {
            "reverse": st.booleans(),
            "discretization": st.sampled_from(["euler", "zoh"]),
            "delta_softplus": st.booleans(),
            "final_state": st.booleans(),
        }
    ),
    ends=ends,
)
def test_scan(
    backend: str, shape: dict[str, object], absent: set[str], flags: dict[str, object], ends: list[float] | None
) -> None:
    call = without(scan_call(**shape), *absent)
    call = call if flags["delta_softplus"] else positive_steps(call)
    if ends is not None:
        flags["lengths"] = lengths_at(ends, call["u"])
        call = with_nan_padding(call, flags["lengths"])
    found = run_scan(call, **flags)
    with use_backend("reference"):
        expected = run_scan(in_double(call), **flags)
    # Sums of few terms may cancel: they are compared with the largest gradient rather than with themselves.
    scale = max(float(expected[name].abs().max()) for name in call if name in expected)
    for name, error in relative_errors(found, expected).items():
        size = float(expected[name].abs().max())
        assert error * size <= TOLERANCE[shape["dtype"]] * max(size, scale if name in call else 0), (name, error)


@anything
@given(
    shape=st.fixed_dictionaries(
        {
            "batch": st.integers(1, 3),
            "length": st.integers(1, 40),
            "channels": st.integers(1, 40),
            "taps": st.integers(1, 6),
            "dtype": dtypes,
            "full": st.booleans(),
            "seed": st.integers(0, 1000),
        }
    ),
    flags=st.fixed_dictionaries({"reverse": st.booleans(), "activation": st.sampled_from(["silu", None])}),
    ends=ends,
)
def test_conv(backend: str, shape: dict[str, object], flags: dict[str, object], ends: list[float] | None) -> None:
    call = conv_call(**shape)
    if ends is not None:
        flags["lengths"] = lengths_at(ends, call["x"])
        call = with_nan_padding(call, flags["lengths"])
    found = run_conv(call, **flags)
    with use_backend("reference"):
        expected = run_conv(in_double(call), **flags)
    scale = max(float(expected[name].abs().max()) for name in call if name in expected and expected[name].numel())
    for name, error in relative_errors(found, expected).items():
        size = float(expected[name].abs().max())
        assert error * size <= TOLERANCE[shape["dtype"]] * max(size, scale if name in call else 0), (name, error)
