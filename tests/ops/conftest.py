"""Every backend, and every instruction set of the native one, under one name each; outputs made of NaN until written."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from videomamba.ops import native
from videomamba.ops.dispatch import use_backend

ISAS = tuple(native.kernels.isas()) if native.kernels is not None else ()
BACKENDS = ("chunked", *(f"native-{isa}" for isa in ISAS))


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
    if isa:
        native.kernels.set_isa(isa)
    with use_backend(name):
        yield name
    if isa:
        native.kernels.set_isa(ISAS[0])
