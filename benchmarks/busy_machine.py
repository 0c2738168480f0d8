"""What other work on the machine costs, by how threads that wait do so (`videomamba/cli/threads.py`).

    python benchmarks/busy_machine.py [--neighbours 0 2] [--model videomamba_tiny] [--frames 16] [--runs 9]

A network classifies one clip in one process for each setting of the OpenMP runtime. The processes take turns, alone and next to
processes that only compute. A ratio is the median of the ratios per round to what PyTorch does when nothing is set.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from unittest.mock import patch

import torch

from videomamba import create_model
from videomamba.bench.measure import describe_machine, take_turns
from videomamba.bench.process import FreshProcess
from videomamba.cli.threads import CHOICES, WAITING

SETTINGS: Mapping[str, Mapping[str, str]] = {
    "nothing set": {},
    "command line": WAITING,
    "spin 0.01 ms": {"GOMP_SPINCOUNT": "1000"},
    "sleep at once": {"OMP_WAIT_POLICY": "passive"},
}
"""GOMP_SPINCOUNT is of GNU's runtime, which estimates 100 000 spins a millisecond."""


def classifier(name: str, frames: int) -> Callable[[], object]:
    """A call that classifies one clip with random weights."""
    model = create_model(name, num_frames=frames).eval().prepare_constants()
    video = torch.randn(1, 3, frames, *model.config.image_size)

    @torch.inference_mode()
    def classify() -> object:
        return model(video)

    return classify


def started(setting: Mapping[str, str], build: Callable[[], Callable[[], object]]) -> FreshProcess:
    """A process whose environment has `setting` and no other choice of how to wait."""
    kept = {name: value for name, value in os.environ.items() if name not in CHOICES}
    with patch.dict(os.environ, {**kept, **setting}, clear=True):
        return FreshProcess(build)


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    """`count` processes that compute until the block ends."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--neighbours", type=int, nargs="+", default=[0, 2], help="numbers of other busy processes")
    parser.add_argument("--model", default="videomamba_tiny")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--runs", type=int, default=9, help="at most 3 are counted of calls longer than a second")
    options = parser.parse_args()
    print(", ".join(f"{name} {value}" for name, value in describe_machine().items()))
    with ExitStack() as stack:
        build = partial(classifier, options.model, options.frames)
        processes = {name: stack.enter_context(started(setting, build)) for name, setting in SETTINGS.items()}
        timers = {name: process.seconds for name, process in processes.items()}
        for count in options.neighbours:
            with neighbours(count):
                expected = {name: process.warm_up()[0] for name, process in processes.items()}
                found = take_turns(timers, expected, runs=options.runs)
            base = found["nothing set"]
            for name, timing in found.items():
                low, high = timing.quartiles
                print(
                    f"{count} busy neighbours, {name:>13}: {1e3 * timing.median:.0f} ms ({1e3 * low:.0f} to {1e3 * high:.0f}), "
                    f"{timing.over(base):.2f}x",
                    flush=True,
                )


if __name__ == "__main__":
    main()
