"""`videomamba pretrain`, and masks on a contact sheet, as a stranger meets them."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import pytest
import torch

from tests.cli.test_main import run
from tests.cli.test_train import SMALL
from tests.recipes.runs import CLASSES, OtherTeacher, write_teacher, write_videos
from videomamba.data.sets.annotations import read_dataset
from videomamba.data.settings import DataSettings
from videomamba.models.teacher import TeacherOutput
from videomamba.video.open import open_video
from videomamba.weights.read import read_weights

GRID = ["--model.name", "videomamba_micro", "--model.tubelet-size", "2"]
FRAMES = ["--clip.num-frames", "4", "--clip.image-size", "32", "32"]
TUBELET = ["--tubelet", "2"]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_videos(tmp_path_factory.mktemp("pretrain") / "videos")


@pytest.fixture(scope="module")
def teacher(videos: Path) -> Path:
    return write_teacher(videos.parent / "teacher.safetensors")


def test_from_videos_to_weights_and_on_to_classes(
    videos: Path, teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "my run"
    own = ["--data.root", videos, "--run.out", out, "--teacher.weights", teacher]
    code, said, told = run(capsys, "pretrain", *GRID, *SMALL, *own)
    assert code == 0, told
    result, now = said.splitlines()
    best = out / "best.safetensors"
    loss = float(result.removeprefix(f"{best}: alignment loss ").removesuffix(" on the validation split"))
    assert 0 < loss < 4 and now == f"Now:  videomamba finetune FOLDER --weights '{best}'"
    assert told.startswith("epoch 0, step 3: loss ") and "val loss" in told and told.count("\n") == 1
    code, again, told = run(capsys, "pretrain", "--config", out / "config.yaml")
    assert (code, again) == (0, said) and "finished before, at step 3, with 12 videos; nothing is trained" in told
    command = [str(videos) if word == "FOLDER" else word for word in shlex.split(now)[2:]]
    code, said, told = run(capsys, *command, "--out", tmp_path / "tuned", "--epochs", 1, "--device", "cpu")
    assert code == 0 and "top-1" in said, told
    code, found, _ = run(capsys, "predict", next(videos.glob("*/*.mp4")), "--model", best)
    assert code == 1 and found == ""  # it has no classes yet


def test_a_preset_on_other_data(
    videos: Path, teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One video is skipped, and none of the validation split can be read: then there is no loss to print."""
    root = shutil.copytree(videos, tmp_path / "videos")
    held_out = read_dataset(DataSettings(root=root), "val", annotated=False).records
    for path in [*(Path(record.path) for record in held_out), root / CLASSES[0] / "1.mp4"]:
        path.write_text("not a video")
    own = ["--data.format", "folder", "--data.root", root, "--data.on-error", "skip", "--run.out", tmp_path / "run"]
    preset = ["--preset", "ssv2-middle-mask-pt-f8", "--teacher.weights", teacher, "--model.tubelet-size", "2"]
    code, said, told = run(capsys, "pretrain", *preset, *SMALL, *own)
    assert code == 0, told
    assert said == f"Now:  videomamba finetune FOLDER --weights {tmp_path / 'run' / 'last.safetensors'}\n"
    assert "ssv2-middle-mask-pt-f8: the original's script trains 801 epochs, its table says 200" in told
    assert f"skipped {root / CLASSES[0] / '1.mp4'}: not a readable video" in told
    bundle = read_weights(tmp_path / "run" / "last.safetensors").bundle
    assert bundle is not None and bundle.info["preset"] == "ssv2-middle-mask-pt-f8"
    assert bundle.info["mask"] == {"name": "attention", "ratio": 0.8}


def test_its_presets_and_settings_are_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    code, lines, _ = run(capsys, "pretrain", "--presets", "--json")
    rows = {row["preset"]: row for row in map(json.loads, lines.splitlines())}
    assert code == 0 and len(rows) == 8
    row = rows["k400-middle-mask-pt-f8"]
    assert (row["mask"], row["epochs"], row["top-1"]) == ("attention 0.8", 801, None)
    code, table, _ = run(capsys, "pretrain", "--presets")
    assert code == 0 and "`videomamba pretrain --preset NAME --print-config`" in table
    assert table.count("openai/clip-vit-base-patch16") == table.count("attention 0.8") == 8
    assert "starts from" not in table and "top-1" not in table  # nothing to show
    code, text, _ = run(capsys, "pretrain", "--preset", "k400-base-mask-pt-f8", "--print-config")
    assert code == 0 and "mask:\n  name: attention\n  ratio: 0.8\n" in text and "align:\n  layers: 1\n" in text
    assert "eval:" not in text
    code, text, _ = run(capsys, "pretrain", "--help")
    shown = " ".join(text.split())
    assert code == 0 and "videomamba pretrain --presets" in shown and "videomamba finetune FOLDER --weights" in shown
    for option in ("--teacher.weights", "--mask.name", "--mask.ratio", "--align.layers", "--align.legacy"):
        assert option in text
    assert "--eval.views" not in text


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--data.root", "{videos}"], "teacher.weights: missing; name a CLIP of transformers or a VideoMamba, "),
        (["--teacher.weights", "gone.pth"], "data.root: missing; "),
        (["--data.root", "{videos}", *GRID, *SMALL, "--teacher.weights", "gone.pth"], "gone.pth: "),
        (
            ["--data.root", "{videos}", *SMALL, "--teacher.weights", "{teacher}"],
            "teacher {teacher}: has a grid of 2x2x2 ",
        ),
        (["--mask.ratio", "1"], "--mask.ratio: '1' does not fit: "),
        (["--mask.ratio", "-1"], "--mask.ratio: '-1' does not fit: "),
        (["--mask.name", "tubes"], "--mask.name: 'tubes' does not fit: did you mean 'tube'?"),
        (["--data.root", "{videos}", *GRID, *SMALL, "--teacher.weights", "t", "--mask.ratio", "0.01"], "mask.ratio: "),
        (["--align.distance", "l1"], "--align.distance: 'l1' does not fit: "),
        (["--teacher.weights", "t", "--data.root", "{videos}", "--augment.mixup", "0.8"], "augment.mixup: "),
        (["--eval.views", "1x1"], "--eval.views: unknown option"),
        (["--preset", "k400-middle-mask-f8"], "preset k400-middle-mask-f8: is a preset of `videomamba train`; use "),
    ],
    ids=lambda value: " ".join(value[-2:]) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line(
    options: list[str],
    line: str,
    videos: Path,
    teacher: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"videos": videos, "teacher": teacher}
    code, said, told = run(capsys, "pretrain", *(option.format(**names) for option in options))
    assert (code, said) == (1, "")
    assert told.startswith(f"videomamba: {line.format(**names)}") and told.count("\n") == 1


# Masks on a contact sheet


def shown(picture: Path) -> torch.Tensor:
    """(rows, 4 frames, 2, 2 patches, pixels) of a sheet of small clips."""
    with open_video(picture) as opened:
        pixels = opened.frames([0]).data[0].float()
    return pixels.view(-1, 2, 16, 4, 2, 16, 3).permute(0, 3, 1, 4, 2, 5, 6).flatten(4)


def test_masks_follow_the_attention_of_the_teacher(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """This one attends to two places of the first time step and to two others of the second, to nothing else."""

    class Attentive(OtherTeacher):
        notes = ("mine: positions resized",)

        def __call__(self, *given: object, **named: object) -> TeacherOutput:
            tokens, _ = super().__call__(*given, **named)  # type: ignore[arg-type]
            return TeacherOutput(tokens, torch.tensor([[[1.0, 0.0, 0.0, 1.0], [0.0, 2.0, 2.0, 0.0]]]))

    monkeypatch.setattr("videomamba.weights.teachers.open_teacher", lambda *_: Attentive())
    out, clip = tmp_path / "sheet.png", next(videos.glob("*/*.mp4"))
    pictures = []
    for mask in ([], ["--mask", "attention", "--ratio", "0.5", "--teacher", "mine", *TUBELET]):
        code, said, told = run(capsys, "data", "sheet", clip, "--out", out, "--samples", 3, *FRAMES, *mask)
        assert code == 0 and said == f"rows 1 to 3: {clip}\n{out}\n", told
        assert told == ("mine: positions resized\n" if mask else "")
        pictures.append(shown(out))
    visible = (pictures[0] == pictures[1]).all(4)
    expected = torch.tensor([[[True, False], [False, True]], [[False, True], [True, False]]])
    assert torch.equal(visible, expected.repeat_interleave(2, dim=0).expand(3, 4, 2, 2))


def test_masks_of_a_run_and_of_a_real_teacher(
    videos: Path, teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (file := tmp_path / "run.yaml").write_text(
        "mask: {ratio: 0.5}\nmodel: {name: videomamba_micro, tubelet_size: 2}\n"
        "clip: {num_frames: 4, image_size: [32, 32]}\n"
    )
    out, clip = tmp_path / "sheet.png", next(videos.glob("*/*.mp4"))
    pictures = []
    for mask in ([], ["--mask", "attention", "--teacher", teacher, "--ratio", "0.5"]):
        code, _, told = run(capsys, "data", "sheet", clip, "--like", file, *mask, "--out", out)
        assert code == 0, told
        pictures.append(shown(out))
    visible = (pictures[0] == pictures[1]).all(4).flatten(2)
    assert (visible.sum(2) == 2).all() and torch.equal(visible[:, 0::2], visible[:, 1::2])


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--mask", "attention"], "--mask attention: follows the attention of a teacher; give one with --teacher"),
        (["--mask", "attention", "--teacher", "gone.pth"], "gone.pth: "),
        (
            ["--mask", "attention", "--teacher", "{teacher}", "--tubelet", "1"],
            "--teacher {teacher}: has a grid of 2x2x2 patches, not 4x2x2; change --clip.image-size, ",
        ),
        (["--mask", "tube", "--teacher", "{teacher}"], "--teacher: mask tube does not depend on one; remove it, or "),
        (["--teacher", "{teacher}"], "--teacher: is for --mask attention; give that too, or remove it"),
        (["--ratio", "7"], "--ratio: is for --mask; give that too, or remove it"),
        (["--ratio", "0.8", "--mask", "none"], "--ratio: is for --mask; give that too, or remove it"),
        (["--patch", "7"], "--patch: is for --mask; give that too, or remove it"),
        (["--tubelet", "7"], "--tubelet: is for --mask; give that too, or remove it"),
        (["--mask", "tube", "--tubelet", "3"], "--tubelet 3: does not divide 4 frames; give a divisor"),
        (["--mask", "tube", "--tubelet", "0"], "--tubelet 0: does not divide 4 frames"),
        (["--mask", "tube", "--patch", "5"], "--patch 5: does not divide pictures of 32x32; "),
        (
            ["--mask", "attention", "--ratio", "0.1", "--teacher", "{teacher}"],
            "--ratio: 0.1 of 4 patches masks nothing",
        ),
        (["--mask", "tube", "--ratio", "-1"], "--ratio: -1 is no share of the patches; "),
        (["--mask", "atention"], "--mask 'atention': unknown; did you mean 'attention'?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_masks_that_cannot_be_drawn(
    options: list[str],
    line: str,
    videos: Path,
    teacher: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    given = [option.format(teacher=teacher) for option in options]
    if "attention" in given and "--tubelet" not in given:
        given += TUBELET
    code, said, told = run(capsys, "data", "sheet", next(videos.glob("*/*.mp4")), *FRAMES, *given)
    assert (code, said) == (1, "") and not (tmp_path / "sheet.png").exists()
    assert told.startswith(f"videomamba: {line.format(teacher=teacher)}") and told.count("\n") == 1
