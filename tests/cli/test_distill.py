"""`videomamba distill` as a stranger meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.test_main import run
from tests.cli.test_train import SMALL
from tests.recipes.runs import write_teacher, write_videos
from videomamba.weights.read import read_weights

GRID = ["--model.name", "videomamba_micro", "--model.tubelet-size", "2"]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_videos(tmp_path_factory.mktemp("distill") / "videos")


def test_a_student_is_trained_measured_and_answers(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher, out = write_teacher(tmp_path / "teacher.safetensors"), tmp_path / "run"
    own = ["--data.root", videos, "--run.out", out, "--teacher.weights", teacher]
    code, said, told = run(capsys, "distill", *GRID, *SMALL, *own, "--eval.views", "2x3", "--eval.weights", "last")
    assert code == 0, told
    assert said.startswith(f"{out / 'last.safetensors'}: top-1 ") and "2 clips x 3 crops" in said
    assert said.count("\n") == told.count("\n") == 1
    code, again, told = run(capsys, "distill", "--config", out / "config.yaml")
    assert (code, again) == (0, said) and "finished before, at step 3" in told
    code, found, _ = run(capsys, "predict", next(videos.glob("*/*.mp4")), "--model", out / "last.safetensors", "--json")
    assert code == 0 and json.loads(found)["predictions"]
    sheet = tmp_path / "sheet.png"
    clip = next(videos.glob("*/*.mp4"))
    assert run(capsys, "data", "sheet", clip, "--like", out / "config.yaml", "--out", sheet)[0] == 0
    assert sheet.read_bytes().startswith(b"\x89PNG")


def test_a_preset_on_other_data(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    teacher = write_teacher(tmp_path / "teacher.safetensors")
    own = ["--data.format", "folder", "--data.root", videos, "--run.out", tmp_path / "run", "--model.weights", "none"]
    preset = ["--preset", "k400-middle-f8-distilled", "--teacher.weights", teacher, "--model.tubelet-size", "2"]
    code, said, told = run(capsys, "distill", *preset, *SMALL, *own)
    assert code == 0, told
    assert "k400-middle-f8-distilled: the authors distilled on images only" in told and "published for" not in said
    bundle = read_weights(tmp_path / "run" / "last.safetensors").bundle
    assert bundle is not None and bundle.info["preset"] == "k400-middle-f8-distilled"


def test_its_presets_and_settings_are_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    code, lines, _ = run(capsys, "distill", "--presets", "--json")
    rows = {row["preset"]: row for row in map(json.loads, lines.splitlines())}
    assert code == 0 and list(rows) == [
        *("in1k-middle-224-distilled", "in1k-base-224-distilled"),
        *("k400-middle-f8-distilled", "ssv2-middle-f8-distilled"),
    ]
    assert rows["in1k-base-224-distilled"]["top-1"] == 82.7
    assert rows["in1k-base-224-distilled"]["teacher"] == "videomamba_small_in1k_224"
    code, table, _ = run(capsys, "distill", "--presets")
    assert code == 0 and "`videomamba distill --preset NAME --print-config`" in table and "videomamba_small" in table
    code, text, _ = run(capsys, "distill", "--preset", "in1k-base-224-distilled", "--print-config")
    assert code == 0 and "teacher:\n  weights: videomamba_small_in1k_224\n" in text
    code, text, _ = run(capsys, "distill", "--help")
    assert code == 0 and "--teacher.weights" in text and "--distill.feature-weight" in text
    assert "videomamba distill --presets" in " ".join(text.split())


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--data.root", "{videos}"], "teacher.weights: missing; name the teacher, as in --teacher.weights "),
        (["--teacher.weights", "gone.pth"], "data.root: missing; "),
        (["--data.root", "{videos}", *GRID, *SMALL, "--teacher.weights", "gone.pth"], "gone.pth: "),
        (
            ["--data.root", "{videos}", *SMALL, "--teacher.weights", "{teacher}"],
            "teacher {teacher}: has a grid of 2x2x2 ",
        ),
        (["--teacher.cash", "on"], "--teacher.cash: unknown option; did you mean "),
        (["--preset", "k400-tiny-f8"], "preset k400-tiny-f8: is a preset of `videomamba train`; use that command"),
    ],
    ids=lambda value: " ".join(value[-2:]) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line(
    options: list[str],
    line: str,
    videos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"videos": videos, "teacher": write_teacher(tmp_path / "teacher.safetensors")}
    code, said, told = run(capsys, "distill", *(option.format(**names) for option in options))
    assert (code, said) == (1, "")
    assert told.startswith(f"videomamba: {line.format(**names)}") and told.count("\n") == 1
