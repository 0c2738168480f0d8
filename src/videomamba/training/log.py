"""The records of a run's steps and epochs, with the time that each step took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Self

from videomamba.training.checkpoint import Progress
from videomamba.training.step import StepResult
from videomamba.training.tracking import Tracker, Value


class StepLog:
    """Hands what happened to `tracker`, which only the main process has. `waited` says how long batches were waited for."""

    def __init__(self, tracker: Tracker | None, waited: Callable[[], float]) -> None:
        self._tracker, self._waited = tracker, waited
        self.start_clock()

    def __enter__(self) -> Self:
        if self._tracker is not None:
            self._tracker.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._tracker is not None:
            self._tracker.__exit__(kind, error, trace)

    def start_clock(self) -> None:
        """The time between two steps, for an evaluation or a checkpoint, does not count as the next step's."""
        self._clock = time.monotonic(), self._waited()

    def event(self, message: str) -> None:
        if self._tracker is not None:
            self._tracker.event(message)

    def step(
        self, progress: Progress, result: StepResult, rate: float, failures: Iterable[tuple[str, str]], reason: str
    ) -> None:
        """Records the step that `progress` has just counted; `reason` says why it was skipped, "" where it was not."""
        then, waited = self._clock
        self.start_clock()
        seconds, waiting = self._clock[0] - then, self._clock[1] - waited
        if self._tracker is None:
            return
        self._tracker.step(
            progress.step,
            epoch=progress.epoch,
            loss=result.loss,
            lr=rate,
            grad_norm=result.grad_norm,
            samples_per_second=result.samples / seconds,
            waiting=waiting / seconds,
        )
        for path, why in failures:
            self._tracker.event(f"skipped {path}: {why}")
        if reason:
            self._tracker.event(f"skipped step {progress.step}: {reason}")

    def epoch(self, progress: Progress, numbers: Mapping[str, Value], *, quiet: bool) -> None:
        """Records the end of an epoch with the `numbers` of its evaluation."""
        if self._tracker is not None:
            counts = {"skipped_steps": progress.skipped_steps, "failed_videos": len(progress.failed_videos)}
            self._tracker.epoch(progress.epoch, quiet=quiet, **numbers, **counts)
        self.start_clock()
