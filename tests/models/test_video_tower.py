"""The video tower beside a text tower: pooling, pictures, other numbers of frames, visible patches, decoders."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from tests.models.video_texts import PLACES, clips, disturbed, video_config
from videomamba.models.masked import MaskedVideoMamba, sinusoids
from videomamba.models.video_tower import VideoTower
from videomamba.models.videomamba import VideoMamba

ORDERS = ("spatial_first", "temporal_first", "spatiotemporal_v1", "spatiotemporal_v2")


def tower(*, pool: str | None = "cls+avg", teacher_dim: int = 0, legacy: bool = False, **fields: object) -> VideoTower:
    torch.manual_seed(0)
    made = VideoTower(video_config(**fields), pool=pool, teacher_dim=teacher_dim, legacy=legacy)
    disturbed(made)
    return made.eval()


def shared(count: int, frames: int = 4, seed: int = 3) -> Tensor:
    """`count` visible patches of each frame, others in each frame, as an attention mask draws them; for two clips."""
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randperm(PLACES, generator=generator)[:count].sort().values for _ in range(2 * frames)]
    return (torch.stack(rows).view(2, frames, count) + PLACES * torch.arange(frames)[:, None]).flatten(1)


@pytest.mark.parametrize("order", ORDERS)
@torch.no_grad()
def test_memory_and_vectors_are_those_of_the_plain_network(order: str) -> None:
    ours = tower(scan_order=order)
    plain = VideoMamba.without_weights(ours.config)
    plain.load_state_dict({name: value for name, value in ours.state_dict().items() if "pool_norm" not in name})
    tokens = plain.eval().forward_tokens(clips())
    memory, pooled, aligned = ours(clips())
    torch.testing.assert_close(memory, tokens[:, 1:], rtol=1e-5, atol=1e-5)
    assert aligned is None and pooled.shape == (2, 4, 32)
    means = tokens[:, 1:].reshape(2, 4, PLACES, 32).mean(dim=2)
    torch.testing.assert_close(pooled, ours.pool_norm(tokens[:, :1] + means), rtol=1e-5, atol=1e-5)
    whole = ours(clips(), per_frame=False).pooled
    torch.testing.assert_close(
        whole, ours.pool_norm(tokens[:, :1] + tokens[:, 1:].mean(dim=1, keepdim=True)), rtol=1e-5, atol=1e-5
    )
    torch.testing.assert_close(ours.tokens(clips()), tokens, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_the_other_pools() -> None:
    for pool, shape in (("cls", (2, 1, 32)), ("avg", (2, 4, 32)), (None, (2, 0, 32))):
        ours = tower(pool=pool)
        assert ours(clips()).pooled.shape == shape
        assert any("pool_norm" in name for name in ours.state_dict()) == (pool is not None)
    ours = tower(pool="cls")
    torch.testing.assert_close(ours(clips()).pooled, ours.pool_norm(ours.tokens(clips())[:, :1]))
    ours = tower(pool="avg")
    whole = ours.pool_norm(ours.tokens(clips())[:, 1:].mean(dim=1, keepdim=True))
    torch.testing.assert_close(ours(clips(), per_frame=False).pooled, whole)


@pytest.mark.parametrize("order", ORDERS)
@torch.no_grad()
def test_a_mask_that_hides_nothing_changes_nothing(order: str) -> None:
    ours = tower(teacher_dim=12, scan_order=order)
    for per_frame in (True, False):
        masked = ours(clips(), torch.arange(4 * PLACES).expand(2, -1), per_frame=per_frame)
        for found, expected in zip(masked, ours(clips(), per_frame=per_frame), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_visible_patches_are_pooled_by_frame_where_all_frames_have_as_many() -> None:
    ours, visible = tower(), shared(3)
    memory, pooled, _ = ours(clips(), visible)
    cls = ours.tokens(clips(), visible)[:, :1]
    assert memory.shape == (2, 12, 32) and pooled.shape == (2, 4, 32)
    torch.testing.assert_close(pooled, ours.pool_norm(cls + memory.reshape(2, 4, 3, 32).mean(dim=2)))
    uneven = visible.clone()
    uneven[1, :6] = torch.tensor([0, 1, 2, 3, 4, 5])
    expected = ours.pool_norm(ours.tokens(clips(), uneven)[:, :1] + ours(clips(), uneven).memory.mean(1, keepdim=True))
    torch.testing.assert_close(ours(clips(), uneven).pooled, expected)
    assert ours(clips(), visible[:, :-1]).pooled.shape == (2, 1, 32)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("tubelet", [1, 2])
@torch.no_grad()
def test_a_picture_is_a_clip_of_one_frame(order: str, tubelet: int) -> None:
    """It is what a network of one time step sees, whose parameters are the same without the temporal embedding."""
    ours = tower(scan_order=order, tubelet_size=tubelet)
    single = VideoTower.without_weights(ours.config.model_copy(update={"num_frames": tubelet})).eval()
    single.load_state_dict({name: value for name, value in ours.state_dict().items() if "temporal" not in name})
    picture = clips(frames=1)
    for found, expected in zip(ours(picture)[:2], single(picture.expand(-1, -1, tubelet, -1, -1))[:2], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert ours(picture).pooled.shape == (2, 1, 32)
    some = torch.tensor([[0, 3], [1, 2]])
    assert ours(picture, some).memory.shape == (2, 2, 32)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("frames", [2, 6])
@torch.no_grad()
def test_positions_in_time_are_interpolated_for_other_clips(order: str, frames: int) -> None:
    ours = tower(teacher_dim=12, scan_order=order)
    other = VideoTower.without_weights(ours.config.model_copy(update={"num_frames": frames}), teacher_dim=12).eval()
    state = ours.state_dict()
    slots = state["temporal_pos_embedding"].transpose(1, 2)
    state["temporal_pos_embedding"] = interpolate(slots, frames, mode="linear").transpose(1, 2)
    other.load_state_dict(state)
    for visible in (None, shared(2, frames)):
        for found, expected in zip(
            ours(clips(frames=frames), visible), other(clips(frames=frames), visible), strict=True
        ):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("legacy", [False, True])
@torch.no_grad()
def test_decoded_features_are_those_of_masked_pretraining(legacy: bool) -> None:
    ours = tower(teacher_dim=12, legacy=legacy)
    student = MaskedVideoMamba(ours.config, teacher_dim=12, legacy=legacy)
    state = ours.state_dict()
    assert set(state) - set(student.state_dict()) == {"pool_norm.weight", "pool_norm.bias"}
    student.load_state_dict({name: value for name, value in state.items() if "pool_norm" not in name})
    visible = shared(3)
    aligned = ours(clips(), visible).aligned
    assert aligned is not None and aligned.shape == (1, 2, 13, 12)
    torch.testing.assert_close(aligned, student.eval()(clips(), visible), rtol=1e-5, atol=1e-5)
    picture = ours(clips(frames=1)).aligned
    assert picture is not None
    stream, (before,) = ours.encode(
        torch.cat(
            (ours.embed_class().expand(2, -1, -1), ours.embed_patches(clips(frames=1), None).flatten(1, 2)), dim=1
        ),
        taps=[0],
    )
    feature = before if legacy else ours.norm_f(stream)
    expected = ours.clip_decoder[0](feature + sinusoids(1 + PLACES, 32))
    torch.testing.assert_close(picture[0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("legacy", [False, True])
def test_every_weight_learns(legacy: bool) -> None:
    """With `legacy` too: the last layer has no part in the alignment, but in all else."""
    ours = tower(teacher_dim=12, legacy=legacy, depth=3).train()
    memory, pooled, aligned = ours(clips(), shared(3))
    assert aligned is not None
    (memory[..., 0].sum() + pooled[..., 0].sum() + aligned[..., 0].sum()).backward()
    assert [name for name, p in ours.named_parameters() if p.grad is None or not p.grad.any()] == []
    ours.zero_grad()
    ours(clips(frames=1)).pooled[..., 0].sum().backward()
    unused = {name for name, p in ours.named_parameters() if p.grad is None}
    assert {name for name in unused if "clip_decoder" not in name} == {"temporal_pos_embedding"}


def test_one_seed_starts_the_trunk_of_the_plain_network() -> None:
    torch.manual_seed(5)
    plain = VideoMamba(video_config()).state_dict()
    torch.manual_seed(5)
    ours = VideoTower(video_config(), teacher_dim=12).state_dict()
    assert all(torch.equal(value, ours[name]) for name, value in plain.items())


@torch.no_grad()
def test_a_batch_without_clips_has_a_result_without_rows() -> None:
    memory, pooled, aligned = tower(teacher_dim=12)(clips(0))
    assert (memory.shape, pooled.shape) == ((0, 16, 32), (0, 4, 32))
    assert aligned is not None and aligned.shape == (1, 0, 17, 12)


def test_what_does_not_fit_is_refused() -> None:
    for fields in ({"num_classes": 3}, {"num_registers": 2}):
        with pytest.raises(ValueError, match="num_classes and num_registers must be 0"):
            VideoTower(video_config(**fields))
    with pytest.raises(ValueError, match="ascending layers"):
        VideoTower(video_config(), teacher_dim=12, align_layers=(1, 0))
    with pytest.raises(ValueError, match="there is no layer 2"):
        VideoTower(video_config(), teacher_dim=12, align_layers=(2,))
    with pytest.raises(ValueError, match=r"\(b, 3, 4, 32, 32\), got \(2, 3, 4, 16, 32\)"):
        tower()(clips()[..., :16, :])
    with pytest.raises(ValueError, match="add the dimension of the clips"):
        tower()(clips()[0])
    with pytest.raises(ValueError, match="whole tubelets of 2 frames, got 3"):
        tower(tubelet_size=2)(clips(frames=3))
    with pytest.raises(ValueError, match="0 frames"):
        tower()(clips(frames=0))
    with pytest.raises(ValueError, match="no positions in time for 4"):
        tower(num_frames=1)(clips())
