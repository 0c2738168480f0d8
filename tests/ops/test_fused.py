"""The fused inference mixer against the modular one."""

from __future__ import annotations

import pytest
import torch

from videomamba import create_model
from videomamba.models.precision import cast_products
from videomamba.modules.mixer import BiMamba
from videomamba.ops import dispatch, fused, native
from videomamba.ops.dispatch import use_backend

pytestmark = pytest.mark.skipif(native.kernels is None, reason="the native kernels are not built")


def a_mixer(**options: object) -> BiMamba:
    torch.manual_seed(0)
    model = create_model("videomamba_micro", dim=40, depth=1, **options).eval()
    mixer: BiMamba = model.layers[0].mixer
    for parameter in mixer.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return mixer


@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 50])
@pytest.mark.parametrize("options", [{}, {"merge": "mean"}, {"discretization": "zoh"}, {"d_conv": 2}], ids=str)
def test_fused_is_modular(length: int, options: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "BLOCK_TOKENS", 16)
    mixer, tokens = a_mixer(**options), torch.randn(2, length, 40)
    with torch.no_grad():
        assert dispatch.fuses_mixer(tokens, mixer.in_proj.weight)
        found = mixer(tokens)
        monkeypatch.setattr(dispatch, "fuses_mixer", lambda *_: False)
        expected = mixer(tokens)
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


def test_blocks_shorter_than_the_convolution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "BLOCK_TOKENS", 2)
    mixer, tokens = a_mixer(), torch.randn(1, 9, 40)
    with torch.no_grad():
        found = mixer(tokens)
        monkeypatch.setattr(dispatch, "fuses_mixer", lambda *_: False)
        expected = mixer(tokens)
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


def test_fused_in_bf16_is_as_near_to_fp32_as_modular(monkeypatch: pytest.MonkeyPatch) -> None:
    model = create_model("videomamba_micro", dim=40, depth=1).eval()
    mixer, tokens = model.layers[0].mixer, torch.randn(2, 50, 40)
    with torch.no_grad():
        exact = mixer(tokens)
        cast_products(model, torch.bfloat16)
        fused_error = (mixer(tokens) - exact).norm()
        monkeypatch.setattr(dispatch, "fuses_mixer", lambda *_: False)
        modular_error = (mixer(tokens) - exact).norm()
    assert fused_error < 1.5 * modular_error < 0.05 * exact.norm()


def test_nobody_who_looks_inside_gets_the_fused_one() -> None:
    tokens, weight = torch.randn(1, 4, 8), torch.nn.Parameter(torch.randn(8, 8))
    assert not dispatch.fuses_mixer(tokens, weight)
    with torch.no_grad():
        assert dispatch.fuses_mixer(tokens, weight)
        assert not dispatch.fuses_mixer(tokens, weight.double())
        with torch.autocast("cpu", torch.bfloat16):
            assert not dispatch.fuses_mixer(tokens, weight)
        for name in ("chunked", "reference"):
            with use_backend(name):
                assert not dispatch.fuses_mixer(tokens, weight)
