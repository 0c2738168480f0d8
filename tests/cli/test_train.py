"""`videomamba train` and `videomamba evaluate` as a stranger meets them."""

from __future__ import annotations

import json
import os
import shutil
import signal
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_main import run
from tests.recipes.runs import CLASSES, events, losses, same_weights, write_videos
from videomamba.cli.train import train, train_config
from videomamba.data.sets.annotations import read_dataset
from videomamba.data.settings import DataSettings
from videomamba.synthetic import splits
from videomamba.training.step import Stepper

SMALL = [
    *("--model.depth", "2", "--model.dim", "16", "--clip.num-frames", "4", "--clip.image-size", "32", "32"),
    *("--data.workers", "0", "--optim.batch-size", "4", "--optim.epochs", "1", "--optim.warmup-epochs", "0"),
    *("--run.device", "cpu", "--run.micro-batch", "2"),
]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_videos(tmp_path_factory.mktemp("cli") / "videos")


@pytest.fixture(scope="module")
def trained(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "run"
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        assert train(small(videos, out)) == 0
    return out


def small(root: Path, out: Path, *more: object) -> list[str]:
    """A run of three steps of a small network."""
    named = ["--model.name", "videomamba_micro", "--data.root", root, "--run.out", out]
    return [*map(str, named), *SMALL, *map(str, more)]


def test_train_ends_with_the_accuracy_and_its_protocol(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    code, said, told = run(capsys, "train", *small(videos, out, "--eval.views", "2x3", "--eval.weights", "last"))
    assert code == 0
    assert said.startswith(f"{out / 'last.safetensors'}: top-1 ") and "2 clips x 3 crops" in said
    assert told.startswith("epoch 0, step 3: loss ") and told.count("\n") == 1
    assert sorted(path.name for path in out.iterdir()) == [
        "best.safetensors",
        "checkpoints",
        "config.yaml",
        "last.safetensors",
        "metrics.csv",
        "metrics.jsonl",
    ]
    code, again, told = run(capsys, "train", "--config", out / "config.yaml")
    assert (code, again) == (0, said)
    finished = (
        f"{out}: finished before, at step 3, with 12 videos of 3 classes; nothing is trained now, --fresh trains again"
    )
    assert told == finished + "\n"
    code, again, told = run(capsys, "train", "--config", out / "config.yaml", "--fresh")
    assert (code, again) == (0, said) and told.startswith("epoch 0, step 3: loss ") and told.count("\n") == 1
    assert sorted(step for step, _ in losses(out)) == [1, 2, 3]


def test_the_packaged_run_at_a_reduced_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    size = {"num_frames": 8, "fps": 8, "height": 64, "width": 80, "crf": 30}
    seeds_of = {"train": (1, 2), "val": (3,), "test": (4,)}
    parts = {name: tuple({"clips_per_class": 1, "seed": s, **size} for s in seeds) for name, seeds in seeds_of.items()}
    monkeypatch.setattr(splits, "SPLITS", parts)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    out = tmp_path / "run"
    where = ["--data.root", tmp_path / "data", "--data.cache", tmp_path / "cache", "--run.out", out]
    code, said, told = run(capsys, "train", "--preset", "synthetic-actions", *where, *SMALL, "--optim.batch-size", "16")
    assert code == 0, told
    assert "synthetic-actions: makes the weights inside this package" in told
    assert said.startswith(f"{out / 'best.safetensors'}: top-1 ") and "of 16 videos" in said
    assert "published" not in said and len(losses(out)) == 2
    assert list((tmp_path / "cache").rglob("*.*"))


def test_a_published_recipe_on_other_data(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = ["--preset", "ssv2-tiny-f8", "--data.format", "folder", "--data.root", videos, "--model.weights", "none"]
    code, said, told = run(capsys, "train", *own, *SMALL, "--run.out", tmp_path / "run")
    assert code == 0, told
    notes = [line for line in told.splitlines() if line.startswith("ssv2-tiny-f8: ")]
    assert len(notes) > 0 and any("2 clips" in note for note in notes)
    first, second = said.splitlines()
    assert "2 clips x 3 crops" in first and second.startswith("published for ssv2-tiny-f8: top-1 ")


def test_print_config_reads_back(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--preset", "k400-tiny-f16", "--data.root", videos, "--optim.lr", "3e-4", "--augment.flip", "off"]
    code, text, told = run(capsys, "train", *options, "--print-config")
    assert (code, told) == (0, "")
    file = tmp_path / "run.yaml"
    file.write_text(text)
    assert train_config(["--config", str(file)]) == train_config([str(option) for option in options])
    assert run(capsys, "train", "--config", file, "--print-config")[1] == text


def test_presets_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    code, table, _ = run(capsys, "train", "--presets")
    assert code == 0 and "k400-tiny-f16" in table and "synthetic-actions" in table
    code, lines, _ = run(capsys, "train", "--presets", "--json")
    rows = [json.loads(line) for line in lines.splitlines()]
    assert code == 0 and {row["preset"]: row["top-1"] for row in rows}["k400-tiny-f16"] == 78.1


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--optim.lrr", "1"], "--optim.lrr: unknown option; did you mean '--optim.lr'?"),
        (["--preset", "k400-tiny-f61"], "preset k400-tiny-f61: unknown; did you mean 'k400-tiny-f64'?"),
        ([], "data.root: missing; "),
        (["--data.root", "gone"], "gone: no such folder; "),
        (["--data.root", "{videos}", *SMALL, "--run.device", "abacus"], "device abacus: cannot be used here"),
        (["--data.root", "{videos}", *SMALL, "--run.strategy", "fsdp"], "run.strategy: fsdp "),
        (["--data.root", "{videos}", *SMALL, "--model.weights", "gone.safetensors"], "gone.safetensors: "),
        (["--data.root", "{videos}", *SMALL, "--augment.auto-augment", "rand-x9"], ""),
        (["--data.root", "{videos}", *SMALL, "--run.out", "/dev/null/run"], "/dev/null/run"),
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
    given = [option.format(videos=videos) for option in options]
    code, said, told = run(capsys, "train", *given)
    assert (code, said) == (1, "") and told.startswith(f"videomamba: {line}") and told.count("\n") == 1


def test_a_broken_video_is_one_line_and_the_run_goes_on_when_it_is_mended(
    videos: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = shutil.copytree(videos, tmp_path / "videos"), tmp_path / "run"
    path = Path(read_dataset(DataSettings(root=root), "train").records[5].path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 3])
    code, said, told = run(capsys, "train", *small(root, out))
    *_, line = told.splitlines()
    assert (code, said) == (1, "") and line.startswith(f"videomamba: {path}: ") and told.count("videomamba: ") == 1
    code, _, told = run(capsys, "train", *small(root, out, "--data.on-error", "skip"))
    assert code == 0 and "failed videos 1" in told
    assert any(message.startswith(f"skipped {path}: ") for message in events(out))
    path.write_bytes(whole)
    shutil.rmtree(out)
    assert run(capsys, "train", *small(root, out))[0] == 0
    assert same_weights(out, trained)


def test_asked_to_stop_it_ends_with_130_and_goes_on(
    videos: Path,
    trained: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    step = Stepper.step

    def stopped(*given: Any, **named: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return step(*given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "step", stopped)
        code, said, told = run(capsys, "train", *small(videos, tmp_path / "run"))
    assert (code, said) == (130, "") and told.endswith("videomamba: interrupted; finished work is kept\n")
    assert len(losses(tmp_path / "run")) == 1
    code, _, _ = run(capsys, "train", *small(videos, tmp_path / "run"))
    assert code == 0 and losses(tmp_path / "run") == losses(trained) and same_weights(tmp_path / "run", trained)


def test_evaluate_prints_a_table_and_what_was_missed(
    videos: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = shutil.copytree(videos, tmp_path / "videos")
    path = Path(read_dataset(DataSettings(root=root), "val").records[0].path)
    path.write_text("not a video")
    options = [trained / "best.safetensors", root, "--data.workers", "0", "--device", "cpu", "--per-class"]
    code, said, told = run(capsys, "evaluate", *options)
    assert code == 0 and all(name in said for name in CLASSES)
    assert f"videomamba: missed {path}: not" in told
    assert "of 3 videos" in said and "1 missed and counted as wrong" in said and "1 clip x 1 crop" in said
    code, said, _ = run(capsys, "evaluate", *options, "--json", "--views", "2x3", "--split", "train")
    found = json.loads(said)
    assert found["num_videos"] == 12 and found["protocol"].startswith("2 clips x 3 crops")
    assert len(found["confusion"]) == 3 and sum(map(sum, found["confusion"])) == 12


def test_evaluate_draws_and_writes(
    videos: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture, page = tmp_path / "confusion.png", tmp_path / "report.html"
    options = [trained / "best.safetensors", videos, "--data.workers", "0", "--device", "cpu"]
    code, said, told = run(capsys, "evaluate", *options, "--confusion", picture, "--report", page)
    assert code == 0, told
    assert picture.read_bytes().startswith(b"\x89PNG") and "top-1" in page.read_text() and "top-1" in said
    gone = tmp_path / "gone" / "a.png"
    code, said, told = run(capsys, "evaluate", *options, "--confusion", gone)
    assert (code, said, told) == (
        1,
        "",
        f"videomamba: --confusion {gone}: its folder does not exist; create it first\n",
    )
