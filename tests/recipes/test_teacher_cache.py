"""A teacher that sees each clip by itself says the same with and without its files, whichever clips come together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import pytest
import torch
from safetensors.torch import save
from torch import Tensor

from videomamba import create_model
from videomamba.models.teacher import TeacherOutput, VideoMambaTeacher
from videomamba.recipes.teacher_cache import ClipwiseTeacher, teacher_identity
from videomamba.schema import Preprocess, VideoMambaError

CLIP = Preprocess(num_frames=2, image_size=(32, 32))
FIELDS = {"depth": 2, "dim": 12, "num_frames": 2, "image_size": 32, "init": "fan_in"}


class Counted:
    """A teacher that notes how many clips it has been shown."""

    def __init__(self, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.real = VideoMambaTeacher(create_model("videomamba_micro", **FIELDS), CLIP, CLIP, name="counted")
        self.name, self.dim, self.depth, self.grid = "counted", self.real.dim, self.real.depth, self.real.grid
        self.shown: list[int] = []

    def __call__(self, video: Tensor, *, layers: Sequence[int] = (-1,), attention: bool = False) -> TeacherOutput:
        self.shown.append(len(video))
        return self.real(video, layers=layers, attention=attention)

    def to(self, device: str | torch.device) -> Self:
        self.real.to(device)
        return self


def clips(number: int = 3) -> Tensor:
    return torch.randn(number, 3, 2, 32, 32, generator=torch.Generator().manual_seed(1))


def same(one: TeacherOutput, other: TeacherOutput) -> bool:
    attention = one.attention is None and other.attention is None
    if one.attention is not None and other.attention is not None:
        attention = torch.equal(one.attention, other.attention)
    return attention and torch.equal(one.tokens, other.tokens)


@pytest.mark.parametrize("attention", [False, True])
def test_each_clip_is_computed_once_and_read_ever_after(attention: bool, tmp_path: Path) -> None:
    shown, files = Counted(), tmp_path / "teacher"
    teacher, plain = (
        ClipwiseTeacher(shown, identity="a", folder=files),
        ClipwiseTeacher(Counted(), identity="a", folder=None),
    )
    first = teacher(clips(), layers=(0, -1), attention=attention)
    assert shown.shown == [1, 1, 1] and len(list(files.iterdir())) == 3
    assert first.tokens.shape == (2, 3, 9, 12) and first.tokens.dtype == torch.float32
    torch.testing.assert_close(first.tokens, shown.real(clips(), layers=(0, -1)).tokens)
    order = torch.tensor([2, 0, 0])
    again = teacher(clips()[order], layers=(0, -1), attention=attention)
    assert shown.shown == [1, 1, 1]
    assert torch.equal(again.tokens, first.tokens[:, order])
    assert same(again, plain(clips()[order], layers=(0, -1), attention=attention))
    other = ClipwiseTeacher(Counted(), identity="a", folder=files)
    assert same(other(clips(), layers=(0, -1), attention=attention), first)
    assert other.teacher.shown == []  # type: ignore[attr-defined]


def test_repeats_of_a_clip_are_computed_once(tmp_path: Path) -> None:
    shown = Counted()
    found = ClipwiseTeacher(shown, identity="a", folder=None)(clips(1).expand(4, -1, -1, -1, -1))
    assert shown.shown == [1] and found.tokens.shape[1] == 4 and found.attention is None


def test_other_layers_clips_and_teachers_have_files_of_their_own(tmp_path: Path) -> None:
    shown = Counted()
    teacher = ClipwiseTeacher(shown, identity="a", folder=tmp_path)
    teacher(clips(1))
    teacher(clips(1), layers=(0,))
    teacher(clips(1), attention=True)
    teacher(clips(1) + 1)
    ClipwiseTeacher(shown, identity="b", folder=tmp_path)(clips(1))
    assert len(shown.shown) == len(list(tmp_path.iterdir())) == 5


def test_a_damaged_file_is_replaced(tmp_path: Path) -> None:
    shown = Counted()
    teacher = ClipwiseTeacher(shown, identity="a", folder=tmp_path)
    first = teacher(clips(1))
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    for damaged in (whole[:100], b"", whole[:-40], save({"tokens": torch.zeros(1, 1, 2, 12)})):
        file.write_bytes(damaged)
        assert same(teacher(clips(1)), first) and file.read_bytes() == whole
    assert len(shown.shown) == 5


def test_no_clips_are_not_kept(tmp_path: Path) -> None:
    assert ClipwiseTeacher(Counted(), identity="a", folder=tmp_path)(clips(0)).tokens.shape == (1, 0, 9, 12)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(VideoMambaError, match=r"file/teacher: cannot be created"):
        ClipwiseTeacher(Counted(), identity="a", folder=tmp_path / "file" / "teacher")


def test_the_identity_of_a_teacher_is_that_of_its_weights() -> None:
    assert teacher_identity(Counted(0).real) == teacher_identity(Counted(0).real) != teacher_identity(Counted(1).real)
    torch.manual_seed(0)
    rounded = VideoMambaTeacher(create_model("videomamba_micro", **FIELDS), CLIP, CLIP, name="a", precision="bf16")
    assert teacher_identity(rounded) != teacher_identity(Counted(0).real)
    assert teacher_identity(Counted()) == "counted"
