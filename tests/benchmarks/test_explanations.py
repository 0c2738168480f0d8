"""What the benchmark of explanations says of scores that are known."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from videomamba import Predictor

# (deletion, insertion) of each clip
SCORES = {
    "attention": [(0.1, 0.9), (0.3, 0.7)],
    "random": [(0.5, 0.5), (0.5, 0.5)],
    "centre": [(0.2, 0.6), (0.4, 0.4)],
}


def test_better_is_lower_deletion_and_higher_insertion() -> None:
    found = importlib.import_module("explanations").record(SCORES, "attention")
    assert (found["map"], found["clips"]) == ("attention", 2)
    assert found["deletion"]["mean"] == pytest.approx(0.2) and found["insertion"]["mean"] == pytest.approx(0.8)
    better = found["better_than_random"]
    assert better["deletion"] == pytest.approx({"mean": 0.3, "margin": 1.96 * 0.1})  # differences of 0.4 and 0.2
    assert better["insertion"] == pytest.approx({"mean": 0.3, "margin": 1.96 * 0.1})
    assert found["better_than_centre"]["deletion"] == pytest.approx({"mean": 0.1, "margin": 0.0}, abs=1e-9)
    json.dumps(found, allow_nan=False)


def test_the_clips_of_a_folder_are_those_of_the_prediction(bundle: Path, clips: Path) -> None:
    predictor = Predictor.from_pretrained(bundle)
    args = SimpleNamespace(videos=str(clips / "clip1.mp4"), clips=5, seed=0)
    (clip,) = importlib.import_module("explanations").clips_of(predictor, args)
    assert (clip == predictor.clips(clips / "clip1.mp4")[0].data).all()
