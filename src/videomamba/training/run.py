"""One run of a recipe in its folder: everything around the loop that all recipes need.

    with TrainingRun(settings, optim, config=text, data=facts) as run:     # folder, processes, the checkpoint to resume from
        torch.manual_seed(run.draws.weights())
        model = ...                                                        # any weights if run.resumes
        module = run.prepare(model, MasterWeights, depth=24)               # optimiser, EMA, state of the checkpoint
        with loader, run.steps(loader) as steps:                           # signals, records
            for batches in steps:                                          # then: end of epoch, checkpoint, stop
                run.step(batches, losses_of)                               # seeds, rate, update, EMA, records
                if run.evaluation_due:
                    run.keep_weights(save, quality=..., **numbers)         # best and last weights

The recipe builds data and network and defines losses and evaluation. Nothing here depends on labels, videos or one config.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

import torch
from torch import Tensor, nn

from videomamba.files import make_folder, write_atomically
from videomamba.interrupts import stop_requests
from videomamba.schema import VideoMambaError
from videomamba.training import schedule
from videomamba.training.checkpoint import (
    CheckpointClock,
    Progress,
    RunState,
    check_same,
    checkpoints,
    load_checkpoint,
    optimizer_state,
    restore_optimizer,
    save_checkpoint,
    versions,
)
from videomamba.training.distributed import Processes, like, unsharded
from videomamba.training.draws import Draws
from videomamba.training.ema import EMA
from videomamba.training.folder import BEST, CHECKPOINTS, CONFIG, LAST, open_folder
from videomamba.training.guard import Guard, first_cause
from videomamba.training.log import StepLog
from videomamba.training.optim import make_optimizer, scaled_rates
from videomamba.training.settings import Optimisation, Run
from videomamba.training.step import Loader, Losses, Masters, MicroBatch, OwnWeights, Stepper, StepResult
from videomamba.training.tracking import Tracker, Value

Batch = TypeVar("Batch", bound=MicroBatch)
Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Trained:
    """The result of a run: the weights files `best`, if there was a validation, and `last`."""

    best: Path
    last: Path
    progress: Progress


class TrainingRun:
    """A run in the folder `settings.out`, resumed from its last checkpoint if there is one. Use it in a `with` statement.

    `config` is the text of the recipe's settings, `data` facts that identify its training data; every checkpoint has both.
    `check(state, path)` raises VideoMambaError when the checkpoint at `path` belongs to another run; by default both must be
    equal. `fresh` removes the files of an earlier run first. `notify` gets a line where the run resumes, or was finished
    before with the data that `about` describes.

    Raises VideoMambaError when another run is at work in the folder, the folder cannot be written, the device cannot be
    used, or the run cannot be resumed.
    """

    def __init__(
        self,
        settings: Run,
        optim: Optimisation,
        *,
        config: str,
        data: Mapping[str, object],
        check: Callable[[RunState, Path], None] | None = None,
        fresh: bool = False,
        about: str = "these data",
        notify: Callable[[str], object] = lambda message: None,
    ) -> None:
        self.settings, self.optim, self.out = settings, optim, settings.out
        self._config, self._data, self._about, self._notify = config, data, about, notify
        make_folder(self.out)
        self.processes = Processes(device=settings.device, strategy=settings.strategy)
        self.draws = Draws(settings.seed)
        self._folder = open_folder(self.out, self.processes, fresh=fresh, notify=notify)
        try:
            self._state = self._found(check or (lambda state, path: check_same(state, config, data, path)))
        except BaseException:
            self.close()
            raise
        self.resumes = self._state is not None
        self.progress = Progress(seed=settings.seed) if self._state is None else self._state.progress
        self._resumed_step = self.progress.step if self.resumes else None
        self._kept = {} if self._state is None else dict(self._state.kept)
        self._numbers: Mapping[str, Value] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets another run use the folder."""
        if self._folder is not None:
            self._folder.release()

    def kept(self, name: str, make: Callable[[], str]) -> str:
        """`make()` at the start of the run; a resumed run has the text of its start."""
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]

    def _found(self, check: Callable[[RunState, Path], None]) -> RunState | None:
        folder = self.out / CHECKPOINTS
        # The main process chooses: it may still be writing a checkpoint while another process is already here.
        found = self.processes.gather(checkpoints(folder))[0]
        if not found:
            return None
        if not self.settings.resume:
            raise VideoMambaError(
                f"{folder}: already has a run; choose another folder, resume that run, or replace it with --fresh"
            )
        state = load_checkpoint(found[-1])
        check(state, found[-1])
        return state

    def prepare(
        self,
        model: Network,
        masters: Callable[[Network, torch.dtype], Masters] | None = None,
        *,
        depth: int,
        repeats: int = 1,
    ) -> nn.Module:
        """Prepares `model` for the steps, with the state of the checkpoint. The losses must call the returned module.

        `masters(model, dtype)` keeps fp32 weights of a model with products in `dtype`, as `models.precision.MasterWeights`;
        without it, `autocast()` does bf16. `depth` is the number of layers for layer decay, `repeats` the clips of each video.
        """
        run, state = self.settings, self._state
        if state is not None:
            model.load_state_dict(dict(state.model))
        # FSDP keeps fp32 shards; autocast rounds them.
        rounded = masters is not None and run.precision == "bf16" and not self.processes.sharded
        self._autocast = run.precision == "bf16" and not rounded
        module = self.processes.wrap(model, sums_itself=rounded).train()
        dtype = torch.bfloat16 if rounded else torch.float32
        self._masters = OwnWeights(model) if masters is None else masters(model, dtype)
        self._optimizer = make_optimizer(self._masters.named_parameters(), self.optim, depth=depth)
        self._rates = scaled_rates(self.optim, repeats)
        self._ema = EMA(self._masters.named_parameters(), self.optim.ema) if self.optim.ema else None
        if state is not None:
            restore_optimizer(self._optimizer, self._masters.named_parameters(), state.optimizer)
            if self._ema is not None and state.ema is not None:
                averages = self._ema.state_dict()
                self._ema.load_state_dict({name: like(value, averages[name]) for name, value in state.ema.items()})
        self._state = None
        processes = self.processes
        guard = Guard(run.max_bad_steps, all_finite=lambda finite: processes.sum([not finite])[0] == 0)
        clip_grad = self.optim.clip_grad
        self._stepper = Stepper(
            module, self._masters, self._optimizer, processes, guard, sums_itself=rounded, clip_grad=clip_grad
        )
        return module

    def autocast(self) -> torch.autocast:
        """For the forward pass: products in bf16 if the run has that precision and its weights are not rounded already."""
        return torch.autocast(self.processes.device.type, torch.bfloat16, enabled=self._autocast)

    @contextmanager
    def steps(self, loader: Loader[Batch]) -> Iterator[Iterator[Sequence[Batch]]]:
        """The micro-batches of each remaining step. After a step come the end of its epoch, a checkpoint or a stop, if due.

        Raises KeyboardInterrupt after a checkpoint on Ctrl-C or SIGTERM; VideoMambaError when a file cannot be written.
        """
        run, main = self.settings, self.processes.main
        self._steps_per_epoch = loader.steps_per_epoch
        all_steps = self.optim.epochs * self._steps_per_epoch
        self._last_step = min(all_steps, run.max_steps or all_steps)
        self._say_where()
        where, total = self._resumed_step, self._last_step
        tracker = Tracker(self.out, total_steps=total, tensorboard=run.tensorboard, resume_step=where) if main else None
        self._log = StepLog(tracker, lambda: loader.waited)
        with stop_requests() as stop, tracker or nullcontext():
            if main:
                write_atomically(self.out / CONFIG, lambda path: path.write_text(self._config, encoding="utf-8"))
            yield self._each_step(loader, stop)

    def _say_where(self) -> None:
        if self.resumes and self.progress.step >= self._last_step:
            self._notify(
                f"{self.out}: finished before, at step {self.progress.step}, with {self._about}; "
                "nothing is trained now, --fresh trains again"
            )
        elif self.resumes:
            self._notify(f"{self.out}: resumed at step {self.progress.step} of {self._last_step}")

    def _each_step(self, loader: Loader[Batch], stop: Callable[[], bool]) -> Iterator[Sequence[Batch]]:
        progress, clock = self.progress, CheckpointClock(self.settings, self.progress.step)
        self._log.start_clock()
        while progress.step < self._last_step:
            self._read_any = progress.step_in_epoch > 0  # of the part before a resumption nothing is known
            for batches in loader.epoch(progress.epoch, progress.step_in_epoch):
                yield batches
                last = self.is_last
                if last or self._epoch_ends:
                    quiet = not self._numbers and self.settings.evaluate_every > 1
                    self._log.epoch(progress, self._numbers, quiet=quiet)
                    self._numbers = {}
                if self._epoch_ends:
                    if not self._read_any:
                        raise VideoMambaError(
                            f"epoch {progress.epoch}: none of its videos could be read; check them with `videomamba data check`"
                        )
                    progress.epoch, progress.step_in_epoch = progress.epoch + 1, 0
                is_due, stopped = self.processes.sum([self.processes.main and clock.due(progress.step), stop()])
                if last or is_due or stopped:
                    started = time.monotonic()
                    self._save_checkpoint()
                    clock.saved(progress.step, seconds=time.monotonic() - started)
                    self._log.start_clock()
                if stopped:
                    raise KeyboardInterrupt
                if last:
                    return

    def step(self, batches: Sequence[Batch], losses_of: Losses[Batch]) -> StepResult:
        """One update of the weights. `losses_of` returns a loss for each sample of a micro-batch, and the samples' names.

        A step with numbers that are not finite is skipped and counted. Raises VideoMambaError after too many in a row.
        """
        progress, processes = self.progress, self.processes
        torch.manual_seed(self.draws.dropout(progress.step, processes.rank))
        per_epoch = self._steps_per_epoch
        rate = schedule.rate(progress.step, steps_per_epoch=per_epoch, settings=self.optim, rates=self._rates)
        schedule.apply(self._optimizer, rate)
        result = self._stepper.step(batches, losses_of, planned=sum(batch.planned for batch in batches))
        if self._ema is not None and result.verdict.finite:
            self._ema.update(self._masters.named_parameters())
        failures = [failure for batch in batches for failure in batch.failures]
        if result.missing:  # on some process; all must call
            failures = [failure for part in processes.gather(failures) for failure in part]
        self._read_any = self._read_any or result.samples > 0
        progress.count_step(failures, finite=result.verdict.finite)
        reason = "" if result.verdict.finite else first_cause(processes.gather(result.verdict)).reason
        self._log.step(progress, result, rate, failures, reason)
        return result

    @property
    def is_last(self) -> bool:
        """Whether the latest step was the last of the run."""
        return self.progress.step == self._last_step

    @property
    def _epoch_ends(self) -> bool:
        return self.progress.step_in_epoch == self._steps_per_epoch

    @property
    def evaluation_due(self) -> bool:
        """After the last step, and after the last step of every `evaluate_every`-th epoch."""
        every = self.settings.evaluate_every
        return self.is_last or bool(self._epoch_ends and every and (self.progress.epoch + 1) % every == 0)

    def weights(self) -> dict[str, Tensor]:
        """The weights to evaluate and to release, or their average (EMA) if there is one: unsharded, fp32, on the CPU.

        Every process must call.
        """
        return _unsharded({**self._masters.state_dict(), **(self._ema.state_dict() if self._ema else {})})

    def keep_weights(self, save: Callable[[Path], object], *, quality: float | None, **numbers: Value) -> None:
        """Writes the best weights by `save(path)` if no `quality` was higher, and the last ones after the last step.

        `quality` is None without an evaluation. The record of the epoch gets `numbers`. Every process must call.
        """
        progress, self._numbers = self.progress, numbers
        if quality is not None and (progress.best is None or quality >= progress.best):
            progress.best = quality
            if self.processes.main:
                save(self.out / BEST)
        if self.is_last and self.processes.main:
            save(self.out / LAST)

    def event(self, message: str) -> None:
        """Records something that happened, inside `steps`."""
        self._log.event(message)

    @property
    def trained(self) -> Trained:
        return Trained(self.out / BEST, self.out / LAST, self.progress)

    def _save_checkpoint(self) -> None:
        moments = optimizer_state(self._optimizer, self._masters.named_parameters())
        own = _unsharded(self._masters.state_dict())
        averages = _unsharded(self._ema.state_dict()) if self._ema else None
        if self.processes.main:
            state = RunState(self.progress, own, moments, averages, self._config, self._data, versions(), self._kept)
            save_checkpoint(self.out / CHECKPOINTS, state, keep=self.settings.keep)


def _unsharded(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: unsharded(tensor).detach().cpu() for name, tensor in state.items()}
