"""Ctrl-C while other processes are started."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker


@contextmanager
def interrupts_later() -> Iterator[None]:
    """Holds an interrupt back until the end: start processes inside, and all of them are started or none.

    Processes that are started inside never see an interrupt. A terminal sends it to them too, and one that is still
    importing would print a traceback. Does nothing on Windows, which knows no such inheritance.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # which unblocks the signal whenever it has to start
    # The blocked signal is what the processes inherit. It does not protect this process: the system then gives the
    # signal to another thread (NumPy's import starts some), and Python runs the handler in the main thread all the same.
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
