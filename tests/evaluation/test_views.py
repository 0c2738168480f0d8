"""Views of a test and the one answer from all of them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from videomamba.evaluation.scoring import merge_views
from videomamba.schema import VideoMambaError, Views


class TestViews:
    @given(st.integers(1, 99), st.integers(1, 9))
    def test_round_trip(self, clips: int, crops: int) -> None:
        views = Views.parse(str(Views(clips, crops)))
        assert (views.clips, views.crops, len(views)) == (clips, crops, clips * crops)

    @pytest.mark.parametrize("text", [" 4x3", "4 x 3", "4X3"])
    def test_lenient(self, text: str) -> None:
        assert Views.parse(text) == Views(clips=4, crops=3)

    @pytest.mark.parametrize("text", ["", "4", "4x", "x3", "0x3", "4x0", "-1x3", "4x3x2", "4,3", "four x three", "٤x3"])
    def test_unclear(self, text: str) -> None:
        with pytest.raises(
            VideoMambaError, match="write clips x crops as two whole numbers, for example 4x3"
        ) as caught:
            Views.parse(text)
        assert repr(text) in str(caught.value)

    def test_at_least_one(self) -> None:
        with pytest.raises(ValueError, match="at least 1"):
            Views(0, 3)


class TestMerge:
    def test_mean_of_probabilities(self) -> None:
        logits = torch.tensor([[9.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 2.0, 0.0]])
        merged = merge_views(logits)
        torch.testing.assert_close(merged, torch.stack([row.softmax(0) for row in logits]).mean(0))
        # Not a softmax of the mean of the logits, which the one sure view would win.
        assert merged.argmax() == 1
        assert logits.mean(0).argmax() == 0

    def test_one_view(self) -> None:
        torch.testing.assert_close(merge_views(torch.tensor([[1.0, 3.0]])), torch.tensor([1.0, 3.0]).softmax(0))

    def test_half_precision_is_merged_in_single(self) -> None:
        logits = torch.randn(12, 400, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
        merged = merge_views(logits)
        assert merged.dtype == torch.float32
        torch.testing.assert_close(merged, logits.float().softmax(1).mean(0))
        torch.testing.assert_close(merged.sum(), torch.tensor(1.0))

    @pytest.mark.parametrize("shape", [(3,), (0, 3), (2, 3, 4)])
    def test_misuse(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match="views, classes"):
            merge_views(torch.zeros(shape))
