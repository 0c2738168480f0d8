"""`videomamba text train`: its settings, its presets, a run, and the line for every mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_main import run
from tests.recipes.runs import tiny_text, write_videos
from videomamba.recipes.load import load, to_yaml
from videomamba.recipes.text.config import VideoTextTrainConfig
from videomamba.recipes.text.presets import VIDEO_TEXT


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_videos(tmp_path_factory.mktemp("classes") / "videos")


def train(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    return run(capsys, "text", "train", *arguments)


def test_help_names_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = train(capsys, "--help")
    assert code == 0
    for option in ("--text.learn-vocabulary", "--objectives.contrastive", "--images.train", "--image-mask.ratio"):
        assert option in out
    assert "the text tower and its vocabulary" not in out and "usage: videomamba text train" in out


def test_presets_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = train(capsys, "--presets", "--json")
    assert code == 0 and len(out.splitlines()) == len(VIDEO_TEXT.presets)
    code, out, _ = train(capsys, "--presets")
    assert code == 0 and "`videomamba text train --preset NAME --print-config` shows all settings" in out
    assert set(VIDEO_TEXT.presets) <= set(out.split())  # unbroken, to copy


@pytest.mark.parametrize("name", ["pairs-25m-middle-masked", "didemo-retrieval-middle-5m"])
def test_a_printed_preset_is_the_preset(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = train(capsys, "--preset", name, "--print-config")
    (tmp_path / "run.yaml").write_text(out)
    assert code == 0 and load(VideoTextTrainConfig, tmp_path / "run.yaml") == VIDEO_TEXT[name].config


def test_a_run_says_where_its_weights_are(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.yaml").write_text(to_yaml(tiny_text(videos, tmp_path / "run", run={"max_steps": 1})))
    code, out, err = train(capsys, "--config", tmp_path / "run.yaml")
    best = tmp_path / "run" / "best.safetensors"
    assert code == 0 and out.startswith(f"{best}: mean R@1 of both directions ")
    assert out.splitlines()[1] == f"Now:  videomamba text retrieval {best} DATA" and "contrastive loss" in err


MISTAKES: list[tuple[list[Any], str]] = [
    ([], "data.root: missing; give the folder of the data set"),
    (["--data.root", "."], "text.weights: missing; name a BERT such as bert-base-uncased"),
    (["--preset", "pairs-6m-middle-masked"], "preset pairs-6m-middle-masked: unknown; did you mean 'pairs-"),
    (["--preset", "k400-tiny-f8"], "preset k400-tiny-f8: is a preset of `videomamba train`; use that command"),
    (["--objectives.contrastive", 0], "--objectives.contrastive: '0' does not fit: "),
    (["--objectives.itm", 1], "--objectives.itm: unknown option; "),
    (["--text.pool", "max"], "--text.pool: 'max' does not fit: "),
    (["--data.root", ".", "--text.vocabulary", "absent.txt"], ".: no list of captions here; "),
    (["--data.root", ".", "--images.root", ".", "--image-mask.ratio", 0.5], "image_mask.name: attention is that of a"),
    (["--data.root", ".", "--run.strategy", "fsdp"], "run.strategy: fsdp is not offered with a text tower; use ddp"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES, ids=[message for _, message in MISTAKES])
def test_a_mistake_is_one_line(arguments: list[Any], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = train(capsys, *arguments)
    assert (code, out) == (1, "") and err.startswith(f"videomamba: {message}") and err.count("\n") == 1
