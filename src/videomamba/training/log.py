"""The records of a run's steps and epochs, with the time that each step took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from videomamba.training.checkpoint import Progress
from videomamba.training.step import StepResult
from videomamba.training.tracking import Tracker, Value


class StepLog:
    """Writes to `tracker`, which only the main process has. `waited()` is the seconds spent waiting for batches so far."""

    def __init__(self, tracker: Tracker | None, waited: Callable[[], float]) -> None:
        self._tracker, self._waited = tracker, waited
        self.start_clock()

    def start_clock(self) -> None:
        """Leaves the time of an evaluation or a checkpoint out of the next step's."""
        self._clock = time.monotonic(), self._waited()

    def event(self, message: str) -> None:
        if self._tracker is not None:
            self._tracker.event(message)

    def step(
        self, progress: Progress, result: StepResult, rate: float, failures: Iterable[tuple[str, str]], reason: str
    ) -> None:
        """Records the step that `progress` has just counted; `reason` is why it was skipped, or ""."""
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
            **{f"{name}_loss": value for name, value in result.parts.items()},
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
