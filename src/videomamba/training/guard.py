"""Losses and gradients that are not finite: find where, skip the step, and stop the run after too many in a row."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from videomamba.schema import VideoMambaError


@dataclass(frozen=True)
class Verdict:
    """Whether a step may be taken, which all processes agree on, and what this process found.

    `norm` is that of all gradients together. `samples` had a loss that is not finite, `parameters` a gradient that is
    not, in the model's order.
    """

    finite: bool
    norm: float
    samples: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()

    @property
    def reason(self) -> str:
        """Where it began, in a few words; "" for a good step."""
        if self.finite:
            return ""
        if self.samples:
            return f"the loss of {self.samples[0]}{_more(self.samples)} is not finite"
        if self.parameters:  # the backward pass runs from the output, so the last in the model's order came first
            return f"the gradient of {self.parameters[-1]}{_more(self.parameters)} is not finite"
        return "another process had it" if math.isfinite(self.norm) else "the norm of the gradients overflows"


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
        """Notes the loss of each sample (n,) with what to call it. Looked at by `check_gradients`: a GPU need not wait."""
        if losses.shape != (len(names),):
            raise ValueError(f"{len(names)} names for losses of shape {tuple(losses.shape)}")
        self._watched.append((losses.detach(), tuple(names)))

    def check_gradients(self, named_parameters: Iterable[tuple[str, nn.Parameter]]) -> Verdict:
        """Ends a step: whether its losses and gradients are finite, here and on all other processes.

        Raises VideoMambaError, on all processes alike, at the `max_bad_steps`-th bad step in a row.
        """
        named = [(name, parameter.grad) for name, parameter in named_parameters]
        gradients = {name: gradient for name, gradient in named if gradient is not None}
        norm = _total_norm(gradients.values())
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
    """The most informative verdict of all processes at one bad step: a sample's loss spoils the gradients of all."""
    return max(verdicts, key=lambda verdict: (bool(verdict.samples), bool(verdict.parameters)))


def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float, total_norm: float | Tensor) -> None:
    """Scales all gradients so that their common norm, which `Verdict.norm` has, is at most `max_norm`."""
    clip_grads_with_norm_(parameters, max_norm, torch.as_tensor(total_norm))


def _total_norm(gradients: Iterable[Tensor]) -> float:
    norm = get_total_norm(gradients)
    # A sharded tensor's norm is that of this process's part until it is asked for the whole, which all must ask for.
    whole: Tensor = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
    return whole.item()


def _is_finite(gradient: Tensor) -> bool:
    local: Tensor = gradient.to_local() if hasattr(gradient, "to_local") else gradient
    return bool(torch.isfinite(local).all())


def _more(names: Sequence[str]) -> str:
    return f" (and of {len(names) - 1} more)" if len(names) > 1 else ""
