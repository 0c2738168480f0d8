"""Clips of different lengths in one batch: padding changes nothing."""

from __future__ import annotations

import pytest
import torch

from videomamba import create_model
from videomamba.models.precision import cast_products
from videomamba.models.videomamba import VideoMamba
from videomamba.ops.dispatch import use_backend

ORDERS = ("spatial_first", "temporal_first", "spatiotemporal_v1", "spatiotemporal_v2")
FRAMES = (6, 2, 4)


def a_model(**options: object) -> VideoMamba:
    torch.manual_seed(0)
    options = {"depth": 3, "dim": 32, "num_classes": 5, "num_frames": 8, "image_size": 32, "patch_size": 16, **options}
    model = create_model("videomamba_micro", **options)
    torch.nn.init.normal_(model.temporal_pos_embedding, std=0.2)
    return model.eval()


def a_batch(padding: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Clips of 6, 2 and 4 frames in 6, the rest filled with `padding`."""
    video = torch.randn(3, 3, max(FRAMES), 32, 32, generator=torch.Generator().manual_seed(1))
    for clip, frames in zip(video, FRAMES, strict=True):
        clip[:, frames:] = padding
    return video, torch.tensor(FRAMES)


def alone(model: VideoMamba, video: torch.Tensor) -> torch.Tensor:
    clips = [clip[None, :, :frames] for clip, frames in zip(video, FRAMES, strict=True)]
    return torch.cat([model(clip, torch.tensor([frames])) for clip, frames in zip(clips, FRAMES, strict=True)])


@pytest.mark.parametrize("scan_order", ORDERS)
@pytest.mark.parametrize("pool", ["cls", "mean"])
@pytest.mark.parametrize("backend", ["auto", "chunked", "reference"])
def test_a_padded_batch_is_its_clips(scan_order: str, pool: str, backend: str) -> None:
    model = a_model(scan_order=scan_order, pool=pool)
    video, num_frames = a_batch(float("nan"))
    with torch.no_grad(), use_backend(backend):
        torch.testing.assert_close(model(video, num_frames), alone(model, video), rtol=1e-6, atol=1e-6)


def test_whole_clips_need_no_count() -> None:
    model = a_model()
    video = torch.randn(2, 3, 8, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model(video, torch.tensor([8, 8])), model(video), rtol=1e-6, atol=1e-6)


def test_a_model_of_the_clips_own_length_agrees() -> None:
    model, short = a_model(), a_model(num_frames=4)
    state = model.state_dict()
    state["temporal_pos_embedding"] = state["temporal_pos_embedding"][:, :4]
    short.load_state_dict(state)
    video, num_frames = a_batch(7.0)
    with torch.no_grad():
        torch.testing.assert_close(model(video, num_frames)[2:], short(video[2:, :, :4]), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("scan_order", ["spatial_first", "spatiotemporal_v2"])
def test_gradients_are_those_of_the_clips(scan_order: str) -> None:
    model = a_model(scan_order=scan_order)
    video, num_frames = a_batch(3.0)
    video.requires_grad_()
    gradients = []
    for logits in (model(video, num_frames), alone(model, video)):
        gradients.append(torch.autograd.grad(logits.square().sum(), (video, *model.parameters())))
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6 * expected.abs().max().item())
    assert all((gradients[0][0][i, :, frames:] == 0).all() for i, frames in enumerate(FRAMES))


def test_in_bf16() -> None:
    model = a_model()
    cast_products(model, torch.bfloat16)
    video, num_frames = a_batch(float("nan"))
    with torch.no_grad():
        torch.testing.assert_close(model(video, num_frames), alone(model, video), rtol=0, atol=1e-2)


def test_tokens_of_padding_are_zero() -> None:
    model = a_model()
    video, num_frames = a_batch(float("nan"))
    with torch.no_grad():
        tokens = model.forward_tokens(video, num_frames)
    places = 4
    for clip, frames in zip(tokens, FRAMES, strict=True):
        assert clip[: 1 + frames * places].isfinite().all() and (clip[1 + frames * places :] == 0).all()


@pytest.mark.parametrize(
    ("frames", "options", "message"),
    [
        ([6, 2], {}, r"num_frames must be \(3,\) int64"),
        ([6, 2, 7], {}, r"between 1 and 6.*\[6, 2, 7\]"),
        ([6, 0, 4], {}, r"between 1 and 6"),
        ([6, 3, 4], {"tubelet_size": 2}, r"whole tubelets of 2"),
        ([6, 2, 4], {"num_registers": 2}, r"registers"),
        ([6, 2, 4], {"num_frames": 4}, r"of fewer frames.*\(3, 3, 6, 32, 32\)"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(frames: list[int], options: dict[str, object], message: str) -> None:
    video, _ = a_batch(0.0)
    with pytest.raises(ValueError, match=message):
        a_model(**options)(video, torch.tensor(frames))
