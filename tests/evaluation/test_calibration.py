"""The calibration error of cases worked out by hand, and temperatures that are known."""

from __future__ import annotations

import pytest
import torch

from videomamba.evaluation.calibration import expected_calibration_error, fit_temperature
from videomamba.schema import VideoMambaError


def test_by_hand() -> None:
    # Two bins of (0, 0.5] and (0.5, 1]: 4 samples of confidence 0.8, half of them right, and 1 of 0.5, which is right.
    probabilities = torch.tensor([[0.8, 0.2]] * 4 + [[0.5, 0.5]])
    targets = torch.tensor([0, 0, 1, 1, 0])
    assert expected_calibration_error(probabilities, targets, bins=2) == pytest.approx((4 * 0.3 + 1 * 0.5) / 5)


def test_sure_and_always_right_is_no_error_and_always_wrong_is_all() -> None:
    probabilities = torch.eye(3)
    assert expected_calibration_error(probabilities, torch.tensor([0, 1, 2])) == 0
    assert expected_calibration_error(probabilities, torch.tensor([1, 2, 0])) == 1


def drawn(number: int = 20000) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits whose softmax is the distribution that the targets were drawn from."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(number, 6, generator=generator)
    return logits, torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_a_factor(factor: float) -> None:
    logits, targets = drawn()
    temperature = fit_temperature(factor * logits, targets)
    assert temperature == pytest.approx(factor, rel=0.03)
    after = expected_calibration_error((factor * logits / temperature).softmax(1), targets)
    assert after < 0.015
    if factor != 1:
        assert expected_calibration_error((factor * logits).softmax(1), targets) > 5 * after


def test_perfect_answers_end_at_the_lowest_temperature() -> None:
    assert fit_temperature(torch.eye(4), torch.arange(4)) == pytest.approx(0.05, rel=1e-3)


def test_what_cannot_be_measured() -> None:
    with pytest.raises(ValueError, match="must be"):
        expected_calibration_error(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long))
    with pytest.raises(ValueError, match="bins"):
        expected_calibration_error(torch.eye(2), torch.arange(2), bins=0)
    with pytest.raises(ValueError, match="must be"):
        fit_temperature(torch.zeros(3, 3), torch.zeros(2, dtype=torch.long))
    with pytest.raises(VideoMambaError, match="not finite"):
        fit_temperature(torch.full((2, 2), float("nan")), torch.arange(2))
