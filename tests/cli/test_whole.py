"""`videomamba predict --whole`, and which option belongs to which way of predicting."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.cli.test_main import run
from videomamba import Predictor
from videomamba.serving.whole import look_at_whole


def test_one_answer_for_all_of_a_video(bundle: Path, clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "predict", "--whole", clips, "--fps", 4, "--model", bundle, "--top", 2)
    assert code == 1 and "notes.mp4" in err and len(err.splitlines()) == 1
    assert out.count("6 frames, 37 tokens in one pass; temporal positions of 4 time steps stretched to 6") == 3
    assert out.count(" %") == 6


@pytest.mark.parametrize("options", [[], ["--lean"], ["--stream", "bf16"], ["--scratch", "."]], ids=str)
def test_the_same_for_a_program(
    bundle: Path, clips: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    clip = clips / "clip0.mp4"
    code, out, _ = run(capsys, "predict", clip, "--whole", "--model", bundle, "--json", "--top", 16, *options)
    answer = json.loads(out)
    assert (
        code == 0
        and (answer["frames"], answer["tokens"]) == (12, 73)
        and "stretched to 12" in answer["temporal_positions"]
    )
    predictor = Predictor.from_pretrained(bundle)
    seen = look_at_whole(predictor.model, predictor.preprocess, clip)
    expected = dict(zip(predictor.labels, seen.logits.softmax(dim=0).tolist(), strict=True))
    tolerance = 0.05 if "bf16" in options else 1e-5
    assert {p["label"]: p["score"] for p in answer["predictions"]} == pytest.approx(expected, abs=tolerance)


def test_unreadable_for_a_program(bundle: Path, clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "predict", clips / "notes.mp4", "--whole", "--model", bundle, "--json")
    assert code == 1 and json.loads(out)["path"].endswith("notes.mp4") and "error" in json.loads(out)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--whole", "--live"], "choose one"),
        (["--fps", 2], "--fps: belongs to --whole"),
        (["--whole", "--fps", 0], "--fps 0"),
        (["--whole", "--views", "4x3"], "--views: belongs to clips"),
        (["--whole", "--stride", 1], "--stride: belongs to --timeline or --live"),
        (["--live", "--out", "x"], "--out: belongs to --timeline"),
        (["--timeline", "--top", 3], "--top: belongs to clips or --whole or --live"),
        (["another.mp4", "--live"], "takes one source, got 2"),
        (["--whole", "--scratch", "nowhere"], "nowhere: cannot take a file"),
    ],
    ids=str,
)
def test_what_does_not_go_together(
    bundle: Path, clips: Path, capsys: pytest.CaptureFixture[str], options: list[object], said: str
) -> None:
    code, out, err = run(capsys, "predict", clips / "clip0.mp4", *options, "--model", bundle)
    assert code == 1 and out == "" and said in err and len(err.splitlines()) == 1


def test_a_pass_leaves_no_gradient(bundle: Path, clips: Path) -> None:
    predictor = Predictor.from_pretrained(bundle)
    seen = look_at_whole(predictor.model, predictor.preprocess, clips / "clip0.mp4")
    assert not any(tensor.requires_grad for tensor in (seen.logits, seen.frames, seen.features))
    assert torch.equal(seen.timestamps, torch.arange(12, dtype=torch.float64) / 8)
