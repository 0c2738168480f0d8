"""Time and memory of a call in a process of its own, without traces of other calls."""

from __future__ import annotations

import ctypes
import gc
import platform
import signal
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Self

import torch

from videomamba.interrupts import interrupts_later
from videomamba.schema import VideoMambaError


def timed(call: Callable[[], object], device: str, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds of one call; on a GPU those until all its work is done."""
    if device == "cuda":
        torch.cuda.synchronize()
    started = clock()
    call()
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - started


PROCESS_BYTES = 4e8
"""Memory of a process with PyTorch before it has a network."""


class MeasurementError(VideoMambaError):
    """A call that could not be measured, in words for a table."""


class FreshProcess:
    """A call in a process of its own, built there by `build`, which must be importable by name.

    The process has PyTorch's number of threads and ends with the `with` block. `device` is "cpu" or "cuda". Methods raise
    MeasurementError when the process runs out of memory, dies, or takes longer than `patience` seconds for its answer;
    another error of the call is a RuntimeError with its traceback.
    """

    def __init__(
        self, build: Callable[[], Callable[[], object]], *, device: str = "cpu", patience: float | None = None
    ) -> None:
        self._patience = patience
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        arguments = (theirs, build, device, torch.get_num_threads())
        self._process = context.Process(target=_serve, args=arguments, daemon=True)
        with interrupts_later():
            self._process.start()
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()
        self._pipe.close()

    def warm_up(self) -> tuple[float, int | None]:
        """(seconds, bytes): the lesser time of two calls, and by how much the second raised the memory at its highest.

        In the first call libraries load their code and start their threads. Then free memory is returned, the high-water
        mark reset and the resident memory (VmRSS) read: the bytes are VmHWM minus that, on a GPU the same of PyTorch's
        allocations. The second call has a thread of its own, so that buffers which a network keeps for the next call of
        its thread count. The result of the call counts; its inputs, and memory that libraries keep for all threads, do
        not. None where the system does not report it (only Linux does).
        """
        seconds, peak = self._ask("warm up")
        return seconds, None if peak is None else int(peak)

    def seconds(self) -> float:
        """The time of one call."""
        return self._ask("time")[0]

    def _ask(self, what: str) -> tuple[float, float | None]:
        try:
            self._pipe.send(what)
            if not self._pipe.poll(self._patience):
                raise MeasurementError(f"stopped after {self._patience:g} s")
            seconds, peak, complaint, trace = self._pipe.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            code = self._process.exitcode
            killed = code is not None and -code == getattr(signal, "SIGKILL", None)
            why = "was killed, most likely for lack of memory" if killed else f"ended with code {code}"
            raise MeasurementError(f"its process {why}") from None
        if complaint is not None:
            raise MeasurementError(complaint)
        if trace is not None:
            raise RuntimeError(f"in the process of a measurement: {trace}")
        return seconds, peak


def _serve(pipe: Connection, build: Callable[[], Callable[[], object]], device: str, threads: int) -> None:
    """The loop of a FreshProcess until its pipe closes: answers are (seconds, bytes, complaint, traceback)."""
    torch.set_num_threads(threads)
    gc.disable()
    try:
        call = build()
        while True:
            asked = pipe.recv()
            gc.collect()
            if asked == "warm up":
                first = timed(call, device)
                with ThreadPoolExecutor(1) as fresh:
                    second, peak = fresh.submit(_peak, call, device).result()
                pipe.send((min(first, second), peak, None, None))
                continue
            if device == "cuda":  # between its turns a process frees the GPU's memory for the others
                call()  # allocates it again, uncounted
            pipe.send((timed(call, device), None, None, None))
            if device == "cuda":
                torch.cuda.empty_cache()
    except (EOFError, ConnectionError):
        return
    except Exception as error:
        memory = isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
        answer = ("out of memory", None) if memory else (None, traceback.format_exc())
        with suppress(ConnectionError):
            pipe.send((0.0, None, *answer))


def _peak(call: Callable[[], object], device: str) -> tuple[float, int | None]:
    """(seconds, bytes) of one call in a thread that has not made this call; see `FreshProcess.warm_up`."""
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        allocated = torch.cuda.memory_allocated()
        seconds = timed(call, device)
        peak = torch.cuda.max_memory_allocated() - allocated
        torch.cuda.empty_cache()
        return seconds, peak
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)  # otherwise the call would be served from pages that count as resident already
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return timed(call, device), None
    before = _field("/proc/self/status", "VmRSS")
    seconds = timed(call, device)
    return seconds, max(_field("/proc/self/status", "VmHWM") - before, 0)


def free_memory(device: str) -> int | None:
    """Bytes that a new process may use: of the GPU's memory, or of this machine's within the limit of the control group.

    None where the system does not report it.
    """
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    try:
        free = _field("/proc/meminfo", "MemAvailable")
    except OSError:
        return None
    group = Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError):  # no group, or one whose limit is "max"
        limit, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
        free = min(free, max(limit - used, 0))
    return free


def _field(path: str, field: str) -> int:
    """Bytes of a line such as "VmRSS:  123 kB"."""
    line = next(line for line in Path(path).read_text().splitlines() if line.startswith(field))
    return 1024 * int(line.split()[1])
