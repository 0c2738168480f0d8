"""Derivatives beyond the first in reverse mode: the reference backend has them, the others say so, and none is silently 0."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor

from videomamba import ops
from videomamba.modules.prepared import Prepared
from videomamba.ops import dispatch

ADVICE = r"with videomamba\.ops\.dispatch\.use_backend\(\"reference\"\)"
BACKENDS = ["auto", "chunked"]
pytestmark = pytest.mark.filterwarnings(
    "ignore:.torch.jit.script. is deprecated"
)  # PyTorch's own, at its first tangent


def scan(u: Tensor) -> Tensor:
    """(1, 5, 4) -> the same, by both ops."""
    A = -torch.ones(4, 2, dtype=u.dtype)
    B = torch.linspace(0.1, 1, 10, dtype=u.dtype).reshape(1, 5, 2).expand(len(u), -1, -1)
    x = ops.causal_conv1d(u, torch.linspace(-1, 1, 12, dtype=u.dtype).reshape(4, 3))
    out = ops.selective_scan(x, x, A, B, B)
    assert isinstance(out, Tensor)
    return out


def clip() -> Tensor:
    return torch.linspace(-1, 1, 20, dtype=torch.float64).reshape(1, 5, 4)


def second(u: Tensor) -> Tensor:
    u = u.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(scan(u).pow(2).sum(), u, create_graph=True)
    return torch.autograd.grad(gradient.pow(2).sum(), u)[0]


def dual(u: Tensor) -> Tensor | None:
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(scan(forward_ad.make_dual(u, torch.ones_like(u)))).tangent


def jvp(u: Tensor) -> Tensor:
    return torch.func.jvp(scan, (u,), (torch.ones_like(u),))[1]


def loss(u: Tensor) -> Tensor:
    return scan(u).pow(2).sum()


def each(f: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """`f` of every clip of a batch by vmap."""
    return torch.func.vmap(lambda one: f(one[None]))


MISSING = {
    "second derivative": second,
    "forward mode": dual,
    "jvp": jvp,
    "jvp without gradients": torch.no_grad()(jvp),
    "jvp of jvp": lambda u: torch.func.jvp(lambda a: torch.func.jvp(lambda b: scan(a) * b, (u,), (u,))[1], (u,), (u,))[
        1
    ],
    "grad": torch.func.grad(loss),
    "vmap of grad": each(torch.func.grad(loss)),
    "grad of vmap": torch.func.grad(lambda u: each(loss)(u).sum()),
    "jvp of vmap": lambda u: torch.func.jvp(each(loss), (u,), (u,))[1],
    "vmap of jvp": each(lambda u: torch.func.jvp(loss, (u,), (u,))[1]),
    "forward over reverse": lambda u: torch.func.jvp(torch.func.grad(loss), (u,), (u,))[1],
    "jacrev": torch.func.jacrev(scan),
    "jacfwd": torch.func.jacfwd(scan),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", MISSING)
def test_a_missing_derivative_names_the_backend_that_has_it(name: str, backend: str) -> None:
    with dispatch.use_backend(backend), pytest.raises(RuntimeError, match=ADVICE):
        MISSING[name](clip())
    with dispatch.use_backend("reference"):
        found = MISSING[name](clip())
    assert found is not None and found.isfinite().all() and found.any()


def test_forward_mode_through_plain_code() -> None:
    with dispatch.use_backend("chunked", plain=True), pytest.raises(RuntimeError, match=ADVICE):
        jvp(clip())


@pytest.mark.parametrize("mode", ["jvp inside", "jvp outside", "dual outside"])
def test_a_compiled_graph_has_no_silent_tangent_either(mode: str) -> None:
    compiled = torch.compile(scan, backend="aot_eager")
    calls = {
        "jvp inside": lambda: torch.compile(jvp, backend="aot_eager", fullgraph=True)(clip()),
        "jvp outside": lambda: torch.func.jvp(compiled, (clip(),), (clip(),)),
        "dual outside": lambda: _dual_through(compiled),
    }
    with pytest.raises(Exception, match=r"no forward-mode derivative \(jvp\)"):
        calls[mode]()


def _dual_through(compiled: Callable[[Tensor], Tensor]) -> None:
    with forward_ad.dual_level():
        compiled(forward_ad.make_dual(clip(), clip()))


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")  # vmap's, since PyTorch 2.15
def test_what_needs_no_derivative_of_the_operators_goes_on() -> None:
    """A frozen network inside the gradient of something else; and vmap alone."""
    features = scan(clip())

    def head(w: Tensor) -> Tensor:
        return (scan(clip()) * w).sum()

    torch.testing.assert_close(torch.func.grad(head)(torch.ones(4, dtype=torch.float64)), features.sum(dim=(0, 1)))
    two = torch.cat([clip(), -clip()])
    torch.testing.assert_close(each(scan)(two)[:, 0], torch.cat([scan(clip()), scan(-clip())]))


def test_create_graph_alone_is_no_second_derivative() -> None:
    u = clip().requires_grad_()
    (gradient,) = torch.autograd.grad(scan(u).sum(), u, create_graph=True)
    assert gradient.isfinite().all()


def test_a_kept_constant_has_no_foreign_tangent() -> None:
    kept, weight = Prepared[Tensor](), torch.ones(3)
    kept.active = True
    first = kept.get([weight], lambda: weight.exp())
    with forward_ad.dual_level():
        both = forward_ad.make_dual(weight, torch.ones(3))
        made = kept.get([both], lambda: both.exp())
        assert forward_ad.unpack_dual(made).tangent is not None
    assert kept.get([weight], lambda: weight.exp()) is first
