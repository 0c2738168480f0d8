"""The class token's row of a mixer's implicit attention, against its formula written out in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from videomamba.modules.mixer import BiMamba
from videomamba.ops.dispatch import use_backend

STATES, TAPS, RANK, INNER = 4, 3, 2, 16


def a_mixer(discretization: str = "euler") -> BiMamba:
    mixer = BiMamba(dim=8, inner_dim=INNER, d_state=STATES, d_conv=TAPS, dt_rank=RANK, discretization=discretization)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return mixer


def tokens(batch: int = 2, length: int = 7) -> Tensor:
    return torch.randn(batch, length, 8, generator=torch.Generator().manual_seed(1))


def by_formula(mixer: BiMamba, tokens: Tensor, discretization: str) -> Tensor:
    """sum_n C_0 (prod_{i<j} exp(delta_i A)) phi_j B_j for each channel and token, absolute, mean over channels."""
    w = {name: value.double() for name, value in mixer.state_dict().items()}
    x = (tokens.double() @ w["in_proj.weight"].T)[..., :INNER]
    length = x.shape[1]
    padded = F.pad(x, (0, 0, 0, TAPS - 1))
    taps = w["conv1d_b.weight"][:, 0]
    u = F.silu(w["conv1d_b.bias"] + sum(padded[:, i : i + length] * taps[:, TAPS - 1 - i] for i in range(TAPS)))
    dt, B, C = (u @ w["x_proj_b.weight"].T).split([RANK, STATES, STATES], dim=-1)
    delta = F.softplus(dt @ w["dt_proj_b.weight"].T + w["dt_proj_b.bias"])
    A = -w["A_b_log"].exp()
    row = torch.zeros(*u.shape[:2], dtype=torch.float64)
    for b in range(len(u)):
        for j in range(length):
            decay = torch.stack([torch.exp(delta[b, i, :, None] * A) for i in range(j)] or [torch.ones_like(A)])
            step = delta[b, j, :, None]
            phi = step if discretization == "euler" else (torch.exp(step * A) - 1) / A
            row[b, j] = (C[b, 0] * decay.prod(dim=0) * phi * B[b, j]).sum(dim=1).abs().mean()
    return row


@pytest.mark.parametrize("discretization", ["euler", "zoh"])
@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_is_that_of_the_formula(discretization: str, backend: str) -> None:
    mixer, x = a_mixer(discretization), tokens()
    with use_backend(backend):
        row = mixer.class_attention(x)
    assert row.dtype == torch.float32 and not row.requires_grad
    torch.testing.assert_close(row.double(), by_formula(mixer, x, discretization), rtol=1e-5, atol=1e-7)


def test_leaves_no_gradient_and_reads_no_batch() -> None:
    mixer = a_mixer()
    mixer.class_attention(tokens().requires_grad_())
    assert all(parameter.grad is None for parameter in mixer.parameters())
    assert mixer.class_attention(tokens(batch=0)).shape == (0, 7)


def test_a_single_token_reads_itself() -> None:
    mixer, x = a_mixer(), tokens(length=1)
    torch.testing.assert_close(mixer.class_attention(x).double(), by_formula(mixer, x, "euler"), rtol=1e-5, atol=1e-7)
