"""A VideoMamba as a frozen teacher: its tokens, what stands in for attention, and that nothing reaches or changes it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.models.networks import build_model
from videomamba.models.config import VideoMambaConfig
from videomamba.models.teacher import TeacherOutput, VideoMambaTeacher, check_teacher
from videomamba.models.videomamba import VideoMamba
from videomamba.ops import dispatch
from videomamba.schema import Preprocess, VideoMambaError

CLIP = Preprocess(num_frames=4, image_size=(32, 48))
STEPS, PLACES, DEPTH = 4, 6, 3
ORDERS = ("spatial_first", "temporal_first", "spatiotemporal_v1", "spatiotemporal_v2")


def a_model(**fields: object) -> VideoMamba:
    """Small weights, so that tokens do not explode and every part of them counts."""
    model = build_model(image_size=(32, 48), depth=DEPTH, **fields).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.3)
    return model


def a_teacher(model: VideoMamba, **options: object) -> VideoMambaTeacher:
    return VideoMambaTeacher(model, CLIP, CLIP, name="small", **options)


@pytest.fixture
def video() -> Tensor:
    return torch.randn(2, 3, 4, 32, 48, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("registers", [0, 2])
@pytest.mark.parametrize("scan_order", ORDERS)
def test_tokens_are_those_of_the_network(video: Tensor, scan_order: str, registers: int) -> None:
    model = a_model(scan_order=scan_order, num_registers=registers)
    with torch.no_grad():
        last = model.forward_tokens(video)
        maps = model.forward_intermediates(video, [0, 1, 2], norm=True)
        _, streams = model.encode(model.embed(video), taps=[0, 1, 2])
    tokens, attention = a_teacher(model)(video, layers=(-1, 0, 1))
    assert tokens.shape == (3, 2, 1 + STEPS * PLACES, 32) and tokens.dtype == torch.float32 and attention is None
    torch.testing.assert_close(tokens[-1], last, rtol=0, atol=0)
    for found, patches, stream in zip(tokens, maps, streams, strict=True):
        torch.testing.assert_close(found[:, 1:], patches.flatten(1, 3), rtol=0, atol=0)
        torch.testing.assert_close(found[:, 0], model.norm_f(stream[:, 0]), rtol=0, atol=0)


def places_of(model: VideoMamba, temporal: bool) -> Tensor:
    """(T, p): the place in the scan of each patch, written out."""
    if temporal:
        order = [[1 + place * STEPS + step for place in range(PLACES)] for step in range(STEPS)]
    else:
        order = [[1 + step * PLACES + place for place in range(PLACES)] for step in range(STEPS)]
    special = model.layout.special[1:]
    free = [slot for slot in range(1, model.layout.length) if slot not in special]
    return torch.tensor([[free[i - 1] for i in row] for row in order])


@pytest.mark.parametrize("registers", [0, 2])
@pytest.mark.parametrize("scan_order", ORDERS)
def test_attention_is_the_row_of_the_last_mixer_on_the_grid(video: Tensor, scan_order: str, registers: int) -> None:
    model = a_model(scan_order=scan_order, num_registers=registers)
    row = a_teacher(model)(video, attention=True).attention
    with torch.no_grad():
        _, [stream] = model.encode(model.embed(video), taps=[DEPTH - 2])
        normed = model.layers[-1].norm(stream)
    canonical = places_of(model, temporal=False)
    expected = []
    for temporal in {"spatial_first": (False,), "spatiotemporal_v2": (False, True)}.get(scan_order, (True,)):
        scanned = places_of(model, temporal)
        x = normed.clone()
        x[:, scanned.flatten()] = normed[:, canonical.flatten()]
        expected.append(model.layers[-1].mixer.class_attention(x)[:, scanned])
    assert row is not None and row.shape == (2, STEPS, PLACES) and row.min() >= 0 and row.std() > 0
    torch.testing.assert_close(row, torch.stack(expected).mean(dim=0))


def test_attention_of_a_single_block(video: Tensor) -> None:
    model = build_model(image_size=(32, 48), depth=1, scan_order="spatial_first").eval()
    found = VideoMambaTeacher(model, CLIP, CLIP, name="one")(video, attention=True).attention
    row = model.layers[0].mixer.class_attention(model.layers[0].norm(model.embed(video)))
    torch.testing.assert_close(found, row[:, 1:].reshape(2, STEPS, PLACES))


def test_attention_of_pooled_patches_is_their_share(video: Tensor) -> None:
    model = a_model(pool="mean")
    tokens, row = a_teacher(model)(video, layers=(0, -1), attention=True)
    patches = tokens[-1, :, 1:]
    share = torch.einsum("bnc,bc->bn", patches, model.forward_features(video))
    assert row is not None
    torch.testing.assert_close(row, share.clamp_min(0).reshape(2, STEPS, PLACES), rtol=1e-4, atol=1e-5)


def test_a_batch_without_clips(video: Tensor) -> None:
    for model in (a_model(), a_model(pool="mean")):
        found = a_teacher(model)(video[:0], layers=(0, 1), attention=True)
        assert found.tokens.shape == (2, 0, 25, 32)
        assert found.attention is not None and found.attention.shape == (0, STEPS, PLACES)


def test_pixels_get_the_teacher_s_own_mean_and_std(video: Tensor) -> None:
    own = CLIP.model_copy(update={"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.25, 0.5)})
    model = a_model()
    raw = torch.rand(video.shape, generator=torch.Generator().manual_seed(0))

    def normalised(record: Preprocess) -> Tensor:
        mean, std = (torch.tensor(values).reshape(3, 1, 1, 1) for values in (record.mean, record.std))
        return (raw - mean) / std

    found = VideoMambaTeacher(model, own, CLIP, name="other")(normalised(CLIP)).tokens[-1]
    torch.testing.assert_close(found, model.forward_tokens(normalised(own)), rtol=1e-4, atol=1e-5)
    assert (found - model.forward_tokens(normalised(CLIP))).abs().max() > 1e-2


class Student(nn.Module):
    def __init__(self, teacher: VideoMambaTeacher) -> None:
        super().__init__()
        self.teacher = teacher
        self.head = nn.Linear(32, 32)

    def forward(self, video: Tensor) -> tuple[Tensor, TeacherOutput]:
        found = self.teacher(video, attention=True)
        return (self.head(found.tokens[-1]) * found.tokens[-1]).sum(), found


def test_nothing_of_a_student_reaches_it(video: Tensor) -> None:
    teacher = a_teacher(a_model(drop_path=0.5))
    before = teacher(video, attention=True)
    student = Student(teacher).train()
    assert [name for name, _ in student.named_parameters()] == ["head.weight", "head.bias"]
    assert student.state_dict().keys() == {"head.weight", "head.bias"}
    assert not teacher.network.training and not any(p.requires_grad for p in teacher.network.parameters())
    video.requires_grad_()
    loss, found = student(video)
    loss.backward()
    assert student.head.weight.grad is not None and video.grad is None
    assert all(p.grad is None for p in teacher.network.parameters())
    for old, new in zip(before, found, strict=True):
        assert not new.requires_grad and not new.is_inference() and torch.equal(old, new)


def test_autocast_around_it_changes_no_bit(video: Tensor) -> None:
    teacher = a_teacher(a_model())
    with torch.autocast("cpu", torch.bfloat16):
        inside = teacher(video, attention=True)
    for one, other in zip(inside, teacher(video, attention=True), strict=True):
        assert one.dtype == torch.float32 and torch.equal(one, other)


@pytest.mark.skipif(not dispatch.native_isas(), reason="without the C++ kernels no layer is fused")
def test_its_layers_are_fused(video: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, call_layer = [], dispatch.call_layer
    monkeypatch.setattr(dispatch, "call_layer", lambda *a, **k: (calls.append(1), call_layer(*a, **k))[1])
    teacher = a_teacher(a_model())
    teacher(video, layers=(0, 2), attention=True)
    mixer = teacher.network.layers[0].mixer
    assert len(calls) == DEPTH and mixer.decay_rates()[0] is mixer.decay_rates()[0]


def test_bf16_is_close(video: Tensor) -> None:
    exact = a_teacher(a_model())(video, layers=(0, -1), attention=True)
    teacher = a_teacher(a_model(), precision="bf16")
    assert teacher.network.layers[0].mixer.in_proj.weight.dtype == torch.bfloat16
    for found, expected in zip(teacher(video, layers=(0, -1), attention=True), exact, strict=True):
        assert found.dtype == torch.float32
        assert 0 < (found - expected).norm() / expected.norm() < 0.02


OTHER = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.25, 0.5)}


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        *(({"scan_order": order}, {}) for order in ORDERS[1:]),
        ({"pool": "mean"}, {}),
        ({"discretization": "zoh"}, {}),
        ({"norm_eps": 1e-6}, {}),
        *(({}, {side: CLIP.model_copy(update={key: OTHER[key]})}) for side in ("own", "clip") for key in OTHER),
        ({}, {"precision": "bf16"}),
    ],
)
def test_whatever_changes_its_outputs_changes_its_identity(
    fields: dict[str, object], options: dict[str, object]
) -> None:
    def identity(model: VideoMamba, **options: object) -> str:
        return VideoMambaTeacher(model, **{"own": CLIP, "clip": CLIP, "name": "small", **options}).identity

    one = identity(a_model(scan_order=ORDERS[0]))
    assert one == identity(a_model(scan_order=ORDERS[0]), name="another", notes=["of no account"])
    assert one != identity(a_model(**{"scan_order": ORDERS[0], **fields}), **options)
    edited = a_model(scan_order=ORDERS[0])
    with torch.no_grad():
        edited.norm_f.weight[-1] += 1e-6
    assert one != identity(edited)


def test_layers_that_it_does_not_have(video: Tensor) -> None:
    teacher = a_teacher(a_model())
    for layers, message in (
        ((3,), "teacher small: has no layer 3; give -3 to 2"),
        ((-4,), "has no layer -4"),
        ((2, -1), r"layers \[2, -1\] must be at least one, each named once"),
        ((), "at least one"),
    ):
        with pytest.raises(VideoMambaError, match=message):
            teacher(video, layers=layers)


def test_clips_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit the model"):
        VideoMambaTeacher(a_model(), CLIP, Preprocess(num_frames=8, image_size=(32, 48)), name="x")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, None),
        ({"image_size": (16, 24), "patch_size": 8}, None),
        ({"tubelet_size": 2}, "the student 2x2x3 (time, height, width); set model.tubelet_size 1, or choose another"),
        ({"num_frames": 6}, "the student 6x2x3 (time, height, width); set clip.num_frames 4"),
        ({"num_frames": 8}, "set model.tubelet_size 2"),
        ({"patch_size": 8}, "the student 4x4x6 (time, height, width); set model.patch_size 16"),
        ({"image_size": 64}, "the student 4x4x4 (time, height, width); set clip.image_size 32 48"),
    ],
)
def test_the_student_needs_its_grid(fields: dict[str, object], message: str | None) -> None:
    teacher = a_teacher(a_model())
    config = VideoMambaConfig.model_validate({"num_frames": 4, "image_size": (32, 48), **fields})
    if message is None:
        return check_teacher(teacher, config)
    with pytest.raises(VideoMambaError) as caught:
        check_teacher(teacher, config)
    text = str(caught.value)
    assert text.startswith("teacher small: has a grid of 4x2x3 tokens") and message in text and "\n" not in text
