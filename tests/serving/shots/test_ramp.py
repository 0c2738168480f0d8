"""The ends of fades in small pictures that are made here."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from videomamba.serving.shots.ramp import fit_fade
from videomamba.serving.shots.signal import prominence

TIMES = np.arange(0, 3, 1.5 / 16)


def drifting(seed: int, *, speed: float) -> NDArray[np.float64]:
    """(f, 3, 64): a picture that turns into another one."""
    first, second = np.random.default_rng(seed).uniform(30, 220, (2, 3, 64))
    angle = speed * (TIMES - TIMES[len(TIMES) // 2])[:, None, None]
    return 125 + np.cos(angle) * (first - 125) + np.sin(angle) * (second - 125)


@pytest.mark.parametrize("speed", [0.0, 0.4])
@pytest.mark.parametrize(("start", "end"), [(0.7, 1.1), (1.0, 2.2), (1.9, 2.5)])
def test_a_cross_fade(start: float, end: float, speed: float) -> None:
    share = np.clip((TIMES - start) / (end - start), 0, 1)[:, None, None]
    pictures = (1 - share) * drifting(0, speed=speed) + share * drifting(1, speed=speed)
    assert fit_fade(pictures.round().astype(np.uint8), TIMES)[:2] == pytest.approx((start, end), abs=0.12)


@pytest.mark.parametrize("plain", [0.0, 255.0])
@pytest.mark.parametrize(("start", "out", "back", "end"), [(0.8, 1.03, 1.03, 1.26), (0.6, 1.0, 1.7, 2.3)])
def test_a_fade_through_black_or_white(start: float, out: float, back: float, end: float, plain: float) -> None:
    before = np.clip((TIMES - start) / (out - start), 0, 1)[:, None, None]
    after = np.clip((TIMES - back) / (end - back), 0, 1)[:, None, None]
    pictures = (1 - before) * drifting(0, speed=0.4) + after * drifting(1, speed=0.4) + (before - after) * plain
    assert fit_fade(pictures.round().astype(np.uint8), TIMES)[:2] == pytest.approx((start, end), abs=0.12)


def test_a_cut_is_prominent_and_the_steps_of_a_fade_are_not() -> None:
    changes = np.full(30, 0.02, np.float32)
    changes[5], changes[15:20] = 0.8, 0.4
    found = prominence(changes, 0.1 * np.arange(31))
    assert found[5] > 20 and found[15:20].max() < 2.5 and found[25] < 1
