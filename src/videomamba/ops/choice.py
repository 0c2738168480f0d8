"""Which backend serves a call, and why another does not.

A backend `x` is a file `ops/x.py` with `why_not(call)`, `states_shape(shape, states)`, `scan`, `scan_backward`, `conv` and
`conv_backward`; one that `walk` can use also has `norm`, one that fuses layers a file `ops/x_layer.py` with `layer`.
`PREFERENCE` is the only list of backends.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from types import ModuleType
from typing import NamedTuple

import torch

from videomamba.ops import chunked, reference
from videomamba.ops.layout import Call

PREFERENCE = ("native", "chunked")
"""Best first; "chunked" serves every device and dtype. "reference" runs only where it is forced."""
PLAIN: Mapping[str, ModuleType] = {"chunked": chunked, "reference": reference}
"""The backends that are PyTorch code: a graph can hold their operators instead of a registered op."""


class Request(NamedTuple):
    """The backend that `use_backend` forces, and whether its plain code runs."""

    backend: str = "auto"
    plain: bool = False


_request: ContextVar[Request] = ContextVar("videomamba_backend", default=Request())  # noqa: B039  # it is immutable


@contextlib.contextmanager
def use_backend(name: str, *, plain: bool = False) -> Iterator[None]:
    """Within the context every op runs on backend `name`: "reference", "chunked" or "native"; "auto" restores the default.

    With `plain` the code of the backend runs instead of the registered op, so that a graph that is traced here holds only
    PyTorch's own operators, as an export for another program needs. The backend must be "chunked" (the choice of "auto"),
    which then has no gradients, or "reference", whose graph grows with every token.

    Raises ValueError for an unknown name and for a backend without plain code. A call that the backend cannot serve raises
    RuntimeError with the reason.
    """
    known = (*PREFERENCE, "reference", "auto")
    if name not in known:
        raise ValueError(f"unknown backend {name!r}; choose from {', '.join(known)}")
    if plain and name == "auto":
        name = next(iter(PLAIN))
    if plain and name not in PLAIN:
        raise ValueError(f"backend {name!r} has no plain PyTorch code; choose from {', '.join(PLAIN)}")
    token = _request.set(Request(name, plain))
    try:
        yield
    finally:
        _request.reset(token)


def request() -> Request:
    """The request of this thread or context."""
    return _request.get()


def module(name: str) -> ModuleType:
    return importlib.import_module(f"videomamba.ops.{name}")


def why_not(backend: str, call: Call) -> str | None:
    """None when `backend` can serve `call`, else the reason."""
    reason: str | None = module(backend).why_not(call)
    return reason


def resolve(backend: str, call: Call) -> str:
    """The name of the backend that serves `call`: `backend`, or for "auto" the forced one, or else the first that can.

    Raises RuntimeError when a named backend cannot serve it.
    """
    if backend == "auto":
        backend = request().backend
    if backend == "auto":
        reasons = {name: why_not(name, call) for name in PREFERENCE}
        able = next((name for name, reason in reasons.items() if reason is None), None)
        if able is None:
            listed = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
            raise RuntimeError(f"no backend can serve this call: {listed}")
        return able
    reason = why_not(backend, call)
    if reason is not None:
        raise RuntimeError(f"backend {backend!r} cannot serve this call: {reason}")
    return backend


def for_a_node(call: Call) -> str:
    """The backend that a registered op is given for `call`, chosen now, so that forward and backward pass run on the same.

    A traced call is "auto": its graph may run on another machine, and chooses there.
    """
    return "auto" if torch.compiler.is_compiling() else resolve("auto", call)


def _inline_name() -> str | None:
    backend, plain = request()
    return backend if plain or (backend == "reference" and not torch.compiler.is_compiling()) else None


# A graph fixes it while it is traced. This is torch.compiler.assume_constant_result, which would import the compiler.
vars(_inline_name)["_dynamo_marked_constant"] = True


def inline() -> ModuleType | None:
    """The backend whose code runs instead of the registered op, None where the op runs."""
    name = _inline_name()
    return None if name is None else PLAIN[name]


def explain(call: Call) -> list[tuple[str, str]]:
    """For each backend, best first, (name, verdict): "serves", "can serve" or the reason why it cannot."""
    reasons = {name: why_not(name, call) for name in PREFERENCE}
    first = next((name for name, reason in reasons.items() if reason is None), None)
    return [(name, reason or ("serves" if name == first else "can serve")) for name, reason in reasons.items()]
