"""Supervised training, for classes or one number: from scratch, from images to video, to more frames, to your own videos.

`train` is the recipe; its loop is the whole of what happens. Everything that is drawn while training is drawn from (seed,
step) or (seed, epoch, place in the epoch), so a run that was killed goes on as if it had not been.
"""

from __future__ import annotations

import copy
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

import numpy as np
import torch
from torch import Tensor

from videomamba.data.augment.mixing import mix
from videomamba.data.augment.pipeline import check_augmentation
from videomamba.data.loading.dataset import Batch
from videomamba.data.loading.loader import TrainLoader
from videomamba.data.sets.annotations import read_dataset
from videomamba.evaluation.metrics import videos_of
from videomamba.evaluation.results import ClassificationResult
from videomamba.files import clear_remains, write_atomically
from videomamba.memory import return_large_blocks
from videomamba.models.precision import MasterWeights, cast_products
from videomamba.models.videomamba import VideoMamba
from videomamba.recipes.config import TrainConfig
from videomamba.recipes.load import check_config, to_yaml
from videomamba.recipes.start import build_model, check_same_data, check_same_run
from videomamba.recipes.testing import Result, Test, quality
from videomamba.schema import VideoMambaError, VideoSet, Views
from videomamba.training import schedule
from videomamba.training.checkpoint import (
    Progress,
    RunState,
    checkpoints,
    load_checkpoint,
    optimizer_state,
    restore_optimizer,
    save_checkpoint,
    versions,
)
from videomamba.training.distributed import Processes, like, whole
from videomamba.training.ema import EMA
from videomamba.training.guard import Guard, first_cause
from videomamba.training.losses import classification_loss, regression_loss
from videomamba.training.optim import make_optimizer, scaled_rates
from videomamba.training.step import Stepper, StepResult
from videomamba.training.tracking import Tracker
from videomamba.weights.bundle import save_bundle

BEST, LAST, CONFIG, CHECKPOINTS = "best.safetensors", "last.safetensors", "config.yaml", "checkpoints"
"""What a run leaves in its folder, beside the metrics."""


@dataclass(frozen=True)
class Trained:
    """What a run came to: bundles of its best weights by the validation split and of its last ones."""

    best: Path
    last: Path
    progress: Progress


def train(config: TrainConfig) -> Trained:
    """Makes the run that `config` describes, or what is left of it, in config.run.out.

    Raises VideoMambaError for settings, data or weights that do not fit, before the first step; in the middle for a
    video that cannot be read (unless skipped), numbers that stay not finite, and a full disk: the last checkpoint is then
    whole and the same command goes on from it. KeyboardInterrupt after a checkpoint on Ctrl-C or SIGTERM.
    """
    check_config(config)
    run, optim = config.run, config.optim
    train_set, val_set = read_dataset(config.data, "train"), read_dataset(config.data, "val")
    check_augmentation(config.augment, train_set)
    if len(train_set) < optim.batch_size:  # a step would be smaller than its learning rate is made for
        raise VideoMambaError(
            f"optim.batch_size: a step has {optim.batch_size} videos, the data set {len(train_set)} to train; lower it"
        )
    videos_of(val_set)  # raises where a video has two labels, now rather than after an epoch
    _make_folder(run.out)
    processes = Processes(device=run.device, strategy=run.strategy)
    state = _resumed(config, train_set, processes)
    progress = Progress(seed=run.seed) if state is None else state.progress
    resumed_step = None if state is None else progress.step

    torch.manual_seed(run.seed)
    model, loaded = build_model(config, train_set, fresh=state is None)
    if state is not None:
        model.load_state_dict(dict(state.model))
    model.checkpoint_activations(min(run.activation_checkpointing, model.config.depth))
    if run.activation_checkpointing:
        return_large_blocks()
    rounded = run.precision == "bf16" and not processes.sharded  # FSDP keeps fp32 shards, which autocast rounds
    module = processes.wrap(model, sums_itself=rounded).train()
    masters = MasterWeights(model, torch.bfloat16 if rounded else torch.float32)
    optimizer = make_optimizer(masters.named_parameters(), optim, depth=model.config.depth)
    ema = EMA(masters.named_parameters(), optim.ema) if optim.ema else None
    if state is not None:
        restore_optimizer(optimizer, masters.named_parameters(), state.optimizer)
        if ema is not None and state.ema is not None:
            averages = ema.state_dict()
            ema.load_state_dict({name: like(value, averages[name]) for name, value in state.ema.items()})
        del state

    def losses_of(batch: Batch) -> tuple[Tensor, Sequence[str]]:
        """The forward pass of one micro-batch: a loss per clip, and the clips' names."""
        names = [train_set.records[record].path for record in batch.records]
        batch = batch.to(processes.device)
        with torch.autocast(processes.device.type, torch.bfloat16, enabled=run.precision == "bf16" and not rounded):
            if not names:  # every video failed, yet other processes wait for this one in collective calls
                return 0 * module(torch.zeros(1, *batch.video.shape[1:], device=processes.device)).sum(dim=1), names
            if batch.targets is not None:
                return regression_loss(module(batch.video), batch.targets), names
            assert batch.labels is not None
            video, wanted = mix(
                batch.video,
                batch.labels,
                num_classes=len(train_set.labels),
                repeats=config.augment.repeats,
                augmentation=config.augment,
                generator=np.random.default_rng([run.seed, progress.step, 0, 1]),  # one share for all parts of a step
            )
            return classification_loss(module(video), wanted), names

    guard = Guard(run.max_bad_steps, all_finite=lambda finite: processes.sum([not finite])[0] == 0)
    stepper = Stepper(
        module, masters, optimizer, processes, guard, losses_of, sums_itself=rounded, clip_grad=optim.clip_grad
    )
    rates = scaled_rates(optim, config.augment.repeats)
    loader = TrainLoader(
        train_set,
        preprocess=config.clip,
        augmentation=config.augment,
        data=config.data,
        seed=run.seed,
        batch_size=optim.batch_size,
        micro_batch=run.micro_batch,
        rank=processes.rank,
        world=processes.world,
        pin_memory=processes.device.type == "cuda",
    )
    validation = Test(val_set, config.clip, Views(), data=config.data, processes=processes)
    last_step = min(optim.epochs * loader.steps_per_epoch, run.max_steps or optim.epochs * loader.steps_per_epoch)
    tracker = _Tracker(config, last_step, resumed_step, loader, on=processes.main)

    def keep() -> None:
        """Writes all that the next step depends on. Every process must call."""
        moments = optimizer_state(optimizer, masters.named_parameters())
        own, averages = _whole(masters.state_dict()), _whole(ema.state_dict()) if ema else None
        if processes.main:
            described = (to_yaml(config), train_set.labels, len(train_set), versions())
            content = RunState(progress, own, moments, averages, *described)
            save_checkpoint(run.out / CHECKPOINTS, content, keep=run.keep)

    def released() -> VideoMamba:
        """The network as it is evaluated and given away: fp32, on the CPU, the average of the steps if there is one."""
        network = VideoMamba(model.config).eval()
        network.load_state_dict(_whole({**masters.state_dict(), **(ema.state_dict() if ema else {})}))
        return network

    with _asked_to_stop() as stop, loader, validation, tracker:
        if processes.main:
            text = to_yaml(config)
            write_atomically(run.out / CONFIG, lambda path: path.write_text(text, encoding="utf-8"))
        if loaded is not None:
            tracker.event(str(loaded))
        kept = time.monotonic()
        while progress.step < last_step:
            for batches in loader.epoch(progress.epoch, progress.step_in_epoch):
                torch.manual_seed(_step_seed(run.seed, progress.step, processes.rank))  # for drop path and dropout
                rate = schedule.rate(progress.step, steps_per_epoch=loader.steps_per_epoch, settings=optim, rates=rates)
                schedule.apply(optimizer, rate)
                result = stepper.step(batches, planned=sum(batch.planned for batch in batches))
                if ema is not None and result.verdict.finite:
                    ema.update(masters.named_parameters())
                failures = [failure for batch in batches for failure in batch.failures]
                if result.missing:  # somewhere: all processes take part
                    failures = [failure for part in processes.gather(failures) for failure in part]
                progress.count_step(failures, finite=result.verdict.finite)
                tracker.step(progress, result, rate, failures)
                if not result.verdict.finite:
                    cause = first_cause(processes.gather(result.verdict))
                    tracker.event(f"step {progress.step} was left out: {cause.reason}")

                last = progress.step == last_step
                if last or progress.step_in_epoch == loader.steps_per_epoch:
                    scored = None
                    if last or (run.evaluate_every and (progress.epoch + 1) % run.evaluate_every == 0):
                        network = released()
                        scored = validation(_on_device(network, config, processes))
                        if progress.best is None or quality(scored) >= progress.best:  # of equals the longer trained
                            progress.best = quality(scored)
                            if processes.main:
                                _save(run.out / BEST, network, config, train_set, progress, scored)
                        if last and processes.main:
                            _save(run.out / LAST, network, config, train_set, progress, scored)
                    tracker.epoch(progress, scored)
                if progress.step_in_epoch == loader.steps_per_epoch:
                    progress.epoch, progress.step_in_epoch = progress.epoch + 1, 0
                due = processes.main and time.monotonic() - kept >= 60 * run.checkpoint_minutes
                is_due, stopped = processes.sum([due, stop()])
                if last or is_due or stopped:
                    keep()
                    kept = time.monotonic()
                    tracker.start_clock()
                if stopped:
                    raise KeyboardInterrupt
                if last:
                    break
    return Trained(run.out / BEST, run.out / LAST, progress)


def _resumed(config: TrainConfig, train_set: VideoSet, processes: Processes) -> RunState | None:
    """What the last checkpoint of the run holds, None where there is none."""
    folder = config.run.out / CHECKPOINTS
    if processes.main:
        clear_remains(folder, "step_*.pt")
        for name in (BEST, LAST, CONFIG):
            clear_remains(config.run.out, name)
    # The main process says which: it may still be writing one while another process is here already.
    found = processes.gather(checkpoints(folder))[0]
    if not found:
        return None
    if not config.run.resume:
        raise VideoMambaError(f"{folder}: holds a run already; choose another folder for this run, or resume that one")
    state = load_checkpoint(found[-1])
    check_same_run(config, state.config, found[-1])
    check_same_data(train_set, state.labels, state.num_videos, found[-1])
    return state


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VideoMambaError(
            f"{folder}: the run cannot be written here ({error.strerror}); choose another folder"
        ) from None


def _whole(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: whole(tensor).detach().cpu() for name, tensor in state.items()}


def _on_device(network: VideoMamba, config: TrainConfig, processes: Processes) -> VideoMamba:
    """A copy that answers in the precision of the run."""
    network = copy.deepcopy(network).to(processes.device)
    if config.run.precision == "bf16":
        cast_products(network, torch.bfloat16)
    return network


def _save(
    path: Path, network: VideoMamba, config: TrainConfig, video_set: VideoSet, progress: Progress, scored: Result
) -> None:
    info: dict[str, object] = {
        "task": "regression" if video_set.regression else "classification",
        "preset": config.preset,
        "weights": config.model.weights,
        "steps": progress.step,
        "epochs": progress.epoch + 1,
        "validation": str(scored),
        "versions": versions(),
    }
    save_bundle(path, network, config.clip, video_set.labels, info)


def _step_seed(seed: int, step: int, rank: int) -> int:
    return int(np.random.SeedSequence([seed, step, rank, 2]).generate_state(1, np.uint64)[0] >> 1)


@contextmanager
def _asked_to_stop() -> Iterator[Callable[[], bool]]:
    """A function that tells whether Ctrl-C or SIGTERM has come. The second one stops at once."""
    asked = False

    def ask(number: int, _: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        print("stopping with a checkpoint after this step; once more stops at once", file=sys.stderr, flush=True)

    if threading.current_thread() is not threading.main_thread():  # where signals cannot be handled
        yield lambda: False
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Tracker:
    """The records of a run, written by the main process alone."""

    def __init__(
        self, config: TrainConfig, last_step: int, resumed_step: int | None, loader: TrainLoader, *, on: bool
    ) -> None:
        self._config, self._loader = config, loader
        out, tensorboard = config.run.out, config.run.tensorboard
        self._tracker = (
            Tracker(out, total_steps=last_step, tensorboard=tensorboard, resume_step=resumed_step) if on else None
        )
        self.start_clock()

    def start_clock(self) -> None:
        """What is done between two steps does not count as the next one's time."""
        self._then, self._waited = time.monotonic(), self._loader.waited

    def __enter__(self) -> Self:
        if self._tracker is not None:
            self._tracker.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._tracker is not None:
            self._tracker.__exit__(kind, error, trace)

    def event(self, message: str) -> None:
        if self._tracker is not None:
            self._tracker.event(message)

    def step(self, progress: Progress, result: StepResult, rate: float, failures: Sequence[tuple[str, str]]) -> None:
        now, waited = time.monotonic(), self._loader.waited
        seconds, waiting = now - self._then, waited - self._waited
        self._then, self._waited = now, waited
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
        for path, reason in failures:
            self._tracker.event(f"left out {path}: {reason}")

    def epoch(self, progress: Progress, scored: Result | None) -> None:
        if self._tracker is not None:
            self._tracker.epoch(
                progress.epoch,
                quiet=scored is None and self._config.run.evaluate_every > 1,
                **_numbers(scored),
                skipped_steps=progress.skipped_steps,
                failed_videos=len(progress.failed_videos),
            )
        self.start_clock()


def _numbers(scored: Result | None) -> dict[str, float | None]:
    if scored is None:
        return {}
    if isinstance(scored, ClassificationResult):
        return {"val_top1": scored.top1, "val_top5": scored.top5, "val_mean_class_accuracy": scored.mean_class_accuracy}
    return {"val_mse": scored.mse}
