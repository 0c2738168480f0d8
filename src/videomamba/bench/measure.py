"""Measuring speed and memory: the compared calls take turns, so that a noisy moment affects all of them.

Nothing here depends on what is measured.
"""

from __future__ import annotations

import gc
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ParamSpec

import numpy as np
import torch
import torch.nn.functional as F

from videomamba.bench.process import FreshProcess, timed

P = ParamSpec("P")
Cell = str | int | float | None

DTYPE_NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16"}

WARM_SECONDS = 0.05
"""A call shorter than this runs once uncounted before each counted run: the call before it has used the caches."""
SLOW_SECONDS = 1.0
SLOW_RUNS = 3
"""A call longer than SLOW_SECONDS is counted in the first SLOW_RUNS rounds only."""

_COPY_BYTES = 2**28  # larger than the last-level cache of any processor
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


@dataclass(frozen=True)
class Measured:
    """A call in a process of its own: its timing, its peak in bytes (None: unknown), and its arithmetic."""

    timing: Timing
    peak: int | None
    macs: int = 0


def measure(
    calls: Mapping[str, Callable[[], object]], *, runs: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, Timing]:
    """Times every call: two warm-ups of each, then `take_turns`."""
    timers = {name: partial(timed, call, "cpu", clock) for name, call in calls.items()}
    expected = {name: min(timer(), timer()) for name, timer in timers.items()}
    return take_turns(timers, expected, runs=runs)


def take_turns(
    timers: Mapping[str, Callable[[], float]], expected: Mapping[str, float], *, runs: int
) -> dict[str, Timing]:
    """`runs` rounds in each of which every timer makes its call once and returns its seconds.

    `expected` are the approximate seconds of each: a call below WARM_SECONDS runs once uncounted before, one above
    SLOW_SECONDS in SLOW_RUNS rounds only. Garbage is collected between the rounds only. Raises ValueError when `runs` is
    below 1.
    """
    if runs < 1:
        raise ValueError(f"runs must be at least 1, got {runs}")
    found: dict[str, list[float]] = {name: [] for name in timers}
    collecting = gc.isenabled()
    gc.disable()
    try:
        for i in range(runs):
            gc.collect()
            for name, timer in timers.items():
                if expected[name] > SLOW_SECONDS and i >= SLOW_RUNS:
                    continue
                if expected[name] < WARM_SECONDS:
                    timer()
                found[name].append(timer())
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
    """Bytes by which `build(*args, **kwargs)()` raises the resident memory of a fresh process: `FreshProcess.warm_up`."""
    with FreshProcess(partial(build, *args, **kwargs)) as process:
        return process.warm_up()[1]


def describe_machine() -> dict[str, Cell]:
    """Processor, threads and PyTorch, which every result should state."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        cpu = f"{models[0]}, {len(models)} visible" if models else cpu
    return {"cpu": cpu, "threads": torch.get_num_threads(), "torch": torch.__version__}


@dataclass(frozen=True)
class Limits:
    """The best rates of the machine with PyTorch's threads: bytes and floating-point operations a second."""

    bytes_per_second: float
    flops_per_second: float

    def seconds(self, *, moved: float, flops: float) -> float:
        """The least time for `moved` bytes to and from memory and `flops` operations at the same time."""
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
