"""Resize, crop, normalise: the geometry by its own check values, the pixels against the formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from videomamba.data.clips.transforms import Covering, cover_size, crop_clip, crop_offset, to_clip
from videomamba.schema import IMAGENET_MEAN, IMAGENET_STD, Frames, Preprocess

sides = st.integers(8, 300)


def make(*shape: int, seed: int = 0) -> Frames:
    data = np.random.default_rng(seed).integers(0, 256, (*shape, 3)).astype(np.uint8)
    return Frames(torch.from_numpy(data), tuple(range(shape[0])), (0.0,) * shape[0], "clip.mp4")


def bilinear(picture: NDArray[np.uint8], height: int, width: int) -> NDArray[np.float64]:
    """OpenCV's bilinear rule: output pixel i looks at (i + 1/2) scale - 1/2, edges repeat."""

    def taps(size: int, target: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        where = np.maximum((np.arange(target) + 0.5) * size / target - 0.5, 0)
        low = np.minimum(where.astype(np.int64), size - 1)
        return low, np.minimum(low + 1, size - 1), where - low

    y0, y1, dy = taps(picture.shape[0], height)
    x0, x1, dx = taps(picture.shape[1], width)
    rows = picture[y0] * (1 - dy)[:, None, None] + picture[y1] * dy[:, None, None]
    return rows[:, x0] * (1 - dx)[None, :, None] + rows[:, x1] * dx[None, :, None]


class TestGeometry:
    @pytest.mark.parametrize(
        ("size", "image", "ratio", "expected"),
        [
            ((240, 320), 224, 1.0, (224, 298)),  # int(224 * 320 / 240)
            ((320, 240), 224, 1.0, (298, 224)),
            ((256, 340), 224, 1.0, (224, 297)),
            ((224, 500), 224, 1.0, (224, 500)),
            ((100, 100), 224, 0.875, (256, 256)),
            ((375, 500), 448, 0.875, (512, 682)),
            ((375, 500), 576, 0.875, (658, 877)),
        ],
    )
    def test_square(self, size: tuple[int, int], image: int, ratio: float, expected: tuple[int, int]) -> None:
        assert cover_size(size, Preprocess(image_size=(image, image), crop_ratio=ratio)) == expected

    @given(sides, sides, sides, sides)
    def test_any_target_is_just_covered(self, height: int, width: int, rows: int, columns: int) -> None:
        covered = cover_size((height, width), Preprocess(image_size=(rows, columns)))
        assert covered[0] >= rows
        assert covered[1] >= columns
        assert covered[0] == rows or covered[1] == columns

    @given(sides, sides)
    def test_stretched_to_the_target(self, height: int, width: int) -> None:
        stretching = Preprocess(image_size=(224, 192), crop_ratio=0.5, resize="stretch")
        assert cover_size((height, width), stretching) == (448, 384)

    def test_centre(self) -> None:
        assert crop_offset((0, 73), 0, 1) == (0, 36)  # 36.5, to even
        assert crop_offset((75, 0), 0, 1) == (38, 0)  # 37.5, to even
        assert crop_offset((32, 32), 0, 1) == (16, 16)

    def test_spread(self) -> None:
        assert [crop_offset((0, 73), crop, 3) for crop in range(3)] == [(0, 0), (0, 36), (0, 73)]
        assert [crop_offset((75, 0), crop, 3) for crop in range(3)] == [(0, 0), (37, 0), (75, 0)]
        assert [crop_offset((32, 100), crop, 2) for crop in range(2)] == [(16, 0), (16, 100)]
        assert [crop_offset((0, 0), crop, 3) for crop in range(3)] == [(0, 0)] * 3


class TestPixels:
    @pytest.mark.parametrize("antialias", [True, False])
    def test_no_resize_changes_nothing(self, antialias: bool) -> None:
        frames = make(3, 32, 41)
        clip = to_clip(frames, Preprocess(image_size=(32, 32), antialias=antialias), crop=1, num_crops=3)
        expected = frames.data[:, :, 4:36].float() / 255
        expected = (expected - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)
        torch.testing.assert_close(clip.data, expected.permute(3, 0, 1, 2), atol=2e-6, rtol=0)

    @pytest.mark.parametrize("size", [(48, 64), (120, 90), (33, 200), (240, 320)])
    def test_without_antialias_is_opencv_bilinear(self, size: tuple[int, int]) -> None:
        frames = make(2, *size)
        preprocess = Preprocess(image_size=(56, 56), antialias=False, mean=(0, 0, 0), std=(1 / 255,) * 3)
        height, width = cover_size(size, preprocess)
        top, left = crop_offset((height - 56, width - 56), 0, 1)
        shown = to_clip(frames, preprocess).data
        for t in range(2):
            exact = bilinear(frames.data[t].numpy(), height, width)[top : top + 56, left : left + 56]
            assert np.abs(shown[:, t].permute(1, 2, 0).numpy() - exact).max() < 0.51

    @pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
    def test_antialias_is_near_its_float_form(self, interpolation: str) -> None:
        smooth = torch.from_numpy(np.indices((120, 160)).sum(0) % 256).to(torch.uint8)
        frames = Frames(smooth[None, :, :, None].expand(2, -1, -1, 3).contiguous(), (0, 1), (0.0, 1.0))
        preprocess = Preprocess(image_size=(56, 56), interpolation=interpolation, mean=(0, 0, 0), std=(1 / 255,) * 3)
        shown = to_clip(frames, preprocess).data
        exact = torch.nn.functional.interpolate(
            frames.data.permute(0, 3, 1, 2).float(), (56, 74), mode=interpolation, antialias=True, align_corners=False
        ).clamp(0, 255)
        assert (shown - exact[..., 9:65].transpose(0, 1)).abs().max() <= 2

    def test_antialias_matters(self) -> None:
        frames = make(1, 300, 400)
        sharp, soft = (to_clip(frames, Preprocess(antialias=on, image_size=(32, 32))).data for on in (False, True))
        assert soft.std() < 0.5 * sharp.std()

    @pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
    def test_overshoot_is_clamped(self, interpolation: str) -> None:
        data = torch.zeros(1, 40, 40, 3, dtype=torch.uint8)
        data[:, :, 20:] = 255
        preprocess = Preprocess(image_size=(64, 64), antialias=False, interpolation=interpolation, mean=(0, 0, 0))
        shown = to_clip(Frames(data, (0,), (0.0,)), preprocess.model_copy(update={"std": (1.0,) * 3})).data
        assert (shown.min(), shown.max()) == (0, 1)


class TestClip:
    def test_form(self) -> None:
        clip = to_clip(make(4, 50, 80), Preprocess(image_size=(32, 48)))
        assert clip.data.shape == (3, 4, 32, 48)
        assert clip.data.dtype == torch.float32
        assert clip.data.is_contiguous()
        assert (clip.indices, clip.path) == ((0, 1, 2, 3), "clip.mp4")

    def test_frames_are_left_alone(self) -> None:
        frames = make(2, 32, 32)
        before = frames.data.clone()
        to_clip(frames, Preprocess(image_size=(32, 32)))
        assert torch.equal(frames.data, before)

    def test_crops_of_a_tall_picture(self) -> None:
        frames = make(1, 80, 32)
        preprocess = Preprocess(image_size=(32, 32), mean=(0, 0, 0), std=(1 / 255,) * 3)
        for crop, top in enumerate((0, 24, 48)):
            shown = to_clip(frames, preprocess, crop=crop, num_crops=3).data[:, 0].permute(1, 2, 0)
            assert torch.equal(shown.round().to(torch.uint8), frames.data[0, top : top + 32])

    def test_misuse(self) -> None:
        for crop, num_crops in ((1, 1), (-1, 3), (0, 0)):
            with pytest.raises(ValueError, match="count from 0"):
                to_clip(make(1, 32, 32), Preprocess(), crop=crop, num_crops=num_crops)
        with pytest.raises(ValueError, match="no frames"):
            to_clip(make(0, 32, 32), Preprocess())
        with pytest.raises(ValueError, match="32x40 are not scaled to cover 32x32"):
            crop_clip(Covering(make(1, 32, 40)), Preprocess(image_size=(32, 32), crop_ratio=0.5))


def test_a_stretched_clip_shows_the_complete_picture() -> None:
    """As the released video-text models are tested: bicubic without antialiasing, whatever the aspect."""
    frames = make(2, 40, 72)
    stretching = Preprocess(
        num_frames=2, image_size=(24, 24), resize="stretch", interpolation="bicubic", antialias=False
    )
    pictures = frames.data.permute(0, 3, 1, 2).float()
    expected = torch.nn.functional.interpolate(pictures, (24, 24), mode="bicubic", align_corners=False)
    expected = expected.round().clamp(0, 255) / 255
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    clip = to_clip(frames, stretching)
    torch.testing.assert_close(clip.data, ((expected - mean) / std).transpose(0, 1), atol=1e-5, rtol=0)
