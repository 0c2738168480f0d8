"""Constants that are made of parameters: computed once for many calls, and again when a parameter has changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook

T = TypeVar("T")

_last_step = object()


def _note_step(*_: object) -> None:
    """After each step of any optimiser: fused ones write without being counted."""
    global _last_step
    if not torch.compiler.is_compiling():  # a compiled step writes by operations that are counted
        _last_step = object()


register_optimizer_step_post_hook(_note_step)


class Prepared(Generic[T]):
    """What was made of some parameters last, for calls that need no gradient of them.

    A change is seen by PyTorch's own counter of writes, by the memory that a parameter lies in, and by the steps of
    optimisers. Other writes that PyTorch does not count, through `parameter.data` or NumPy, are seen after `clear` only.
    A copy of it, or what is read from a file, begins empty.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self._marks: list[object] = []
        self._held: list[Tensor] = []  # so that no other tensor gets the memory that the marks name
        self._value: T | None = None

    def get(self, parameters: Sequence[Tensor], make: Callable[[], T]) -> T:
        """`make()`, or what it gave before where the parameters are what they were."""
        if any(parameter.is_inference() for parameter in parameters):
            return make()  # nobody counts what is written to these
        marks: list[object] = [_last_step]
        for parameter in parameters:
            marks += [parameter.data_ptr(), parameter._version]
        if self._value is None or marks != self._marks:
            with torch.inference_mode(False), torch.no_grad():  # what is made in that mode may not be used outside it
                self._held, self._value = [parameter.detach() for parameter in parameters], make()
            self._marks = marks
        return self._value

    def __reduce__(self) -> tuple[type[Prepared[T]], tuple[()]]:
        return type(self), ()
