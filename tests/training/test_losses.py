"""Losses of each sample: against their formulas, in fp32, and in parts as in one."""

from __future__ import annotations

import pytest
import torch

from videomamba.training.losses import alignment_loss, classification_loss, regression_loss, supervised_loss


def test_cross_entropy_of_soft_targets() -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(6, 5), torch.rand(6, 5).softmax(1)
    expected = -(targets.double() * logits.double().log_softmax(1)).sum(1)
    torch.testing.assert_close(classification_loss(logits, targets), expected.float())


def test_cross_entropy_of_certain_targets_is_that_of_labels() -> None:
    logits, labels = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0]]), torch.tensor([0, 2])
    found = classification_loss(logits, torch.eye(3)[labels])
    torch.testing.assert_close(found, torch.nn.functional.cross_entropy(logits, labels, reduction="none"))


def test_squared_error() -> None:
    found = regression_loss(torch.tensor([[1.0], [2.0], [-1.0]]), torch.tensor([1.0, 0.0, 1.0]))
    assert found.tolist() == [0.0, 4.0, 4.0]


def test_results_are_fp32_whatever_the_network_gives() -> None:
    logits = torch.tensor([[8.0, 0.0]], dtype=torch.bfloat16)
    loss = classification_loss(logits, torch.tensor([[1.0, 0.0]]))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(3.354e-4, rel=1e-3)  # bf16 would give 0
    error = regression_loss(torch.tensor([[1.0]], dtype=torch.bfloat16), torch.tensor([1.001]))
    assert error.dtype == torch.float32 and error.item() == pytest.approx(1e-6, rel=1e-3)


@pytest.mark.parametrize("loss", [classification_loss, regression_loss])
def test_unequal_parts_add_up_to_the_whole(loss) -> None:
    torch.manual_seed(0)
    if loss is classification_loss:
        outputs, targets = torch.randn(7, 4, requires_grad=True), torch.rand(7, 4).softmax(1)
    else:
        outputs, targets = torch.randn(7, 1, requires_grad=True), torch.randn(7)
    whole = loss(outputs, targets).mean()
    (expected,) = torch.autograd.grad(whole, outputs)
    parts = [loss(outputs[part], targets[part]).sum() / 7 for part in (slice(0, 2), slice(2, 2), slice(2, 7))]
    assert sum(parts).item() == pytest.approx(whole.item(), rel=1e-6)
    (found,) = torch.autograd.grad(sum(parts), outputs)
    torch.testing.assert_close(found, expected)


def test_shapes_that_would_broadcast_are_refused() -> None:
    with pytest.raises(ValueError, match=r"outputs must be \(n, 1\), targets \(n,\); got \(3,\) and \(3,\)"):
        regression_loss(torch.zeros(3), torch.zeros(3))
    with pytest.raises(ValueError, match="got"):
        regression_loss(torch.zeros(3, 1), torch.zeros(3, 1))
    with pytest.raises(ValueError, match=r"both must be \(n, classes\); got \(3, 2\) and \(3,\)"):
        classification_loss(torch.zeros(3, 2), torch.zeros(3))


def test_alignment_is_the_squared_distance_of_directions() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 3, 5, 7), torch.randn(2, 3, 5, 7)
    unit = [x.double() / x.double().norm(dim=-1, keepdim=True) for x in (student, teacher)]
    expected = (unit[0] - unit[1]).square().sum(dim=-1).mean(dim=(0, 2)).float()
    for scale in (1, 100):
        torch.testing.assert_close(alignment_loss(student * scale, teacher / scale), expected)
    torch.testing.assert_close(
        alignment_loss(student[0], teacher[0]) + alignment_loss(student[1], teacher[1]), 2 * expected
    )
    torch.testing.assert_close(alignment_loss(student, 3 * student), torch.zeros(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(alignment_loss(student, -student), torch.full((3,), 4.0))
    assert alignment_loss(student[:, :0], teacher[:, :0]).shape == (0,)
    rounded = alignment_loss(student.bfloat16(), teacher.bfloat16())
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, expected, atol=1e-2, rtol=0)


def test_distances_of_unit_vectors_by_hand() -> None:
    """(3, 4) and (-4, 3) become (0.6, 0.8) and (-0.8, 0.6): differences 1.4 and 0.2; the second token is equal."""
    student = torch.tensor([[[3.0, 4.0], [1.0, 0.0]]])
    teacher = torch.tensor([[[-4.0, 3.0], [2.0, 0.0]]])
    for distance, one in (("l2", 2.0), ("mse", (1.96 + 0.04) / 2), ("smooth_l1", (1.4 - 0.5 + 0.02) / 2)):
        found = alignment_loss(student, teacher, distance)  # type: ignore[arg-type]
        assert found.tolist() == pytest.approx([one / 2])  # the mean over two tokens
        layers = alignment_loss(
            torch.stack((student, teacher)),
            torch.stack((teacher, teacher)),
            distance,  # type: ignore[arg-type]
        )
        assert layers.tolist() == pytest.approx([one / 4])  # and two layers, of which one is equal


def test_alignment_of_other_shapes_is_refused() -> None:
    for student, teacher in (((3, 5, 7), (3, 4, 7)), ((1, 3, 5, 7), (3, 5, 7)), ((5, 7), (5, 7))):
        with pytest.raises(ValueError, match=r"both must be \(n, l, c\) or \(k, n, l, c\); got "):
            alignment_loss(torch.zeros(student), torch.zeros(teacher))


def test_the_targets_choose_the_supervised_loss() -> None:
    outputs, labels, values = torch.randn(4, 1), torch.ones(4, 1), torch.randn(4)
    assert torch.equal(supervised_loss(outputs, labels), classification_loss(outputs, labels))
    assert torch.equal(supervised_loss(outputs, values), regression_loss(outputs, values))
