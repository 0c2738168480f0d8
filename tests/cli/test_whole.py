"""`videomamba whole`: one answer for all of a video."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.cli.test_main import run
from videomamba import Predictor
from videomamba.serving.whole import whole as look


def test_one_answer_for_all_of_a_video(bundle: Path, clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "whole", clips, "--fps", 4, "--model", bundle, "--top", 2)
    assert code == 1 and "notes.mp4" in err and len(err.splitlines()) == 1
    assert out.count("6 frames, 37 tokens in one pass; temporal positions of 4 time steps stretched to 6") == 3
    assert out.count(" %") == 6


@pytest.mark.parametrize("options", [[], ["--lean"], ["--stream", "bf16"], ["--scratch", "."]], ids=str)
def test_the_same_for_a_program(
    bundle: Path, clips: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    clip = clips / "clip0.mp4"
    code, out, _ = run(capsys, "whole", clip, "--model", bundle, "--json", "--top", 16, *options)
    answer = json.loads(out)
    assert (
        code == 0
        and (answer["frames"], answer["tokens"]) == (12, 73)
        and "stretched to 12" in answer["temporal_positions"]
    )
    predictor = Predictor.from_pretrained(bundle)
    seen = look(predictor, clip)
    expected = dict(zip(predictor.labels, seen.logits.softmax(dim=0).tolist(), strict=True))
    tolerance = 0.05 if "bf16" in options else 1e-5
    assert {p["label"]: p["score"] for p in answer["predictions"]} == pytest.approx(expected, abs=tolerance)


def test_unreadable_for_a_program(bundle: Path, clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "whole", clips / "notes.mp4", "--model", bundle, "--json")
    assert code == 1 and json.loads(out)["path"].endswith("notes.mp4") and "error" in json.loads(out)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--fps", 0], "fps 0: give frames a second"),
        (["--top", 0], "--top 0"),
        (["--scratch", "nowhere"], "nowhere: cannot hold a file"),
    ],
    ids=str,
)
def test_a_bad_option_is_one_clear_line(
    bundle: Path, clips: Path, capsys: pytest.CaptureFixture[str], options: list[object], said: str
) -> None:
    code, out, err = run(capsys, "whole", clips / "clip0.mp4", *options, "--model", bundle)
    assert code == 1 and out == "" and said in err and len(err.splitlines()) == 1


def test_a_pass_leaves_no_gradient(bundle: Path, clips: Path) -> None:
    predictor = Predictor.from_pretrained(bundle)
    seen = look(predictor, clips / "clip0.mp4")
    assert not any(tensor.requires_grad for tensor in (seen.logits, seen.frames, seen.features))
    assert torch.equal(seen.timestamps, torch.arange(12, dtype=torch.float64) / 8)
