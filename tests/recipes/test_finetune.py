"""Fine-tuning by one call: settings by the data, a model that predicts, a report; and one line for a mistake."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import videomamba
from tests.cli.test_main import run
from tests.recipes.runs import CLASSES
from videomamba.evaluation.results import ClassificationResult
from videomamba.recipes import finetune as recipe
from videomamba.recipes.finetune import finetune
from videomamba.schema import VideoMambaError
from videomamba.serving.predictor import Predictor
from videomamba.weights.released import ACTIONS_MODEL


def test_from_a_folder_to_a_model(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    out = tmp_path / "tuned"
    tuned = videomamba.finetune(
        str(videos), out=out, weights=ACTIONS_MODEL, epochs=1, device="cpu", notify=lines.append
    )
    assert (tuned.model, tuned.report, tuned.settings) == (
        out / "model.safetensors",
        out / "report.html",
        out / "config.yaml",
    )
    assert [line.partition(":")[0] for line in lines] == ["data", "weights", "training"]
    assert lines[-1].startswith("training: 1 epoch, 16 clips")  # one step of 8 of the 12 videos, two clips of each
    assert isinstance(tuned.result, ClassificationResult) and tuned.result.num_videos == 3
    assert Predictor.from_pretrained(tuned.model)(videos / CLASSES[0] / "0.mp4").top.label in CLASSES
    settings, page = tuned.settings.read_text(), tuned.report.read_text()
    assert "name: null" in settings and "dim: 128" in settings  # it is no tiny
    assert "Fine-tuned on videos" in page
    assert "not comparable with the result above" in page and "model.safetensors, the last of the run" in page
    assert all(f'<span class="faint">{fact}</span>' in page for fact in ("date", "duration", "command", "weights"))
    measured = videomamba.evaluate(tuned.model, videos, views="2x3", device="cpu", precision="bf16")
    assert isinstance(measured, ClassificationResult) and measured.as_dict() == tuned.result.as_dict()

    relabelled = shutil.copytree(videos, tmp_path / "relabelled")
    (relabelled / CLASSES[0] / "0.mp4").rename(relabelled / CLASSES[1] / "moved.mp4")
    before = tuned.model.read_bytes()
    with pytest.raises(VideoMambaError, match=r"belongs to a run of .*, or --fresh to replace it$"):
        finetune(relabelled, out, weights=ACTIONS_MODEL, epochs=1, device="cpu")
    assert tuned.model.read_bytes() == before

    with monkeypatch.context() as patch:
        patch.setattr(recipe, "finetune", lambda *_, **__: tuned)
        code, said, _ = run(capsys, "finetune", videos)
        assert code == 0 and str(tuned.result) in said and f"--model {tuned.model}" in said
        code, said, _ = run(capsys, "finetune", videos, "--json")
        assert code == 0 and json.loads(said)["report"] == str(tuned.report) and "top1" in json.loads(said)


def test_an_empty_class_folder_is_refused(videos: Path, tmp_path: Path) -> None:
    root = shutil.copytree(videos, tmp_path / "videos")
    (root / "walk").mkdir()
    with pytest.raises(VideoMambaError, match=r"walk: holds no videos; put some into it or remove the folder"):
        finetune(root, tmp_path / "other", weights=ACTIONS_MODEL, epochs=1, device="cpu")


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"seed": -1}], ids=str)
def test_a_mistake_is_one_line(wrong: dict[str, int], tmp_path: Path) -> None:
    (name, value), *_ = wrong.items()
    with pytest.raises(VideoMambaError, match=rf"^{name} {value}: give "):
        finetune(tmp_path, **wrong)  # type: ignore[arg-type]


def test_a_run_does_not_lie_in_its_own_data(videos: Path) -> None:
    with pytest.raises(VideoMambaError, match=r"lies in the data set .*; give --out another folder$"):
        finetune(videos, videos / "runs", weights=ACTIONS_MODEL, epochs=1, device="cpu")
    assert not (videos / "runs").exists()
