"""A real CLIP vision tower as a teacher: its tokens and its attention are those that transformers itself computes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from tests.models.towers import hidden_and_row, normalised, open_tower, raw_clips, save_tower, to_clip
from videomamba.models.clip import CLIP_MEAN, CLIP_STD, ClipTeacher, ClipVision
from videomamba.models.config import VideoMambaConfig
from videomamba.models.teacher import TeacherOutput, check_teacher
from videomamba.schema import Preprocess, VideoMambaError
from videomamba.weights.teachers import open_teacher

CLIP = Preprocess(num_frames=3, image_size=(64, 64))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tower(tmp_path_factory.mktemp("clip"))


def a_teacher(folder: Path, clip: Preprocess = CLIP, **options: object) -> ClipTeacher:
    teacher = open_teacher(folder, clip, **options)
    assert isinstance(teacher, ClipTeacher)
    return teacher


def student_s(clip: Preprocess = CLIP, batch: int = 2) -> Tensor:
    return normalised(raw_clips(clip, batch), clip.mean, clip.std)


def pictures(raw: Tensor) -> Tensor:
    """(b, 3, t, h, w) -> (b t, 3, h, w)."""
    return raw.transpose(1, 2).flatten(0, 1)


def expected(folder: Path, frames: Tensor, clips: int, layers: list[int], *, norm: bool = True) -> TeacherOutput:
    """What transformers gives for normalised frames (clips T, 3, h, w), put together."""
    tower = open_tower(folder)
    hidden, row = hidden_and_row(tower, frames)
    with torch.no_grad():
        chosen = [tower.vision_model.post_layernorm(hidden[i]) if norm else hidden[i] for i in layers]
        tokens = torch.stack([to_clip(tower.visual_projection(states), clips) for states in chosen])
    return TeacherOutput(tokens, row.reshape(clips, -1, row.shape[-1]))


def assert_close(found: TeacherOutput, wanted: TeacherOutput, *, tolerance: float = 1e-5) -> None:
    assert found.attention is not None and wanted.attention is not None
    scale = wanted.tokens.abs().max()
    torch.testing.assert_close(found.tokens / scale, wanted.tokens / scale, rtol=0, atol=tolerance)
    torch.testing.assert_close(found.attention, wanted.attention, rtol=0, atol=tolerance)


def test_tokens_and_attention_are_those_of_transformers(folder: Path) -> None:
    teacher = a_teacher(folder)
    assert (teacher.grid, teacher.dim, teacher.depth) == ((3, 4, 4), 40, 3)
    found = teacher(student_s(), layers=(-1, 0), attention=True)
    frames = pictures(normalised(raw_clips(CLIP), CLIP_MEAN, CLIP_STD))
    wanted = expected(folder, frames, 2, [0, 2])
    assert found.tokens.shape == (2, 2, 1 + 3 * 16, 40) and found.tokens.dtype == torch.float32
    assert_close(found, wanted)
    assert wanted.attention is not None and wanted.attention.std() > 0.02  # no uniform row, which anything would meet


def test_the_class_token_of_a_picture_is_the_embedding(folder: Path) -> None:
    one = CLIP.model_copy(update={"num_frames": 1})
    tokens = a_teacher(folder, one)(student_s(one)).tokens
    frames = pictures(normalised(raw_clips(one), CLIP_MEAN, CLIP_STD))
    with torch.no_grad():
        wanted = open_tower(folder)(pixel_values=frames).image_embeds
    torch.testing.assert_close(tokens[0, :, 0], wanted, rtol=1e-4, atol=1e-5)


def test_legacy_is_the_original_s(folder: Path) -> None:
    """Its pixels have the statistics of ImageNet, and the last norm is left out."""
    found = a_teacher(folder, legacy=True)(student_s(), layers=(1, 2), attention=True)
    frames = pictures(student_s())
    assert_close(found, expected(folder, frames, 2, [1, 2], norm=False))
    hidden, _ = hidden_and_row(open_tower(folder), frames)
    weight = open_tower(folder).visual_projection.weight.detach()
    by_hand = to_clip(hidden[-1] @ weight.T, 2)
    torch.testing.assert_close(found.tokens[-1], by_hand, rtol=1e-4, atol=1e-4)
    assert (a_teacher(folder)(student_s()).tokens[-1] - by_hand).norm() > 0.1 * by_hand.norm()


@pytest.mark.parametrize("size", [(48, 48), (80, 96)])
def test_frames_are_resized_to_the_tower(folder: Path, size: tuple[int, int]) -> None:
    clip = CLIP.model_copy(update={"image_size": size})
    teacher = a_teacher(folder, clip)
    assert teacher.grid == (3, 4, 4)
    frames = pictures(normalised(raw_clips(clip), CLIP_MEAN, CLIP_STD))
    resized = F.interpolate(frames, size=(64, 64), mode="bicubic", align_corners=False)
    assert_close(teacher(student_s(clip), attention=True), expected(folder, resized, 2, [2]))


def test_bf16_is_close(folder: Path) -> None:
    exact = a_teacher(folder)(student_s(), layers=(0, -1), attention=True)
    teacher = a_teacher(folder, precision="bf16")
    dtypes = {name: p.dtype for name, p in teacher.network.named_parameters()}
    assert dtypes["vision_model.encoder.layers.0.mlp.fc1.weight"] == torch.bfloat16
    assert dtypes["vision_model.encoder.layers.0.layer_norm1.weight"] == torch.float32
    for found, wanted in zip(teacher(student_s(), layers=(0, -1), attention=True), exact, strict=True):
        assert found.dtype == torch.float32 and 0 < (found - wanted).norm() / wanted.norm() < 0.02


@pytest.mark.parametrize(
    ("file", "fields", "options"),
    [
        ("config.json", {"hidden_act": "gelu"}, {}),
        ("config.json", {"layer_norm_eps": 1e-6}, {}),
        ("config.json", {"num_attention_heads": 1}, {}),
        ("preprocessor_config.json", {"image_mean": [0.5, 0.4, 0.3]}, {}),
        ("preprocessor_config.json", {"image_std": [0.2, 0.3, 0.4]}, {}),
        ("config.json", {}, {"legacy": True}),
        ("config.json", {}, {"precision": "bf16"}),
        ("config.json", {}, {"clip": CLIP.model_copy(update={"mean": CLIP_MEAN})}),
        ("config.json", {}, {"clip": CLIP.model_copy(update={"num_frames": 4})}),
    ],
)
def test_whatever_changes_its_outputs_changes_its_identity(
    folder: Path, tmp_path: Path, file: str, fields: dict[str, object], options: dict[str, object]
) -> None:
    one = a_teacher(folder).identity
    copied = Path(shutil.copytree(folder, tmp_path / "copied"))
    (copied / "preprocessor_config.json").write_text(json.dumps({"image_mean": CLIP_MEAN, "image_std": CLIP_STD}))
    assert a_teacher(copied).identity == one
    content = json.loads((copied / file).read_text())
    (copied / file).write_text(json.dumps({**content, **fields}))
    assert a_teacher(copied, **options).identity != one


def test_the_identity_is_that_of_the_weights_and_not_of_their_file(folder: Path, tmp_path: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    copied = Path(shutil.copytree(folder, tmp_path / "copied"))
    (copied / "model.safetensors").unlink()
    torch.save(dict(reversed(tensors.items())), copied / "pytorch_model.bin")
    assert a_teacher(copied).identity == a_teacher(folder).identity
    tensors["vision_model.encoder.layers.1.mlp.fc2.bias"][0] += 1e-6
    torch.save(tensors, copied / "pytorch_model.bin")
    assert a_teacher(copied).identity != a_teacher(folder).identity


def test_frozen_under_a_student(folder: Path) -> None:
    teacher = a_teacher(folder)
    student = torch.nn.Linear(40, 40)
    student.teacher = teacher
    student.train()
    assert len(list(student.parameters())) == 2 and not teacher.network.training
    video = student_s().requires_grad_()
    before = teacher(student_s(), attention=True)
    with torch.autocast("cpu", torch.bfloat16):
        found = teacher(video, attention=True)
    (student(found.tokens) * found.tokens).sum().backward()
    assert video.grad is None
    for one, other in zip(found, before, strict=True):
        assert not one.requires_grad and not one.is_inference() and torch.equal(one, other)
    assert all(p.grad is None and not p.requires_grad for p in teacher.network.parameters())
    assert not any(module._forward_hooks for module in teacher.network.modules())


def test_a_batch_without_clips(folder: Path) -> None:
    found = a_teacher(folder)(student_s()[:0], layers=(0, 1), attention=True)
    assert found.tokens.shape == (2, 0, 49, 40) and found.attention is not None
    assert found.attention.shape == (0, 3, 16)


def test_what_does_not_fit_is_refused(folder: Path) -> None:
    teacher = a_teacher(folder)
    with pytest.raises(ValueError, match=r"video must be \(b, 3, 3, h, w\), got \(2, 3, 2, 64, 64\)"):
        teacher(student_s()[:, :, :2])
    with pytest.raises(VideoMambaError, match="has no layer 3"):
        teacher(student_s(), layers=(3,))
    student = {"num_frames": 3, "image_size": 64}
    check_teacher(teacher, VideoMambaConfig.model_validate(student))
    for fields, message in (
        ({"num_frames": 6, "tubelet_size": 3}, "set model.tubelet_size 2"),
        ({"tubelet_size": 3}, "a grid of 3x4x4 tokens, the student 1x4x4 .*; set model.tubelet_size 1"),
        ({"image_size": 32, "patch_size": 16}, "the student 3x2x2 .*; set model.patch_size 8"),
        ({"image_size": (64, 96)}, "the student 3x4x6 .*; set clip.image_size 64 64"),
    ):
        with pytest.raises(VideoMambaError, match=message):
            check_teacher(teacher, VideoMambaConfig.model_validate({**student, **fields}))


def test_a_picture_has_at_least_one_patch() -> None:
    with pytest.raises(ValueError, match="image_size 8 is less than patch_size 16"):
        ClipVision(image_size=8, patch_size=16)


def test_opening_draws_nothing(folder: Path) -> None:
    torch.manual_seed(7)
    a_teacher(folder)
    drawn = torch.rand(1)
    torch.manual_seed(7)
    assert torch.equal(drawn, torch.rand(1))


@pytest.mark.slow
def test_the_full_vit_b_16(tmp_path: Path) -> None:
    """Width 768, 12 layers, 197 tokens of 224 pixels."""
    clip = Preprocess(num_frames=1)
    fields = {"hidden_size": 768, "intermediate_size": 3072, "projection_dim": 512}
    shape = {"num_hidden_layers": 12, "num_attention_heads": 12, "image_size": 224}
    save_tower(tmp_path, spread=0, **fields, **shape)
    teacher = a_teacher(tmp_path, clip)
    assert (teacher.grid, teacher.dim, teacher.depth) == ((1, 14, 14), 512, 12)
    frames = pictures(normalised(raw_clips(clip, 1), CLIP_MEAN, CLIP_STD))
    wanted = expected(tmp_path, frames, 1, [5, 11])
    assert_close(teacher(student_s(clip, 1), layers=(5, 11), attention=True), wanted)
