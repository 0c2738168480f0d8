"""How speed and memory are measured: what is compared is called in turns, so that a noisy moment hits all alike.

Nothing here knows what it measures. `serving.bench` builds the calls, `evaluation.plot` draws the results.
"""

from __future__ import annotations

import ctypes
import gc
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import ParamSpec

import numpy as np
import torch
import torch.nn.functional as F

P = ParamSpec("P")
Cell = str | int | float | None

DTYPE_NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16"}

WARM_SECONDS = 0.05
"""A call shorter than this runs once uncounted before each counted run: the one before it has taken the caches."""
SLOW_SECONDS = 1.0
SLOW_RUNS = 3
"""A call longer than SLOW_SECONDS is counted in the first SLOW_RUNS rounds only."""

_COPY_BYTES = 2**28  # beyond any last-level cache that a processor of today gives to one program
_PRODUCT_SIZE = 1024
_LIMIT_RUNS = 10


@dataclass(frozen=True)
class Figure:
    """One line of a benchmark: the table that it belongs to, and its cells by column."""

    table: str
    cells: Mapping[str, Cell]

    def as_dict(self) -> dict[str, Cell]:
        return {"table": self.table, **self.cells}


@dataclass(frozen=True)
class Timing:
    """The seconds of each counted run of one call, in the order of the rounds."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """(lower, upper), in seconds."""
        low, high = np.quantile(self.seconds, (0.25, 0.75))
        return float(low), float(high)

    def over(self, other: Timing) -> float:
        """How many times longer than `other`: the median of the ratios round by round."""
        return statistics.median(mine / its for mine, its in zip(self.seconds, other.seconds, strict=False))

    def cells(self) -> dict[str, Cell]:
        """Median and quartiles in milliseconds, and the number of runs."""
        low, high = self.quartiles
        return {"ms": 1e3 * self.median, "low": 1e3 * low, "high": 1e3 * high, "runs": len(self.seconds)}


def measure(
    calls: Mapping[str, Callable[[], object]], *, runs: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, Timing]:
    """Times every call: a warm-up of each, then `runs` rounds in each of which every call is counted once.

    Garbage is collected between the rounds, never inside a run. Raises ValueError when `runs` is below 1.
    """
    if runs < 1:
        raise ValueError(f"runs must be at least 1, got {runs}")

    def seconds(call: Callable[[], object]) -> float:
        started = clock()
        call()
        return clock() - started

    expected = {name: min(seconds(call), seconds(call)) for name, call in calls.items()}
    found: dict[str, list[float]] = {name: [] for name in calls}
    collecting = gc.isenabled()
    gc.disable()
    try:
        for i in range(runs):
            gc.collect()
            for name, call in calls.items():
                if expected[name] > SLOW_SECONDS and i >= SLOW_RUNS:
                    continue
                if expected[name] < WARM_SECONDS:
                    call()
                found[name].append(seconds(call))
    finally:
        if collecting:
            gc.enable()
    return {name: Timing(tuple(times)) for name, times in found.items()}


def fitted_exponent(lengths: Sequence[float], values: Sequence[float]) -> float:
    """The p of value = c length^p by least squares in log-log: 1 is linear, 2 quadratic. Needs two different lengths."""
    if len(set(lengths)) < 2:
        raise ValueError(f"an exponent needs two different lengths, got {list(lengths)}")
    return float(np.polyfit(np.log(lengths), np.log(values), 1)[0])


def peak_memory(build: Callable[P, Callable[[], object]], *args: P.args, **kwargs: P.kwargs) -> int | None:
    """Bytes by which `build(*args, **kwargs)()` raises the resident memory of a process at its highest.

    A fresh process builds the call with all that it holds and calls once, so that libraries load their code and start
    their threads. It then gives free memory back, resets its high-water mark, notes what is resident (VmRSS) and calls
    again: the answer is VmHWM minus that. What the call returns is in it; what it was given, and what a library keeps for
    good after the first call, is not. `build` must be importable by name. None where the system does not tell (only
    Linux does).
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(_peak_here, partial(build, *args, **kwargs), torch.get_num_threads()).result()


def _peak_here(build: Callable[[], Callable[[], object]], threads: int) -> int | None:
    torch.set_num_threads(threads)
    call = build()
    call()
    gc.collect()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)  # otherwise the call would be served from pages that count as resident already
    try:
        Path("/proc/self/clear_refs").write_text("5")
        before = _status("VmRSS")
        call()
        return max(_status("VmHWM") - before, 0)
    except OSError:
        return None


def _status(field: str) -> int:
    """A field of /proc/self/status in bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return 1024 * int(line.split()[1])


def describe_machine() -> dict[str, Cell]:
    """Processor, threads and PyTorch, as every result should say."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        cpu = f"{models[0]}, {len(models)} visible" if models else cpu
    return {"cpu": cpu, "threads": torch.get_num_threads(), "torch": torch.__version__}


@dataclass(frozen=True)
class Limits:
    """What the machine gives at best, by the threads that PyTorch uses: bytes and floating-point operations a second."""

    bytes_per_second: float
    flops_per_second: float

    def seconds(self, *, moved: float, flops: float) -> float:
        """The least time for `moved` bytes to and from memory and `flops` operations, one hidden behind the other."""
        return max(moved / self.bytes_per_second, flops / self.flops_per_second)


def measure_limits() -> Limits:
    """The best of several runs: a copy of 256 MiB (each byte counted twice, read and written), a 1024^3 product in fp32.

    The product goes through `F.linear`, so its rate is that of the library that PyTorch calls, not the processor's peak.
    """
    source = torch.ones(_COPY_BYTES // 4)
    target = torch.empty_like(source)
    x, weight = torch.randn(2, _PRODUCT_SIZE, _PRODUCT_SIZE)
    found = measure({"copy": lambda: target.copy_(source), "product": lambda: F.linear(x, weight)}, runs=_LIMIT_RUNS)
    return Limits(2 * _COPY_BYTES / min(found["copy"].seconds), 2 * _PRODUCT_SIZE**3 / min(found["product"].seconds))
