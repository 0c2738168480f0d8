"""Ctrl-C and SIGTERM: delayed while other processes start, and as a request to stop after the step of a run."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import FrameType


@contextmanager
def interrupts_later() -> Iterator[None]:
    """Delays an interrupt until the end of the block, so that either all processes of the block are started or none.

    The processes started inside never see an interrupt: a terminal sends it to them too, and a process that is still
    importing would print a traceback. Does nothing on Windows, where a blocked signal is not inherited.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # which unblocks the signal whenever it has to start
    # The new processes inherit the blocked signal. This process needs the handler: the system delivers the signal to
    # another thread (NumPy's import starts some), and Python still runs the handler in the main thread.
    held: list[int] = []
    handler = signal.getsignal(signal.SIGINT)
    replace = handler not in (None, signal.SIG_IGN) and threading.current_thread() is threading.main_thread()
    if replace:
        signal.signal(signal.SIGINT, lambda number, _: held.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if replace:
            signal.signal(signal.SIGINT, handler)
        if held:
            signal.raise_signal(signal.SIGINT)


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """A function that returns whether Ctrl-C or SIGTERM has arrived. A second signal raises KeyboardInterrupt at once.

    Outside the main thread Python handles no signals, and the answer is always no.
    """
    asked = False

    def ask(number: int, _: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        print("writing a checkpoint after this step, then stopping; again to stop at once", file=sys.stderr, flush=True)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
