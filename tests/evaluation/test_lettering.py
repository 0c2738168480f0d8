"""Text in pictures: any alphabet, any size, and nothing outside of the picture."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from videomamba.evaluation.lettering import SMALLEST, fitted, lettering, stamp


def test_letters_of_the_size_that_was_asked_for() -> None:
    small, large = lettering("Hg", 10), lettering("Hg", 40)
    assert small.dtype == np.uint8 and small.max() > 200 and small[0].max() == small[:, 0].max() == 0  # a margin
    assert 3 < large.shape[0] / small.shape[0] < 5 and large.shape[1] > 2.5 * small.shape[1]
    assert lettering("Hg\nHg", 20).shape[0] > 1.7 * lettering("Hg", 20).shape[0]
    assert not np.array_equal(lettering("left", 20), lettering("felt", 20))


@pytest.mark.parametrize("text", ["$5 \\frac{", "挥手 <b>", "\udcff", "", "a\tb\x00", "x" * 5000])
def test_any_text_is_drawn(text: str) -> None:
    assert lettering(text, 12).ndim == 2


@pytest.mark.parametrize(("height", "width"), [(1, 1), (17, 31), (64, 48), (1080, 1920)])
def test_nothing_leaves_the_picture(height: int, width: int) -> None:
    text = "disappear 95.0 %\nvideomamba_micro_synthetic"
    picture, letters = np.full((height, width, 3), 100, np.uint8), fitted(text, height=height, width=width)
    stamp(picture, letters)
    below, beside = picture[letters.shape[0] :], picture[:, letters.shape[1] :]
    written = picture[: letters.shape[0], : letters.shape[1]]
    assert (below == 100).all() and (beside == 100).all()
    assert written.min() == 35 and (written[0, 0] == 35).all()  # the box behind the letters
    assert letters.shape[1] <= width or letters.shape == lettering(text, SMALLEST).shape
    if width > 300:
        assert written.max() > 240  # white letters
