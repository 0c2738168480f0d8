"""The fused inference mixer against the modular one."""

from __future__ import annotations

import pytest
import torch

from videomamba import create_model
from videomamba.models.precision import cast_products
from videomamba.modules.mixer import BiMamba
from videomamba.ops import dispatch, native, native_mixer
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
    monkeypatch.setattr(native_mixer, "BLOCK_TOKENS", 16)
    mixer, tokens = a_mixer(**options), torch.randn(2, length, 40)
    with torch.no_grad():
        assert dispatch.fuses_mixer(tokens, mixer.parameters(), torch.float32)
        found = mixer(tokens)
        monkeypatch.setattr(dispatch, "fuses_mixer", lambda *_: False)
        expected = mixer(tokens)
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


def test_blocks_shorter_than_the_convolution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_mixer, "BLOCK_TOKENS", 2)
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
    tokens, weight = torch.randn(1, 4, 8), [torch.zeros(8, 8), torch.nn.Parameter(torch.randn(8, 8))]
    assert not dispatch.fuses_mixer(tokens, weight, torch.float32)
    with torch.no_grad():
        assert dispatch.fuses_mixer(tokens, weight, torch.float32)
        assert not dispatch.fuses_mixer(tokens, weight, torch.float64)
        assert not dispatch.fuses_mixer(tokens[:0], weight, torch.float32)
        with torch.autocast("cpu", torch.bfloat16):
            assert not dispatch.fuses_mixer(tokens, weight, torch.float32)
        for name in ("chunked", "reference"):
            with use_backend(name):
                assert not dispatch.fuses_mixer(tokens, weight, torch.float32)


def test_partly_frozen_mixers_train() -> None:
    mixer, tokens = a_mixer(), torch.randn(1, 9, 40)
    mixer.in_proj.weight.requires_grad_(False)
    mixer(tokens).sum().backward()
    assert all(p.grad is not None for name, p in mixer.named_parameters() if name != "in_proj.weight")


def test_hooks_and_adapters_are_not_passed_over() -> None:
    mixer, tokens, calls = a_mixer(), torch.randn(1, 9, 40), []
    handle = mixer.x_proj.register_forward_hook(lambda *_: calls.append("x_proj"))
    with torch.no_grad():
        mixer(tokens)
        assert calls == ["x_proj"]
        handle.remove()
        plain = mixer(tokens)
        mixer.out_proj = torch.nn.Sequential(mixer.out_proj, torch.nn.Tanh())
        torch.testing.assert_close(mixer(tokens), plain.tanh(), rtol=1e-4, atol=1e-5)


def test_the_registered_op_passes_pytorchs_own_checks() -> None:
    mixer = a_mixer()
    weights = mixer._weights()
    flat = [t.detach() for t in (weights.in_proj, weights.out_proj, *weights.forward, *weights.backward)]
    torch.library.opcheck(torch.ops.videomamba.mixer, (torch.randn(2, 9, 40), flat, "sum", "euler"))
