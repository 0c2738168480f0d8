"""Crops, symmetries, erasing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from videomamba.data.augment.spatial import allowed_turns, area_box, crop, erase, scale_box
from videomamba.data.clips.transforms import cover_size, normalise, resize, to_clip
from videomamba.data.settings import Augmentation
from videomamba.schema import Frames, Preprocess, Symmetries, VideoMambaError

sides = st.integers(1, 400)


def make(t: int, h: int, w: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (t, h, w, 3)).astype(np.uint8))


class TestArea:
    @given(sides, sides, st.integers(0, 1000))
    def test_inside(self, height: int, width: int, seed: int) -> None:
        box = area_box((height, width), (0.08, 1.0), (0.75, 4 / 3), np.random.default_rng(seed))
        assert box.top >= 0 and box.left >= 0 and min(box.height, box.width) >= 1
        assert box.top + box.height <= height and box.left + box.width <= width

    def test_distribution(self) -> None:
        """Area evenly, log aspect evenly; a tenth of the range on either side is reached; any place is."""
        generator = np.random.default_rng(0)
        boxes = [area_box((1000, 1000), (0.1, 0.5), (0.5, 2.0), generator) for _ in range(3000)]
        area = np.array([b.height * b.width / 1e6 for b in boxes])
        aspect = np.log2([b.width / b.height for b in boxes])
        for drawn, low, high in ((area, 0.1, 0.5), (aspect, -1.0, 1.0)):
            histogram, _ = np.histogram(drawn, 8, (low, high))
            assert drawn.min() > low - 0.01 and drawn.max() < high + 0.01
            assert histogram.min() > 3000 / 8 * 0.75 and histogram.max() < 3000 / 8 * 1.25
        assert min(b.top for b in boxes) < 10 and max(b.top + b.height for b in boxes) > 990

    def test_what_never_fits_is_the_clamped_centre(self) -> None:
        generator = np.random.default_rng(0)
        assert area_box((100, 1000), (1.0, 1.0), (0.75, 4 / 3), generator) == (0, 433, 100, 133)
        assert area_box((1000, 90), (1.0, 1.0), (0.75, 4 / 3), generator) == (440, 0, 120, 90)
        assert area_box((90, 100), (0.999, 1.0), (1.0, 1.0), generator) == (0, 5, 90, 90)

    @pytest.mark.parametrize("antialias", [True, False])
    def test_crop_is_the_resized_box(self, antialias: bool) -> None:
        pictures, preprocess = make(3, 90, 120), Preprocess(image_size=(32, 48), antialias=antialias)
        augmentation = Augmentation(crop_area=(0.2, 0.6))
        shown = crop(pictures, preprocess, augmentation, np.random.default_rng(5))
        box = area_box((90, 120), (0.2, 0.6), augmentation.crop_aspect, np.random.default_rng(5))
        part = pictures[:, box.top : box.top + box.height, box.left : box.left + box.width]
        expected = resize(part.contiguous().permute(0, 3, 1, 2), (32, 48), preprocess)
        assert shown.shape == (3, 32, 48, 3) and shown.is_contiguous()
        assert torch.equal(shown, expected.permute(0, 2, 3, 1))


class TestShift:
    def test_every_place_of_the_covering_size(self) -> None:
        pictures, preprocess = make(2, 64, 96), Preprocess(image_size=(28, 28), crop_ratio=0.875)
        height, width = cover_size((64, 96), preprocess)
        assert (height, width) == (32, 48)
        covering = resize(pictures.permute(0, 3, 1, 2), (height, width), preprocess).permute(0, 2, 3, 1)
        windows = {
            covering[:, top : top + 28, left : left + 28].contiguous().numpy().tobytes(): (top, left)
            for top in range(5)
            for left in range(21)
        }
        generator = np.random.default_rng(0)
        shown = [crop(pictures, preprocess, Augmentation(crop="shift"), generator) for _ in range(1500)]
        assert {windows[s.numpy().tobytes()] for s in shown} == set(windows.values())


class TestCentre:
    @pytest.mark.parametrize("size", [(28, 28), (40, 28), (20, 60)])
    def test_it_is_the_crop_of_testing_and_draws_nothing(self, size: tuple[int, int]) -> None:
        pictures, preprocess = make(2, 64, 97), Preprocess(num_frames=2, image_size=size, crop_ratio=0.875)
        generator = np.random.default_rng(0)
        shown = crop(pictures, preprocess, Augmentation(crop="centre"), generator)
        expected = to_clip(Frames(pictures, (0, 1), (0.0, 1.0)), preprocess).data
        assert torch.equal(normalise(shown.permute(0, 3, 1, 2), preprocess), expected) and shown.is_contiguous()
        assert generator.random() == np.random.default_rng(0).random()


class TestMultiscale:
    def boxes(self, size: tuple[int, int], target: tuple[int, int]) -> set[tuple[int, int, int, int]]:
        generator = np.random.default_rng(0)
        return {tuple(scale_box(size, target, generator)) for _ in range(3000)}

    @pytest.mark.parametrize(("width", "sides"), [(340, (256, 224, 192, 168)), (300, (256, 224, 192, 168))])
    def test_sizes_and_places(self, width: int, sides: tuple[int, ...]) -> None:
        """All of the ten sizes at all of the thirteen places, and nothing else."""
        expected = set()
        for i, height in enumerate(sides):
            for side in sides[max(i - 1, 0) : i + 2]:
                y, x = (256 - height) // 4, (width - side) // 4
                for down, right in [(0, 0), (0, 4), (4, 0), (4, 4), (2, 2), (2, 0), (2, 4), (0, 2), (4, 2)]:
                    expected.add((down * y, right * x, height, side))
                expected |= {(down * y, right * x, height, side) for down in (1, 3) for right in (1, 3)}
        assert self.boxes((256, width), (224, 224)) == expected
        assert self.boxes((width, 256), (224, 224)) == {(x, y, w, h) for y, x, h, w in expected}

    def test_each_as_often(self) -> None:
        generator, counts = np.random.default_rng(0), dict[tuple[int, ...], int]()
        for _ in range(13000):
            box = tuple(scale_box((256, 340), (224, 224), generator))
            counts[box] = counts.get(box, 0) + 1
        both = [count for box, count in counts.items() if box[2] < 256]  # of 256 rows several places are one
        assert len(both) == 8 * 13 and sum((count - 100) ** 2 / 100 for count in both) < 104 + 4 * np.sqrt(208)

    @pytest.mark.parametrize(
        ("short", "target", "largest"),
        [(224, 224, 224), (226, 224, 224), (227, 224, 227), (222, 224, 222), (223, 224, 223), (256, 222, 256)],
    )
    def test_nearly_the_target_is_the_target(self, short: int, target: int, largest: int) -> None:
        boxes = self.boxes((short, 400), (target, target))
        heights, widths = {box[2] for box in boxes}, {box[3] for box in boxes}
        assert max(heights) == largest
        assert max(widths) == (target if abs(short - target) <= 2 else short)  # there is room in the width
        assert (222 in heights) == (target == 222 or short == 222)

    @given(sides, sides, sides, sides, st.integers(0, 1000))
    def test_inside_and_of_the_aspect(self, height: int, width: int, rows: int, columns: int, seed: int) -> None:
        box = scale_box((height, width), (rows, columns), np.random.default_rng(seed))
        assert box.top >= 0 and box.left >= 0 and min(box.height, box.width) >= 1
        assert box.top + box.height <= height and box.left + box.width <= width

    def test_another_aspect(self) -> None:
        """The largest box has the aspect of the target, and the sides are scaled by steps that differ by one at most."""
        boxes = self.boxes((300, 500), (100, 200))
        assert {box[2:] for box in boxes} == {
            (height, width)
            for i, height in enumerate((250, 218, 187, 165))
            for j, width in enumerate((500, 437, 375, 330))
            if abs(i - j) <= 1
        }

    def test_crop_is_the_resized_box(self) -> None:
        pictures, preprocess = make(3, 90, 120), Preprocess(image_size=(32, 48))
        shown = crop(pictures, preprocess, Augmentation(crop="multiscale"), np.random.default_rng(5))
        box = scale_box((90, 120), (32, 48), np.random.default_rng(5))
        part = pictures[:, box.top : box.top + box.height, box.left : box.left + box.width]
        expected = resize(part.contiguous().permute(0, 3, 1, 2), (32, 48), preprocess)
        assert torch.equal(shown, expected.permute(0, 2, 3, 1)) and shown.is_contiguous()


class TestTurns:
    def test_auto_follows_the_data(self) -> None:
        assert allowed_turns(Augmentation(), Symmetries()) == ()
        (turn,) = allowed_turns(Augmentation(), Symmetries(mirror=(1, 0), backwards=(0, 1)))
        assert (turn.dimension, turn.labels) == (2, (1, 0))
        assert allowed_turns(Augmentation(flip="off"), Symmetries(mirror=(0,))) == ()

    @pytest.mark.parametrize(
        ("augmentation", "name"),
        [
            (Augmentation(flip="on"), "augment.flip on"),
            (Augmentation(flip_vertical=True), "augment.flip_vertical"),
            (Augmentation(reverse=True), "augment.reverse"),
        ],
    )
    def test_what_the_data_does_not_allow(self, augmentation: Augmentation, name: str) -> None:
        with pytest.raises(VideoMambaError, match=name):
            allowed_turns(augmentation, Symmetries())

    def test_all(self) -> None:
        everything = Symmetries(mirror=(0,), upside_down=(0,), backwards=(0,))
        turns = allowed_turns(Augmentation(flip="on", flip_vertical=True, reverse=True), everything)
        assert sorted(turn.dimension for turn in turns) == [0, 1, 2]


class TestErase:
    def test_one_box_of_fresh_noise(self) -> None:
        for seed in range(30):
            clip = torch.full((3, 5, 40, 60), 9.0)
            erase(clip, np.random.default_rng(seed))
            erased = clip != 9
            rows, columns = (torch.nonzero(erased[0, 0].any(d)).flatten() for d in (1, 0))
            height, width = len(rows), len(columns)
            assert erased.sum() == 3 * 5 * height * width  # one box, the same in all pictures and channels
            assert erased[:, :, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
            assert 0.015 < height * width / 2400 < 0.36 and 0.25 < height / width < 4
            noise = clip[erased].view(3, 5, -1)
            assert not torch.equal(noise[0, 0], noise[0, 1]) and not torch.equal(noise[0, 0], noise[1, 0])
            assert abs(float(noise.mean())) < 0.3 and 0.8 < float(noise.std()) < 1.2

    def test_too_small(self) -> None:
        clip = torch.full((3, 2, 1, 1), 9.0)
        erase(clip, np.random.default_rng(0))
        assert (clip == 9).all()
