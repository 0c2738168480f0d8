"""The student of masked pretraining: visible patches alone, decoded features, and the original's layout and mistakes."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import Tensor

from videomamba.models.config import VideoMambaConfig
from videomamba.models.init import undrawn
from videomamba.models.masked import MaskedVideoMamba, sinusoids
from videomamba.models.registry import build_config
from videomamba.models.videomamba import VideoMamba

ORDERS = ("spatial_first", "temporal_first", "spatiotemporal_v1", "spatiotemporal_v2")
GRID = (2, 2, 3)
PATCHES = math.prod(GRID)


def config(**options: object) -> VideoMambaConfig:
    fixed = {"depth": 3, "dim": 32, "num_classes": 0, "num_frames": 4, "tubelet_size": 2, "image_size": (32, 48)}
    return VideoMambaConfig.model_validate({**fixed, "init": "fan_in", **options})


def student(
    teacher_dim: int = 24, *, indices: tuple[int, ...] = (-1,), legacy: bool = False, **options: object
) -> MaskedVideoMamba:
    torch.manual_seed(0)
    model = MaskedVideoMamba(config(**options), teacher_dim=teacher_dim, indices=indices, legacy=legacy)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim <= 1 or parameter.shape[0] == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def a_video(batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, 4, 32, 48, generator=torch.Generator().manual_seed(1))


def some(batch: int = 2, visible: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.stack([torch.randperm(PATCHES, generator=generator)[:visible].sort().values for _ in range(batch)])


@pytest.mark.parametrize("order", ORDERS)
@torch.no_grad()
def test_without_a_mask_it_decodes_the_tokens_of_the_network(order: str) -> None:
    model = student(scan_order=order)
    model.eval()
    expected = model.clip_decoder[0](model.forward_tokens(a_video()) + sinusoids(1 + PATCHES, 32))
    torch.testing.assert_close(model(a_video())[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("order", ORDERS)
@torch.no_grad()
def test_visible_tokens_are_those_of_the_complete_clip_in_its_order(order: str) -> None:
    """Mixers that do nothing leave the embedded tokens."""
    model = student(scan_order=order)
    model.eval()
    for layer in model.layers:
        layer.mixer.out_proj.weight.zero_()
    visible = some()
    slots = torch.cat((torch.zeros(2, 1, dtype=torch.int64), visible + 1), dim=1)
    whole = model(a_video())
    torch.testing.assert_close(model(a_video(), visible), whole.take_along_dim(slots[None, ..., None], dim=2))


def test_masked_patches_have_no_part_in_the_result() -> None:
    model, visible = student(), some()
    video = a_video().requires_grad_()
    model(video, visible).square().sum().backward()
    assert video.grad is not None
    seen = torch.zeros(2, PATCHES, dtype=torch.bool).scatter(1, visible, True).reshape(2, *GRID)
    touched = video.grad.unfold(2, 2, 2).unfold(3, 16, 16).unfold(4, 16, 16).abs().sum(dim=(1, 5, 6, 7)) > 0
    assert torch.equal(touched, seen)


def test_every_weight_learns() -> None:
    model = student(indices=(0, -1))
    assert model(a_video(), some()).shape == (2, 2, 6, 24)
    model(a_video(), some())[:, :, :, 0].sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@torch.no_grad()
def test_features_of_a_layer_are_those_under_the_final_norm() -> None:
    model = student(indices=(0, 2))
    model.eval()
    first, last = model(a_video())
    stream, (early,) = model.encode(model.embed(a_video()), taps=[0])
    positions = sinusoids(1 + PATCHES, 32)
    torch.testing.assert_close(first, model.clip_decoder[0](model.norm_f(early) + positions), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(last, model.clip_decoder[1](model.norm_f(stream) + positions), rtol=1e-4, atol=1e-5)


def test_legacy_compares_the_stream_before_the_last_block_as_it_is() -> None:
    model = student(legacy=True)
    _, (before,) = model.encode(model.embed(a_video()), taps=[1])
    expected = model.clip_decoder[0](before + sinusoids(1 + PATCHES, 32))
    torch.testing.assert_close(model(a_video())[0], expected, rtol=1e-4, atol=1e-5)
    model(a_video(), some()).square().sum().backward()
    without = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert without == {name for name in model.state_dict() if name.startswith(("layers.2.", "norm_f."))}
    several = student(legacy=True, indices=(0, -1))
    frozen = {name for name, parameter in several.named_parameters() if not parameter.requires_grad}
    assert frozen == {name for name in several.state_dict() if name.startswith("layers.2.")}


def test_legacy_of_earlier_layers_is_the_usual_feature() -> None:
    model, legacy = student(indices=(0, 1)), student(indices=(0, 1), legacy=True)
    assert torch.equal(model(a_video(), some()), legacy(a_video(), some()))
    assert all(parameter.requires_grad for parameter in legacy.parameters())


def test_the_state_dict_is_the_originals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VideoMamba, "init_weights", lambda self: None)
    middle = build_config("videomamba_middle", {"num_classes": 0, "num_frames": 8})
    model = undrawn(partial(MaskedVideoMamba, middle, teacher_dim=512))
    assert sum(p.numel() for p in model.parameters()) == 73_941_504  # spec of the original
    extra = {f"clip_decoder.0.{part}.{kind}" for part in ("head", "norm") for kind in ("weight", "bias")}
    assert set(model.state_dict()) == set(VideoMamba.without_weights(middle).state_dict()) | extra


def test_positions_are_interleaved_sines_and_cosines() -> None:
    table = sinusoids(5, 6)
    assert table.shape == (5, 6) and table.dtype == torch.float32
    assert table[0].tolist() == [0, 1, 0, 1, 0, 1]
    assert table[3, 2].item() == pytest.approx(math.sin(3 / 10000 ** (2 / 6)))
    assert table[3, 3].item() == pytest.approx(math.cos(3 / 10000 ** (2 / 6)))


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ({}, {"num_classes": 3}, "num_classes and num_registers must be 0"),
        ({}, {"num_registers": 2}, "num_classes and num_registers must be 0"),
        ({"indices": ()}, {}, "ascending layers"),
        ({"indices": (1, 1)}, {}, "ascending layers"),
        ({"indices": (3,)}, {}, "there is no layer 3"),
        ({"legacy": True}, {"depth": 1}, "two layers"),
    ],
)
def test_a_student_that_cannot_be_built_is_refused(
    arguments: dict[str, object], options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        MaskedVideoMamba(config(**options), **{"teacher_dim": 8, **arguments})


def test_the_trained_trunk_is_that_of_the_plain_network() -> None:
    model = student()
    plain = VideoMamba.without_weights(model.config)
    plain.load_state_dict({name: value for name, value in model.state_dict().items() if "decoder" not in name})
    with torch.no_grad():
        assert torch.equal(plain.eval().forward_tokens(a_video()), model.eval().forward_tokens(a_video()))
