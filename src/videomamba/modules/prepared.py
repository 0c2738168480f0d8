"""Constants computed from parameters: once for many calls where that was asked for, and again when a parameter has changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from videomamba.ops import dispatch

T = TypeVar("T")

_last_step = object()


def _note_step(*_: object) -> None:
    """After each step of any optimiser: fused ones write without being counted."""
    global _last_step
    if not torch.compiler.is_compiling():  # a compiled step writes by operations that are counted
        _last_step = object()


register_optimizer_step_post_hook(_note_step)


class Prepared(Generic[T]):
    """The last value computed from some parameters, for calls that need no gradient of them.

    Nothing is kept unless `active`. PyTorch's counter of writes, the address of a parameter and the steps of optimisers show a
    change. PyTorch does not count writes through `parameter.data`, NumPy, `torch.distributed` or other processes: they need
    `clear`. A copy of it, also through a file, starts empty and inactive.
    """

    def __init__(self) -> None:
        self.active = False
        self.clear()

    def clear(self) -> None:
        self._marks: list[object] = []
        self._held: list[Tensor] = []  # so that no other tensor gets their addresses, which are in the marks
        self._value: T | None = None

    def get(self, parameters: Sequence[Tensor], make: Callable[[], T]) -> T:
        """`make()`, or its last result where the parameters have not changed."""
        if not self.active or torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
            return make()
        if any(parameter.is_inference() for parameter in parameters):
            return make()  # PyTorch does not count writes to these
        if dispatch.is_transformed(parameters):
            return make()  # the value has a tangent, or belongs to a transform
        marks: list[object] = [_last_step]
        for parameter in parameters:
            marks += [parameter.data_ptr(), parameter._version]
        if self._value is None or marks != self._marks:
            with torch.inference_mode(False), torch.no_grad():  # a tensor made in that mode cannot be used outside it
                self._held, self._value = [parameter.detach() for parameter in parameters], make()
            self._marks = marks
        return self._value

    def __reduce__(self) -> tuple[type[Prepared[T]], tuple[()]]:
        return type(self), ()


class PreparingModule(nn.Module, Generic[T]):
    """A module with constants that depend on its weights alone."""

    def __init__(self) -> None:
        super().__init__()
        self._prepared = Prepared[T]()

    def prepare_constants(self) -> None:
        """Keeps the constants from call to call, where no gradient is needed."""
        self._prepared.active = True
        self._prepared.clear()

    def train(self, mode: bool = True) -> Self:
        self._prepared.clear()
        return super().train(mode)
