"""One step of an optimiser: forward and backward over its micro-batches, means over all processes, guard, clip, update."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

from videomamba.training.distributed import Processes
from videomamba.training.guard import Guard, Verdict, clip_gradients


class Masters(Protocol):
    """fp32 weights that the optimiser updates instead of the network's rounded ones: `models.precision.MasterWeights`."""

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...
    def collect_gradients(self) -> None: ...
    def publish(self) -> None: ...
    def state_dict(self) -> dict[str, Tensor]: ...


class OwnWeights:
    """The weights of an fp32 network as their own masters."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        return self._model.named_parameters()

    def collect_gradients(self) -> None:
        pass

    def publish(self) -> None:
        pass

    def state_dict(self) -> dict[str, Tensor]:
        return self._model.state_dict()


class MicroBatch(Protocol):
    """The samples of one forward pass. `planned` is their number before failures; `failures` are (path, reason)."""

    @property
    def planned(self) -> int: ...
    @property
    def failures(self) -> Sequence[tuple[str, str]]: ...


Batch = TypeVar("Batch")
BatchOut = TypeVar("BatchOut", bound=MicroBatch, covariant=True)
Parts = Mapping[str, Tensor]
Losses = Callable[[Batch], tuple[Tensor, Sequence[str]] | tuple[Tensor, Sequence[str], Parts]]
"""The forward pass of a micro-batch: one loss per sample (n,), the samples' names, and, where the loss is a sum, its parts.

The parts (n,) by name are recorded as NAME_loss. In one step every process has parts of the same names.
"""


class Loader(Protocol[BatchOut]):
    """`epoch(e, first)` yields this process's micro-batches of each step of epoch e, from step `first` on.

    `waited` is the seconds spent waiting for batches so far.
    """

    @property
    def steps_per_epoch(self) -> int: ...
    @property
    def waited(self) -> float: ...
    def epoch(self, epoch: int, first_step: int) -> Iterator[Sequence[BatchOut]]: ...


@dataclass(frozen=True)
class StepResult:
    """The result of a step over all processes: mean `loss` of `samples` clips, `grad_norm` before clipping.

    `missing` clips could not be read. The weights are unchanged where `verdict.finite` is False, and where no video could
    be read: `samples` is then 0 and `loss` NaN. `parts` are the means of the parts of the loss, by name.
    """

    loss: float
    samples: int
    missing: int
    grad_norm: float
    verdict: Verdict
    parts: Mapping[str, float] = field(default_factory=dict)


class Stepper:
    """Makes the steps of a run. The gradient is that of the mean over all clips of all processes and micro-batches.

    Raises VideoMambaError after as many bad steps in a row as the guard allows.
    """

    def __init__(
        self,
        module: nn.Module,
        masters: Masters,
        optimizer: torch.optim.Optimizer,
        processes: Processes,
        guard: Guard,
        *,
        sums_itself: bool,
        clip_grad: float | None,
    ) -> None:
        self.module, self.masters, self.optimizer = module, masters, optimizer
        self.processes, self.guard = processes, guard
        self.sums_itself, self.clip_grad = sums_itself, clip_grad

    def step(self, batches: Sequence[Batch], losses_of: Losses[Batch], *, planned: int) -> StepResult:
        """One update from this process's micro-batches, which hold `planned` clips if none failed."""
        self.optimizer.zero_grad(set_to_none=True)
        samples, total = 0, torch.zeros((), device=self.processes.device)
        parts: dict[str, Tensor] = {}
        for i, batch in enumerate(batches):
            with self.processes.accumulating(self.module, i + 1 < len(batches)):
                losses, names, *of_batch = losses_of(batch)
                self.guard.check(losses[: len(names)], names)
                self.processes.backward(losses.sum() / planned)
            self.masters.collect_gradients()
            samples += len(names)
            total += losses.detach().sum()  # not read yet: a GPU need not wait
            for name, part in of_batch[0].items() if of_batch else ():
                parts[name] = parts.get(name, 0) + part.detach().sum()
        if self.sums_itself:
            self.processes.average_gradients(p for _, p in self.masters.named_parameters())
        numbers = [samples, planned, float(total), *map(float, parts.values())]
        samples_all, planned_all, total_all, *parts_all = self.processes.sum(numbers)
        if 0 < samples_all < planned_all:
            self._scale(planned_all / samples_all)
        verdict = self.guard.check_gradients(self.masters.named_parameters())
        if verdict.finite and samples_all:
            if self.clip_grad is not None:
                clip_gradients(self._parameters(), self.clip_grad, verdict.norm)
            self.optimizer.step()
            self.masters.publish()
        loss, *means = [value / samples_all if samples_all else math.nan for value in (total_all, *parts_all)]
        named = dict(zip(parts, means, strict=True))
        return StepResult(loss, int(samples_all), int(planned_all - samples_all), verdict.norm, verdict, named)

    def _parameters(self) -> Iterable[nn.Parameter]:
        return (p for _, p in self.masters.named_parameters())

    @torch.no_grad()
    def _scale(self, factor: float) -> None:
        """Makes the gradients those of the mean over the clips that could be read."""
        torch._foreach_mul_([p.grad for p in self._parameters() if p.grad is not None], factor)
