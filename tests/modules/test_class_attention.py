"""The hidden attention of a mixer and the class token's row of it, against the formula written out in float64."""

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
    """Row 0 of the backward scan, absolute, mean over channels."""
    return matrices(mixer, tokens, discretization, reverse=True)[1][:, 0].abs().mean(dim=-1)


def matrices(mixer: BiMamba, tokens: Tensor, discretization: str, *, reverse: bool) -> tuple[Tensor, Tensor]:
    """u (b, l, e) and alpha[t, s] = sum_n C_t (prod_{s<i<=t} exp(delta_i A)) phi_s B_s, (b, l, l, e), for one scan."""
    w = {name: value.double() for name, value in mixer.state_dict().items()}
    b = "_b" if reverse else ""
    x = (tokens.double() @ w["in_proj.weight"].T)[..., :INNER]
    x = x.flip(1) if reverse else x  # from here on the scan starts at the first token
    length = x.shape[1]
    padded = F.pad(x, (0, 0, TAPS - 1, 0))
    taps = w[f"conv1d{b}.weight"][:, 0]
    u = F.silu(w[f"conv1d{b}.bias"] + sum(padded[:, i : i + length] * taps[:, i] for i in range(TAPS)))
    dt, B, C = (u @ w[f"x_proj{b}.weight"].T).split([RANK, STATES, STATES], dim=-1)
    delta = F.softplus(dt @ w[f"dt_proj{b}.weight"].T + w[f"dt_proj{b}.bias"])
    A = -w[f"A{b}_log"].exp()
    alpha = torch.zeros(len(u), length, length, INNER, dtype=torch.float64)
    for t in range(length):
        for s in range(t + 1):
            decay = torch.exp(delta[:, s + 1 : t + 1].sum(dim=1)[..., None] * A)
            step = delta[:, s, :, None]
            phi = step if discretization == "euler" else (torch.exp(step * A) - 1) / A
            alpha[:, t, s] = (C[:, t, None] * decay * phi * B[:, s, None]).sum(dim=-1)
    return (u.flip(1), alpha.flip(1, 2)) if reverse else (u, alpha)


@pytest.mark.parametrize("discretization", ["euler", "zoh"])
@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_is_that_of_the_formula(discretization: str, backend: str) -> None:
    mixer, x = a_mixer(discretization), tokens()
    with use_backend(backend):
        row = mixer.class_attention(x)
    assert row.dtype == torch.float32 and not row.requires_grad
    torch.testing.assert_close(row.double(), by_formula(mixer, x, discretization), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("discretization", ["euler", "zoh"])
@pytest.mark.parametrize("reverse", [False, True])
def test_what_outputs_read_is_a_product_with_the_matrix(discretization: str, reverse: bool) -> None:
    mixer, x = a_mixer(discretization), tokens()
    outputs = torch.randn(2, 7, INNER, generator=torch.Generator().manual_seed(2))
    u, read = mixer.hidden_attention(x, outputs, reverse=reverse)
    inputs, alpha = matrices(mixer, x, discretization, reverse=reverse)
    expected = torch.einsum("bte,btse->bse", outputs.double(), alpha)
    torch.testing.assert_close(u.double(), inputs, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(read.double(), expected, rtol=1e-4, atol=2e-5)
    assert not u.requires_grad and not read.requires_grad


def test_leaves_no_gradient_and_reads_no_batch() -> None:
    mixer = a_mixer()
    mixer.class_attention(tokens().requires_grad_())
    assert all(parameter.grad is None for parameter in mixer.parameters())
    assert mixer.class_attention(tokens(batch=0)).shape == (0, 7)


def test_a_single_token_reads_itself() -> None:
    mixer, x = a_mixer(), tokens(length=1)
    torch.testing.assert_close(mixer.class_attention(x).double(), by_formula(mixer, x, "euler"), rtol=1e-5, atol=1e-7)
