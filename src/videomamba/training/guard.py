"""Losses and gradients that are not finite: where they come from, and the end of the run after too many in a row."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from videomamba.schema import VideoMambaError
from videomamba.training.distributed import unsharded


@dataclass(frozen=True)
class Verdict:
    """Whether all processes may take a step, and what this process found.

    `norm` is that of all gradients. `samples` had a loss that is not finite, `parameters` such a gradient, in model order.
    """

    finite: bool
    norm: float
    samples: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()

    @property
    def reason(self) -> str:
        """The first cause; "" for a good step."""
        if self.finite:
            return ""
        if self.samples:
            return f"the loss of {self.samples[0]}{_more(self.samples)} is not finite"
        if self.parameters:  # the backward pass runs from the output, so the last in the model's order came first
            return f"the gradient of {self.parameters[-1]}{_more(self.parameters)} is not finite"
        return "another process found it" if math.isfinite(self.norm) else "the norm of the gradients overflows"


class Guard:
    """Watches the losses and gradients of each step.

        guard.check(losses, paths); losses.mean().backward()    # for each micro-batch
        verdict = guard.check_gradients(named_parameters)       # once a step, on every process
        if verdict.finite: clip_gradients(...); optimizer.step()

    `all_finite` says whether its argument is true on all processes; every process must call `check_gradients` as often.
    """

    def __init__(self, max_bad_steps: int, *, all_finite: Callable[[bool], bool] = bool) -> None:
        self.max_bad_steps = max_bad_steps
        self.in_a_row = 0
        self._all_finite = all_finite
        self._watched: list[tuple[Tensor, tuple[str, ...]]] = []

    def check(self, losses: Tensor, names: Sequence[str]) -> None:
        """Keeps the loss (n,) and name of each sample for `check_gradients`, so that a GPU need not wait."""
        if losses.shape != (len(names),):
            raise ValueError(f"{len(names)} names for losses of shape {tuple(losses.shape)}")
        self._watched.append((losses.detach(), tuple(names)))

    def check_gradients(self, named_parameters: Iterable[tuple[str, nn.Parameter]]) -> Verdict:
        """Ends a step: whether its losses and gradients are finite on all processes.

        Raises VideoMambaError, on all processes, at the `max_bad_steps`-th bad step in a row.
        """
        named = [(name, parameter.grad) for name, parameter in named_parameters]
        gradients = {name: gradient for name, gradient in named if gradient is not None}
        norm = unsharded(get_total_norm(gradients.values())).item()
        samples = tuple(
            name
            for losses, names in self._watched
            for name, finite in zip(names, torch.isfinite(losses).tolist(), strict=True)
            if not finite
        )
        self._watched.clear()
        if self._all_finite(math.isfinite(norm) and not samples):
            self.in_a_row = 0
            return Verdict(True, norm)
        parameters = () if math.isfinite(norm) else tuple(name for name, g in gradients.items() if not _is_finite(g))
        verdict = Verdict(False, norm, samples, parameters)
        self.in_a_row += 1
        if self.in_a_row >= self.max_bad_steps:
            look = ", or look at that sample with `videomamba data check`" if samples else ""
            raise VideoMambaError(
                f"{self.in_a_row} steps in a row were not finite, the last because {verdict.reason}; "
                f"lower optim.lr or set optim.clip_grad{look}"
            )
        return verdict


def first_cause(verdicts: Sequence[Verdict]) -> Verdict:
    """The most informative of all processes' verdicts on a bad step: the loss of a sample spoils the gradients of all."""
    return max(verdicts, key=lambda verdict: (bool(verdict.samples), bool(verdict.parameters)))


def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float, total_norm: float | Tensor) -> None:
    """Scales all gradients so that their common norm, `Verdict.norm`, is at most `max_norm`."""
    clip_grads_with_norm_(parameters, max_norm, torch.as_tensor(total_norm))


def _is_finite(gradient: Tensor) -> bool:
    local = gradient.to_local() if isinstance(gradient, DTensor) else gradient
    return bool(torch.isfinite(local).all())


def _more(names: Sequence[str]) -> str:
    return f" (and of {len(names) - 1} more)" if len(names) > 1 else ""
