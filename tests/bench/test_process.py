"""Calls in processes of their own: what they answer, and in which words they fail."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable

import pytest
import torch

from videomamba.bench import process
from videomamba.bench.process import FreshProcess, MeasurementError, free_memory


def doing(what: str) -> Callable[[], object]:
    """A call that does what its name says."""
    held: list[torch.Tensor] = []
    return {
        "nothing": lambda: None,
        "sleeps": lambda: time.sleep(60),
        "dies": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "exits": lambda: os._exit(3),
        "takes everything": lambda: held.append(torch.empty(2**50)),
        "is wrong": lambda: torch.ones(2) @ torch.ones(3),
    }[what]


class Doing:
    """`doing(what)` when called, as a FreshProcess wants it."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __call__(self) -> Callable[[], object]:
        return doing(self.what)


def test_a_process_answers_as_often_as_it_is_asked() -> None:
    with FreshProcess(Doing("nothing")) as fresh:
        seconds, peak = fresh.warm_up()
        assert 0 <= seconds < 1 and (peak is None or 0 <= peak < 2**20)
        assert all(0 <= fresh.seconds() < 1 for _ in range(3))


@pytest.mark.usefixtures("quick_start")
@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("dies", "was killed, most likely for lack of memory"),
        ("exits", "ended with code 3"),
        ("takes everything", "out of memory"),
    ],
)
def test_a_failure_is_words(what: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with FreshProcess(Doing(what)) as fresh, pytest.raises(MeasurementError, match=message):
        fresh.seconds()


@pytest.mark.usefixtures("quick_start")
def test_patience_ends() -> None:
    started = time.monotonic()
    with FreshProcess(Doing("sleeps"), patience=0.1) as fresh, pytest.raises(MeasurementError, match=r"after 0\.1 s"):
        fresh.seconds()
    assert time.monotonic() - started < 30


@pytest.mark.usefixtures("quick_start")
def test_an_error_of_the_call_brings_its_traceback() -> None:
    with FreshProcess(Doing("is wrong")) as fresh, pytest.raises(RuntimeError, match="inconsistent tensor size"):
        fresh.seconds()


def test_an_interrupt_is_the_parents_alone() -> None:
    """Both get it, as from a terminal; the parent ends, the process does not print its own traceback."""
    program = """
        import os, signal
        from tests.bench.test_process import Doing
        from videomamba.bench.process import FreshProcess
        if __name__ == "__main__":
            with FreshProcess(Doing("nothing")) as fresh:
                fresh.seconds()
                try:
                    os.killpg(0, signal.SIGINT)
                    fresh.seconds()
                except KeyboardInterrupt:
                    print(fresh.seconds() >= 0)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, start_new_session=True
    )
    assert (done.stdout, done.stderr, done.returncode) == ("True\n", "", 0)


def test_free_memory_is_what_the_control_group_leaves(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    free = free_memory("cpu")
    assert free is None or 2**20 < free < 2**50
    monkeypatch.setattr(process, "_field", lambda path, field: 10 * 2**30)
    monkeypatch.setattr(
        process.Path, "read_text", lambda path: {"memory.max": "5000", "memory.current": "3000"}[path.name]
    )
    assert free_memory("cpu") == 2000
    monkeypatch.setattr(process.Path, "read_text", lambda path: "max\n")
    assert free_memory("cpu") == 10 * 2**30
