"""The pipeline gives the answers of `videomamba predict`, never those of the first frames."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import pipeline

from videomamba.export.transformers import VideoMambaPipeline
from videomamba.export.transformers.convert import convert_to_folder
from videomamba.schema import Prediction, VideoError
from videomamba.serving.predictor import Predictor
from videomamba.weights.released import ACTIONS_MODEL

EXACT = 1e-5


def assert_same(answer: list[dict[str, object]], expected: Prediction) -> None:
    assert [one["label"] for one in answer] == [one.label for one in expected.predictions]
    assert [one["score"] for one in answer] == pytest.approx([one.score for one in expected.predictions], abs=EXACT)


def test_it_answers_as_predict_does(folder: Path, bundle: Path, clips: Path) -> None:
    predictor = Predictor.from_pretrained(bundle)
    classify = pipeline("video-classification", model=str(folder), pipeline_class=VideoMambaPipeline)
    paths = [str(clips / f"clip{i}.mp4") for i in range(3)]
    for answers in (classify(paths), classify(paths, batch_size=2), [classify(path) for path in paths]):
        for path, answer in zip(paths, answers, strict=True):
            assert_same(answer, predictor(path))
    with pytest.raises(ValueError, match="leave them out"):
        classify(paths[0], num_frames=4)
    with pytest.raises(VideoError, match=r"notes\.mp4"):
        classify(str(clips / "notes.mp4"))
    assert len(json.loads(json.dumps(classify.model.config.to_dict()))["custom_pipelines"]) == 1


def test_real_videos_have_the_answers_of_predict(real_videos: Path, tmp_path: Path) -> None:
    convert_to_folder(ACTIONS_MODEL, tmp_path / "actions")
    predictor = Predictor.from_pretrained(ACTIONS_MODEL)
    classify = pipeline("video-classification", model=str(tmp_path / "actions"), pipeline_class=VideoMambaPipeline)
    for name in (
        "flipping_a_pancake.mkv",
        "arm_wrestling.mp4",
        "av1_video.mkv",
        "rotated_90.mov",
        "unordered_frames.mov",
    ):
        assert_same(classify(str(real_videos / name)), predictor(real_videos / name))


def test_without_trust_the_pipeline_of_transformers_never_runs(folder: Path) -> None:
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        pipeline("video-classification", model=str(folder))


FRESH = """
import json, sys

for absent in ("videomamba.cli", "videomamba.__main__", "tyro"):
    sys.modules[absent] = None
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForVideoClassification, pipeline

folder, clip, again = sys.argv[1:]
trusted = {"trust_remote_code": True}
classify = pipeline("video-classification", model=folder, **trusted)
kinds = [type(auto.from_pretrained(folder, **trusted)).__name__ for auto in
         (AutoConfig, AutoModel, AutoModelForVideoClassification, AutoImageProcessor)]
classify.model.save_pretrained(again)
classify.image_processor.save_pretrained(again)
print(json.dumps([classify(clip), kinds]))
"""


def test_a_fresh_process_needs_the_folder_and_the_library_alone(
    folder: Path, bundle: Path, clips: Path, tmp_path: Path
) -> None:
    clip, again = clips / "clip0.mp4", tmp_path / "again"
    offline = {"HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(tmp_path / "modules")}
    arguments = [sys.executable, "-c", FRESH, str(folder), str(clip), str(again)]
    done = subprocess.run(arguments, env={**os.environ, **offline}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer, kinds = json.loads(done.stdout.splitlines()[-1])
    assert_same(answer, Predictor.from_pretrained(bundle)(clip))
    assert kinds == [
        "VideoMambaHFConfig",
        "VideoMambaModel",
        "VideoMambaForVideoClassification",
        "VideoMambaImageProcessor",
    ]
    saved = {"config.json", "model.safetensors", "modeling_videomamba.py", "preprocessor_config.json"}
    assert {file.name for file in again.iterdir()} == saved
    for name in saved - {"model.safetensors"}:
        assert (again / name).read_text() == (folder / name).read_text()
