"""Mixup, cutmix and smoothing: who meets whom, and that the targets say what is in the picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from videomamba.data.augment.mixing import cut_box, mix, partners
from videomamba.data.settings import Augmentation

MIXUP, CUTMIX = Augmentation(mixup=0.8), Augmentation(cutmix=1.0)


def batch(n: int) -> Tensor:
    """Clip i is filled with i, so that a mixed clip tells what it is made of."""
    return torch.arange(n, dtype=torch.float32).view(n, 1, 1, 1, 1).expand(-1, 3, 2, 16, 20).contiguous()


def mixed(augmentation: Augmentation, labels: list[int], *, repeats: int = 1, seed: int = 0) -> tuple[Tensor, Tensor]:
    return mix(
        batch(len(labels)),
        torch.tensor(labels),
        num_classes=10,
        repeats=repeats,
        augmentation=augmentation,
        generator=np.random.default_rng(seed),
    )


class TestPartners:
    @pytest.mark.parametrize(
        ("n", "repeats", "expected"),
        [
            (2, 1, [1, 0]),
            (4, 1, [1, 0, 3, 2]),
            (5, 1, [1, 0, 3, 4, 2]),
            (3, 1, [1, 2, 0]),
            (1, 1, [0]),
            (2, 2, [1, 0]),  # a single video: its own other copy
            (3, 3, [1, 2, 0]),
            (4, 2, [2, 3, 0, 1]),
            (6, 2, [2, 3, 4, 5, 0, 1]),
            (0, 2, []),
        ],
    )
    def test_who_meets_whom(self, n: int, repeats: int, expected: list[int]) -> None:
        assert partners(n, repeats).tolist() == expected

    @given(st.integers(2, 40), st.integers(1, 4))
    def test_each_once_and_never_its_own_video(self, videos: int, repeats: int) -> None:
        other = partners(videos * repeats, repeats)
        assert sorted(other.tolist()) == list(range(videos * repeats))
        clips = torch.arange(videos * repeats)
        assert (other // repeats != clips // repeats).all()
        assert (other % repeats == clips % repeats).all()

    def test_a_split_batch_keeps_its_pairs(self) -> None:
        whole = partners(16, 2)
        assert torch.equal(whole[:8], partners(8, 2)) and torch.equal(whole[8:] - 8, partners(8, 2))

    @pytest.mark.parametrize(("n", "repeats"), [(5, 2), (2, 0)])
    def test_misuse(self, n: int, repeats: int) -> None:
        with pytest.raises(ValueError, match="not a multiple of"):
            partners(n, repeats)


class TestTargets:
    def test_all_off_is_one_hot(self) -> None:
        video, targets = mixed(Augmentation(), [3, 1, 4])
        assert torch.equal(video, batch(3))
        assert torch.equal(targets, torch.nn.functional.one_hot(torch.tensor([3, 1, 4]), 10).float())

    def test_smoothing(self) -> None:
        _, targets = mixed(Augmentation(label_smoothing=0.1), [3])
        expected = torch.full((10,), 0.01)
        expected[3] = 0.91
        torch.testing.assert_close(targets[0], expected)

    @pytest.mark.parametrize("augmentation", [MIXUP, CUTMIX])
    @pytest.mark.parametrize("smoothing", [0.0, 0.1])
    def test_share_in_the_target_is_the_share_in_the_picture(
        self, augmentation: Augmentation, smoothing: float
    ) -> None:
        labels, repeats = [7, 7, 2, 2, 5, 5], 2
        other = partners(6, 2)
        for seed in range(25):
            augmentation = augmentation.model_copy(update={"label_smoothing": smoothing})
            video, targets = mixed(augmentation, labels, repeats=repeats, seed=seed)
            assert targets.dtype == torch.float32
            torch.testing.assert_close(targets.sum(1), torch.ones(6))
            shares = []
            for i, j in enumerate(other.tolist()):
                shares.append((float(video[i].mean()) - j) / (i - j))
                expected = torch.full((10,), smoothing / 10)
                expected[labels[i]] += (1 - smoothing) * shares[-1]
                expected[labels[j]] += (1 - smoothing) * (1 - shares[-1])
                torch.testing.assert_close(targets[i], expected, atol=1e-5, rtol=0)
            assert max(shares) - min(shares) < 1e-5  # one share for the batch

    def test_clips_with_one_label_keep_it(self) -> None:
        _, targets = mixed(MIXUP, [6, 6], repeats=2)
        assert targets[:, 6].tolist() == pytest.approx([1, 1])

    def test_cutmix_cuts_one_box_for_all(self) -> None:
        for seed in range(20):
            video, _ = mixed(CUTMIX, [0, 1, 2, 3], seed=seed)
            foreign = video != batch(4)
            assert torch.equal(foreign, foreign[:1, :1, :1].expand_as(foreign))
            shown = foreign[0, 0, 0]
            assert shown.sum() == shown.any(0).sum() * shown.any(1).sum()

    def test_the_given_clips_are_left_alone(self) -> None:
        for augmentation in (MIXUP, CUTMIX):
            video = batch(4)
            arguments = {"num_classes": 4, "repeats": 1, "augmentation": augmentation}
            mix(video, torch.arange(4), generator=np.random.default_rng(0), **arguments)
            assert torch.equal(video, batch(4))

    def test_parts_of_a_batch_mix_as_the_whole(self) -> None:
        both = Augmentation(mixup=0.8, cutmix=1.0, label_smoothing=0.1)
        for seed in range(10):
            arguments = {"num_classes": 9, "repeats": 2, "augmentation": both}
            labels = torch.arange(8) // 2
            whole = mix(batch(8), labels, generator=np.random.default_rng(seed), **arguments)
            for part in (slice(0, 4), slice(4, 8)):
                mine = mix(batch(8)[part], labels[part], generator=np.random.default_rng(seed), **arguments)
                assert torch.equal(mine[0], whole[0][part]) and torch.equal(mine[1], whole[1][part])

    def test_wrong_number_of_labels(self) -> None:
        arguments = {"num_classes": 9, "repeats": 1, "augmentation": MIXUP}
        with pytest.raises(ValueError, match=r"labels must be \(4,\)"):
            mix(batch(4), torch.arange(3), generator=np.random.default_rng(0), **arguments)


class TestChoice:
    def frequency(self, augmentation: Augmentation) -> tuple[float, float]:
        """(share of mixup, share of cutmix) of 400 batches."""
        video = batch(2)
        kinds = []
        for seed in range(400):
            shown, targets = mixed(augmentation, [0, 1], seed=seed)
            levels = set(shown.unique().tolist())
            unmixed = torch.equal(shown, video)
            kinds.append("none" if unmixed else "cutmix" if levels == {0.0, 1.0} else "mixup")
            if unmixed:
                assert targets[0, 0] == 1
        return kinds.count("mixup") / 400, kinds.count("cutmix") / 400

    def test_switch_and_probability(self) -> None:
        both = Augmentation(mixup=0.8, cutmix=1.0, mix_switch=0.3)
        mixup, cutmix = self.frequency(both)
        assert 0.6 < mixup < 0.8 and 0.2 < cutmix < 0.4
        mixup, cutmix = self.frequency(both.model_copy(update={"mix_probability": 0.5}))
        assert 0.4 < mixup + cutmix < 0.6
        assert self.frequency(MIXUP)[1] == 0 and self.frequency(CUTMIX)[0] == 0

    def test_the_share_is_of_its_distribution(self) -> None:
        """Beta(alpha, alpha): mean 1/2, variance 1 / (4 (2 alpha + 1))."""
        shares = np.array([float(mixed(MIXUP, [0, 1], seed=seed)[1][0, 0]) for seed in range(800)])
        assert shares.mean() == pytest.approx(0.5, abs=0.04)
        assert shares.var() == pytest.approx(1 / (4 * 2.6), rel=0.15)


@given(st.integers(1, 300), st.integers(1, 300), st.floats(0, 1), st.integers(0, 99))
def test_the_cut_is_inside_and_never_larger_than_asked(height: int, width: int, share: float, seed: int) -> None:
    box = cut_box((height, width), share, np.random.default_rng(seed))
    assert box.top >= 0 and box.left >= 0 and box.top + box.height <= height and box.left + box.width <= width
    assert box.height * box.width <= (1 - share) * height * width + 1e-6
