"""The operations of RandAugment against Pillow, picture by picture."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from videomamba.data.augment import ops, warp

FILL = (128, 7, 250)
Oracle = Callable[[Image.Image], Image.Image]


def noise(t: int, h: int, w: int, *, low: int = 0, high: int = 256) -> Tensor:
    return torch.from_numpy(np.random.default_rng(t + h + w).integers(low, high, (t, h, w, 3)).astype(np.uint8))


def smooth(t: int, h: int, w: int) -> Tensor:
    place = torch.linspace(0, 9, t * h * w * 3).view(t, h, w, 3)
    waves = torch.sin(place * 7) + torch.cos(place.transpose(1, 2).reshape(t, h, w, 3) * 3)
    return (waves * 55 + 110).to(torch.uint8)


CLIPS = {
    "noise": noise(3, 33, 47),
    "narrow range": noise(2, 31, 40, low=90, high=120),
    "waves": smooth(2, 64, 48),
    "one level": torch.full((2, 9, 8, 3), 77, dtype=torch.uint8),
    "two levels": (noise(2, 40, 30) > 200).to(torch.uint8) * 255,
    "one pixel": noise(1, 1, 1),
    "two rows": noise(2, 2, 9),
    "one column": noise(1, 7, 1),
}


def by_pillow(pictures: Tensor, oracle: Oracle) -> Tensor:
    return torch.stack([torch.from_numpy(np.array(oracle(Image.fromarray(p.numpy())))) for p in pictures])


def affine(*coefficients: float) -> Oracle:
    def transformed(image: Image.Image) -> Image.Image:
        method = Image.Transform.AFFINE
        return image.transform(image.size, method, coefficients, Image.Resampling.BICUBIC, fillcolor=FILL)

    return transformed


def enhanced(kind: Callable[[Image.Image], ImageEnhance._Enhance], factor: float) -> Oracle:
    return lambda image: kind(image).enhance(factor)


EXACT: dict[str, tuple[Callable[[Tensor], Tensor], Oracle]] = {
    "auto_contrast": (ops.auto_contrast, ImageOps.autocontrast),
    "equalize": (ops.equalize, ImageOps.equalize),
    "invert": (ops.invert, ImageOps.invert),
}
for bits in (1, 2, 3, 4):
    EXACT[f"posterize {bits}"] = lambda p, b=bits: ops.posterize(p, b), lambda i, b=bits: ImageOps.posterize(i, b)
for threshold in (0, 1, 77, 128, 256):
    EXACT[f"solarize {threshold}"] = (
        lambda p, n=threshold: ops.solarize(p, n),
        lambda i, n=threshold: ImageOps.solarize(i, n),
    )
for factor in (0.1, 0.73, 1.0, 1.31, 1.9):
    for change, kind in (
        (ops.color, ImageEnhance.Color),
        (ops.contrast, ImageEnhance.Contrast),
        (ops.brightness, ImageEnhance.Brightness),
        (ops.sharpness, ImageEnhance.Sharpness),
    ):
        EXACT[f"{change.__name__} {factor}"] = lambda p, c=change, f=factor: c(p, f), enhanced(kind, factor)


@pytest.mark.parametrize("name", EXACT)
def test_tones_are_pillows(name: str) -> None:
    change, oracle = EXACT[name]
    for kind, pictures in CLIPS.items():
        before = pictures.clone()
        changed = change(pictures)
        assert changed.dtype == torch.uint8 and changed.is_contiguous(), kind
        assert torch.equal(changed, by_pillow(pictures, oracle)), kind
        assert torch.equal(pictures, before), kind


def test_posterize_to_nothing_is_black() -> None:
    """As in the Pillow that the published weights were trained with; newer ones refuse it."""
    assert not ops.posterize(CLIPS["noise"], 0).any()


def test_solarize_add() -> None:
    """Pillow has no such operation: levels below 128 are raised, at most to 255."""
    levels = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1).expand(-1, -1, -1, 3).contiguous()
    for added in (0, 55, 110, 200):
        expected = [min(level + added, 255) if level < 128 else level for level in range(256)]
        assert ops.solarize_add(levels, added)[0, :, :, 1].flatten().tolist() == expected


@pytest.mark.parametrize("kind", CLIPS)
@pytest.mark.parametrize("amount", [-0.31, -0.07, 0.0, 0.001, 0.21])
def test_geometry_is_pillows_to_one_level(kind: str, amount: float) -> None:
    """One level, because Pillow truncates a float64 sum and this a float32 one, where it is a whole number but for rounding."""
    pictures = CLIPS[kind]
    _, h, w, _ = pictures.shape
    before = pictures.clone()
    bicubic = Image.Resampling.BICUBIC
    for changed, oracle in (
        (warp.rotate(pictures, 100 * amount, FILL), lambda i: i.rotate(100 * amount, bicubic, fillcolor=FILL)),
        (warp.shear_x(pictures, amount, FILL), affine(1, amount, 0, 0, 1, 0)),
        (warp.shear_y(pictures, amount, FILL), affine(1, 0, 0, amount, 1, 0)),
        (warp.translate_x(pictures, amount, FILL), affine(1, 0, amount * w, 0, 1, 0)),
        (warp.translate_y(pictures, amount, FILL), affine(1, 0, 0, 0, 1, amount * h)),
    ):
        difference = (changed.int() - by_pillow(pictures, oracle).int()).abs()
        assert difference.max() <= 1
        assert changed.numel() < 1000 or (difference > 0).float().mean() < 0.05
        assert changed.is_contiguous() and torch.equal(pictures, before)


def test_directions() -> None:
    pictures = torch.zeros(1, 21, 21, 3, dtype=torch.uint8)
    pictures[0, 10, 15] = 255  # to the right of the centre

    def bright(changed: Tensor) -> list[int]:
        return torch.nonzero(changed[0, :, :, 0] > 128)[0].tolist()

    assert bright(warp.rotate(pictures, 90, (0, 0, 0))) == [5, 10]
    assert bright(warp.translate_x(pictures, 2 / 21, (0, 0, 0))) == [10, 13]
    assert bright(warp.translate_y(pictures, -2 / 21, (0, 0, 0))) == [12, 15]


def test_large_pictures_are_done_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = noise(7, 20, 30)
    whole = warp.rotate(pictures, 13, FILL)
    monkeypatch.setattr(warp, "_PIXELS", 2 * 20 * 30)
    monkeypatch.setattr(warp, "_PIXELS_OF_BAND", 100)
    assert torch.equal(warp.rotate(pictures, 13, FILL), whole)
    monkeypatch.setattr(warp, "_PIXELS", 1)
    assert torch.equal(warp.rotate(pictures, 13, FILL), whole)


def test_flat_pictures_stay_flat() -> None:
    for level in (0, 1, 100, 127, 254, 255):
        pictures = torch.full((1, 30, 40, 3), level, dtype=torch.uint8)
        for changed in (warp.rotate(pictures, 11, (level,) * 3), warp.shear_x(pictures, 0.17, (level,) * 3)):
            assert torch.equal(changed, pictures)
