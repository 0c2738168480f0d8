"""The number of threads, and who calls from where, change no result beyond the rounding of a sum in another order."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tests.ops.cases import conv_call, each_case, relative_errors, scan_call
from tests.ops.conftest import BACKENDS
from tests.ops.test_backends import run_conv, run_scan
from videomamba.ops import causal_conv1d, native, selective_scan
from videomamba.ops.dispatch import use_backend
from videomamba.ops.layout import ScanFlags, ScanInputs

needs_native = pytest.mark.skipif(native.kernels is None, reason="the native kernels are not built")
PIECES_TOLERANCE = {torch.float32: 5e-5, torch.bfloat16: 2e-2}
"""A piece is crossed by one exponential of its steps' sum; the walk multiplies theirs, each a little less exact."""
NARROW, WIDE = 3, 50
"""Channels: one group of lanes for every instruction set, so that threads can only share the length; and several groups."""


SHORT = 64
"""Tokens of the shortest piece that is worth a thread, two intervals of kept states; in the product it is longer."""


@pytest.fixture(autouse=True)
def same_threads_afterwards(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(native, "PIECE_TOKENS", SHORT)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def a_scan(channels: int, length: int = 8 * SHORT + 5, **changes: object) -> dict[str, Tensor | None]:
    options = {"states": 16, "dtype": torch.float32, "full": True, "strided": False, "batch": 1}
    return scan_call(length=length, channels=channels, **{**options, **changes})


@needs_native
def test_the_length_is_cut_only_for_idle_threads() -> None:
    length = 8 * native.PIECE_TOKENS
    for threads, batch, channels, expected in [
        (8, 1, NARROW, 8),
        (8, 2, NARROW, 4),
        (8, 4, NARROW, 1),
        (2, 1, NARROW, 1),
    ]:
        torch.set_num_threads(threads)
        assert native._shares(batch, length, channels, None)[1] == expected
    torch.set_num_threads(8)
    assert native._shares(1, length, 8 * native.kernels.lanes(), None) == (8, 1, 8)
    assert native._shares(1, 3 * native.PIECE_TOKENS - 1, NARROW, None)[1] == 1  # too short
    assert native.PIECE_TOKENS % native.kernels.CHECKPOINT_INTERVAL == 0


@each_case(2, backend=BACKENDS, channels=(NARROW, WIDE), reverse=(False, True), padded=(False, True))
def test_scan_is_the_same_with_any_number_of_threads(backend: str, channels: int, reverse: bool, padded: bool) -> None:
    call = a_scan(channels, batch=2)
    flags = {"reverse": reverse, "lengths": torch.tensor([500, 100]) if padded else None}
    torch.set_num_threads(1)
    expected = run_scan(call, **flags)
    for threads in (2, 8):
        torch.set_num_threads(threads)
        found, again = run_scan(call, **flags), run_scan(call, **flags)
        assert max(relative_errors(found, expected).values()) < PIECES_TOLERANCE[torch.float32]
        assert all(torch.equal(found[name], again[name]) for name in found)


def test_conv_is_the_same_with_any_number_of_threads(backend: str) -> None:
    call = conv_call(batch=1, length=300, channels=WIDE, taps=4, dtype=torch.float32, full=True)
    torch.set_num_threads(1)
    expected = run_conv(call)
    for threads in (2, 8):
        torch.set_num_threads(threads)
        found, again = run_conv(call), run_conv(call)
        assert max(relative_errors(found, expected).values()) < 1e-6
        assert all(torch.equal(found[name], again[name]) for name in found)


@needs_native
@each_case(
    3,
    discretization=("euler", "zoh"),
    reverse=(False, True),
    full=(False, True),
    dtype=(torch.float32, torch.bfloat16),
)
def test_a_walk_in_pieces_is_the_walk(discretization: str, reverse: bool, full: bool, dtype: torch.dtype) -> None:
    """Any number of pieces: fewer than blocks, as many, and more, so that some are empty."""
    call = a_scan(WIDE, length=200, batch=3, dtype=dtype, full=full)
    inputs, flags = ScanInputs(**call), ScanFlags(True, reverse, discretization, save_states=True)
    generator = torch.Generator().manual_seed(1)
    grad_out, grad_state = (torch.randn(shape, generator=generator) for shape in [(3, 200, WIDE), (3, WIDE, 16)])

    def run(lengths: Tensor | None, pieces: int) -> dict[str, Tensor]:
        result = native.scan(inputs, flags, lengths=lengths, pieces=pieces)
        grads = native.scan_backward(grad_out, grad_state, inputs, result.states, flags, lengths=lengths, pieces=pieces)
        return {
            **result._asdict(),
            **{f"grad of {name}": grad for name, grad in grads._asdict().items() if grad is not None},
        }

    for lengths in (None, torch.tensor([200, 33, 0])):
        expected = run(lengths, 1)
        for pieces in (2, 3, 7, 9):
            errors = relative_errors(run(lengths, pieces), expected)
            assert max(errors.values()) < PIECES_TOLERANCE[dtype], (pieces, errors)


class Scans(Dataset[Tensor]):
    """Item i is the result of both ops on inputs made from i."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, i: int) -> Tensor:
        call = a_scan(NARROW, seed=i)
        u = causal_conv1d(call["u"], torch.ones(NARROW, 4))
        out = selective_scan(**{**call, "u": u})
        assert isinstance(out, Tensor)
        return out


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # the point of the test
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_of_a_loader_may_call_the_ops(start: str) -> None:
    items = Scans()
    torch.set_num_threads(8)
    assert items[0].isfinite().all()  # a fork now inherits a process whose threads are gone
    torch.set_num_threads(1)  # as PyTorch sets it in a worker
    expected = [items[i] for i in range(len(items))]
    loader = DataLoader(items, batch_size=None, num_workers=1, multiprocessing_context=start, timeout=120)
    assert all(torch.equal(found, wanted) for found, wanted in zip(loader, expected, strict=True))


@pytest.mark.parametrize("channels", [NARROW, WIDE])
def test_two_python_threads_may_call_at_once(backend: str, channels: int) -> None:
    torch.set_num_threads(4)
    calls = [a_scan(channels, seed=i) for i in range(4)]
    expected = [run_scan(call) for call in calls]

    def run(call: dict[str, Tensor | None]) -> dict[str, Tensor]:
        with use_backend(backend):  # a new thread begins with the default
            return run_scan(call)

    with ThreadPoolExecutor(2) as pool:
        for found, wanted in zip(pool.map(run, calls * 2), expected * 2, strict=True):
            assert all(torch.equal(found[name], wanted[name]) for name in wanted)
