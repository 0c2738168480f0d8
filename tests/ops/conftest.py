"""Every backend, and every instruction set of the native one, under one name each; outputs made of NaN until written."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import torch

from videomamba.ops.dispatch import native_isas, use_backend, use_isa

BACKENDS = ("chunked", *(f"native-{isa}" for isa in native_isas()))


@pytest.fixture(autouse=True)
def nan_filled_memory() -> Iterator[None]:
    """torch.empty gives NaN: a backend that leaves an element unwritten is found out."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Forces the backend for the test; its name is the part before the instruction set."""
    name, _, isa = request.param.partition("-")
    with use_backend(name), use_isa(isa) if isa else contextlib.nullcontext():
        yield name
