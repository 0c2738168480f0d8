"""An interrupt waits for the end of a block, and processes started inside never see one."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from videomamba.interrupts import interrupts_later


@pytest.fixture(autouse=True)
def another_thread() -> Iterator[None]:
    """It does not block the signal, so that the system gives it what the main thread blocks."""
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    yield
    stop.set()
    thread.join()


def interrupt() -> None:
    """Sends this process an interrupt, and returns when it has arrived, in whichever thread."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        os.kill(os.getpid(), signal.SIGINT)
        assert select.select([reader], [], [], 60)[0], "no interrupt came"
    finally:
        signal.set_wakeup_fd(before)
        os.close(reader)
        os.close(writer)


def test_it_comes_at_the_end_whatever_happens_inside() -> None:
    handler, mask = signal.getsignal(signal.SIGINT), signal.pthread_sigmask(signal.SIG_BLOCK, ())
    done = []
    for error in (None, ValueError):
        with pytest.raises(KeyboardInterrupt), interrupts_later():
            interrupt()
            done.append(error)
            if error is not None:
                raise error
    assert done == [None, ValueError]
    with interrupts_later():
        pass
    assert signal.getsignal(signal.SIGINT) is handler
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask


def test_the_handler_of_a_program_is_called_once() -> None:
    calls = []
    before = signal.signal(signal.SIGINT, lambda *_: calls.append(threading.current_thread()))
    try:
        with interrupts_later():
            interrupt()
            interrupt()
            assert calls == []
        assert calls == [threading.main_thread()]
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_ignored_one_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupts_later():
            os.kill(os.getpid(), signal.SIGINT)
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_processes_started_inside_never_see_one() -> None:
    program = "import os, signal; os.kill(os.getpid(), signal.SIGINT); print('lives')"
    with interrupts_later():
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("lives\n", "")


def test_other_threads_may_start_processes() -> None:
    handlers = []

    def start() -> None:
        with interrupts_later():
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGINT)]
