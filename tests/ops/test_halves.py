"""A layer in two walks against the modular one."""

from __future__ import annotations

import pytest
import torch

from tests.ops.test_native_layer import a_layer, modular
from videomamba.modules.block import Block
from videomamba.ops import native
from videomamba.ops.dispatch import use_backend

BACKENDS = [
    pytest.param("native", marks=pytest.mark.skipif(native.kernels is None, reason="the kernels are not built")),
    "chunked",
]


def in_halves(layer: Block, tokens: torch.Tensor, *, size: int, reverse: bool, keep_states: bool) -> torch.Tensor:
    blocks = [slice(i, min(i + size, tokens.shape[1])) for i in range(0, tokens.shape[1], size)]
    residual = tokens.clone()
    first, second = layer.halves(reverse=reverse)
    waiting = {}
    with torch.inference_mode():
        for block in reversed(blocks) if reverse else blocks:
            if keep_states:
                waiting[block.start] = first.state
                first.step(residual[:, block])
            else:
                part = residual[:, block]
                waiting[block.start] = torch.full(
                    (*part.shape[:2], 80), float("nan"), dtype=layer.mixer.in_proj.weight.dtype
                )
                first.step(part, out=waiting[block.start])
        for block in blocks if reverse else reversed(blocks):
            second.step(residual[:, block], waiting[block.start])
    return residual


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    ("keep_states", "options"),
    [(False, {"merge": "mean", "discretization": "zoh"}), (True, {"d_conv": 2})],
    ids=str,
)
def test_two_halves_are_a_layer(backend: str, reverse: bool, keep_states: bool, options: dict[str, object]) -> None:
    layer, tokens = a_layer(**options), torch.randn(2, 33, 40)
    expected = modular(layer, tokens)
    with use_backend(backend):
        for size in (1, 2, 7, 64):
            found = in_halves(layer, tokens, size=size, reverse=reverse, keep_states=keep_states)
            assert (found - expected).abs().max() < 1e-5 * (expected - tokens).abs().max()


@pytest.mark.parametrize("backend", BACKENDS)
def test_in_bf16_it_is_as_near_to_fp32_as_the_modular_one(backend: str) -> None:
    tokens = torch.randn(2, 50, 40)
    exact = modular(a_layer(), tokens)
    layer = a_layer(torch.bfloat16)
    modular_error = (modular(layer, tokens) - exact).norm()
    with use_backend(backend):
        error = (in_halves(layer, tokens, size=16, reverse=False, keep_states=False) - exact).norm()
    assert error < 1.5 * modular_error


def test_what_cannot_run_in_halves_is_refused() -> None:
    layer = a_layer()
    with use_backend("reference"), pytest.raises(RuntimeError, match="reference"):
        layer.halves(reverse=False)
    layer.drop_path_rate = 0.5
    layer.train()
    with pytest.raises(ValueError, match="drop path"):
        layer.halves(reverse=False)
    layer.eval()
    layer.mixer.out_proj = torch.nn.Sequential(layer.mixer.out_proj)
    with pytest.raises(ValueError, match="adapters"):
        layer.halves(reverse=False)
