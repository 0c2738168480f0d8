"""Scores: one row a record, the same whatever is in the other batches and on however many processes."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from videomamba.evaluation.scoring import VIEWS_AT_ONCE, Scores, merge_views, score_records
from videomamba.schema import Views

CPU = torch.device("cpu")


@dataclass
class Block:
    video: Tensor
    records: tuple[int, ...]
    failures: tuple[tuple[int, str], ...] = ()


def clips(number: int, seed: int = 0) -> Tensor:
    return torch.randn(number, 3, 2, 4, 4, generator=torch.Generator().manual_seed(seed))


def network(video: Tensor) -> Tensor:
    """The mean of each colour, three outputs, of definite opinions."""
    assert 1 <= len(video) <= VIEWS_AT_ONCE
    return 10 * video.mean(dim=(2, 3, 4))


@pytest.mark.parametrize("views", [Views(), Views(2, 3), Views(5, 4)], ids=str)
def test_views_are_merged_by_record(views: Views) -> None:
    blocks = [
        Block(clips(2 * len(views), 0), (0, 2), ((1, "is broken"),)),
        Block(clips(0), (), ((3, "is gone"),)),
        Block(clips(len(views), 1), (4,)),
    ]
    found = score_records(network, blocks, views=views, outputs=3, device=CPU)
    assert found.records == (0, 2, 4) and found.failures == ((1, "is broken"), (3, "is gone"))
    every = torch.cat([block.video for block in blocks])
    expected = [merge_views(10 * part.mean(dim=(2, 3, 4))) for part in every.split(len(views))]
    assert torch.allclose(found.scores, torch.stack(expected), atol=1e-6)
    assert torch.allclose(found.scores.sum(dim=1), torch.ones(3))


def test_a_number_is_the_mean_of_the_outputs() -> None:
    block = Block(clips(6), (5, 6))
    found = score_records(
        lambda video: network(video)[:, :1], [block], views=Views(1, 3), outputs=1, device=CPU, regression=True
    )
    expected = (10 * block.video[:, 0].mean(dim=(1, 2, 3))).view(2, 3).mean(dim=1, keepdim=True)
    assert torch.allclose(found.scores, expected, atol=1e-6)


def test_nothing_readable_gives_no_scores() -> None:
    failures = ((0, "is broken"), (1, "is broken"))
    found = score_records(network, [Block(clips(0), (), failures)], views=Views(), outputs=3, device=CPU)
    assert found.records == () and found.scores.shape == (0, 3) and found.failures == failures
    assert score_records(network, [], views=Views(), outputs=3, device=CPU).scores.shape == (0, 3)


def test_blocks_of_several_processes_give_the_scores_of_one() -> None:
    blocks = [Block(clips(3, i), (3 * i, 3 * i + 1, 3 * i + 2)) for i in range(5)]
    alone = score_records(network, blocks, views=Views(), outputs=3, device=CPU)
    parts = [score_records(network, blocks[rank::2], views=Views(), outputs=3, device=CPU) for rank in range(2)]
    joined = Scores.joined(parts)
    order = [joined.records.index(record) for record in alone.records]
    assert torch.equal(joined.scores[order], alone.scores) and sorted(joined.records) == list(range(15))


def test_no_gradient_is_kept_and_the_answers_are_fp32_on_the_cpu() -> None:
    layer = torch.nn.Linear(3, 3).to(torch.bfloat16)
    found = score_records(
        lambda video: layer(video.mean(dim=(2, 3, 4)).to(torch.bfloat16)),
        [Block(clips(2), (0, 1))],
        views=Views(),
        outputs=3,
        device=CPU,
    )
    assert found.scores.dtype == torch.float32 and not found.scores.requires_grad


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
