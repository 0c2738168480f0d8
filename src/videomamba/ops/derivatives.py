"""Which derivatives the registered ops have: the first, in reverse mode. Any other raises here; none is ever silently 0.

PyTorch knows the backward pass of a registered op and nothing else. Where it is asked for more it says so for some requests,
with a message that helps nobody here, and for forward mode it drops the tangents.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from torch.autograd import forward_ad


def missing(derivative: str) -> RuntimeError:
    """The error for a `derivative` that only the reference backend has."""
    return RuntimeError(
        f"the operators of VideoMamba have no {derivative} on this backend; the backend 'reference' has it, at the speed of a "
        'Python loop: run the call under `with videomamba.ops.dispatch.use_backend("reference"):`, without torch.compile'
    )


def in_forward_mode(tensors: Iterable[Tensor | None]) -> bool:
    """Whether one of `tensors` carries a tangent, of `torch.autograd.forward_ad` or `torch.func.jvp`, or could."""
    if forward_ad._current_level < 0:
        return False
    # Under `torch.func` the tangent may belong to an outer transform, where a wrapped tensor does not show it. Tensors made
    # inside a jvp are wrapped too, so that a network is refused there even where nothing is differentiated through it.
    wrapped = torch._C._functorch.is_functorch_wrapped_tensor
    return any(t is not None and (wrapped(t) or _tangent(t) is not None) for t in tensors)


def _tangent(t: Tensor) -> Tensor | None:
    tangent: Tensor | None = forward_ad.unpack_dual(t).tangent  # type: ignore[no-untyped-call]
    return tangent


def is_transformed(tensors: Iterable[Tensor | None]) -> bool:
    """Whether a transform of `torch.func` is active or one of `tensors` has a tangent: memory must not be read directly."""
    return torch._C._are_functorch_transforms_active() or in_forward_mode(tensors)


@contextlib.contextmanager
def checked(tensors: Iterable[Tensor | None]) -> Iterator[None]:
    """Around a registered op with these inputs, outside of a trace. Raises RuntimeError where the derivative is missing."""
    if in_forward_mode(tensors):
        raise missing("forward-mode derivative (jvp)")
    try:
        yield
    except RuntimeError as error:
        # PyTorch's generated formula cannot be transformed; the tensors do not show it where transforms are nested.
        if torch._C._are_functorch_transforms_active() and "setup_context" in str(error):
            raise missing("derivative inside torch.func (grad, vjp, jacrev)") from None
        raise


def check_trace() -> None:
    """The same for a fake, which PyTorch calls while it traces a graph: there the inputs do not show their tangents."""
    if forward_ad._current_level >= 0:
        raise missing("forward-mode derivative (jvp)")
