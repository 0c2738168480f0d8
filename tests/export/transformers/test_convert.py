"""`videomamba convert --to hf`, and the model card that it writes."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from huggingface_hub import HfApi, ModelCard
from safetensors.torch import load_file, save_file
from transformers import pipeline

from tests.cli.test_main import run
from tests.models.networks import build_model
from videomamba.export.transformers import VideoMambaForVideoClassification, VideoMambaModel, VideoMambaPipeline
from videomamba.export.transformers.card import model_card
from videomamba.export.transformers.convert import convert_to_folder
from videomamba.schema import Preprocess
from videomamba.synthetic.actions import ACTIONS
from videomamba.weights.bundle import save_bundle
from videomamba.weights.pretrained import open_pretrained
from videomamba.weights.released import ACTIONS_MODEL


def test_the_command_writes_a_folder(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "model"
    code, printed, told = run(capsys, "convert", bundle, out, "--to", "hf")
    assert code == 0 and printed.strip() == str(out) and "loaded" in told
    assert {file.name for file in out.iterdir()} == {
        "README.md",
        "config.json",
        "model.safetensors",
        "modeling_videomamba.py",
        "preprocessor_config.json",
    }
    assert len({file.stat().st_mode for file in out.iterdir()}) == 1
    assert [file.name for file in out.parent.iterdir()] == ["model"]
    assert json.loads((out / "config.json").read_text())["id2label"]["3"] == ACTIONS[3]
    saved = load_file(out / "model.safetensors")
    for key, value in load_file(bundle).items():
        assert torch.equal(
            saved[f"videomamba.network.{key}" if "head" not in key else key.replace("head", "classifier")], value
        )


def test_it_refuses_in_one_line(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    for out, reason in (
        (tmp_path / "full", "exists; choose another folder, or replace its files with --overwrite"),
        (bundle, "exists; choose another name"),
        (bundle / "below", "cannot be created"),
    ):
        code, printed, err = run(capsys, "convert", bundle, out, "--to", "hf")
        assert (code, printed, len(err.splitlines())) == (1, "", 1) and reason in err
    code, *_ = run(capsys, "convert", bundle, tmp_path / "full", "--to", "hf", "--overwrite")
    assert code == 0 and (tmp_path / "full" / "mine.txt").is_file() and (tmp_path / "full" / "config.json").is_file()


def test_without_transformers_it_names_the_extra(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith("videomamba.export.transformers")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "transformers", None)
    code, _, err = run(capsys, "convert", bundle, tmp_path / "out", "--to", "hf")
    assert code == 1 and err.splitlines() == [
        "videomamba: the format of transformers needs that package; pip install 'videomamba[hf]'"
    ]


def test_weights_of_every_kind(tmp_path: Path) -> None:
    """Without names, without a head, of a regression, and in half precision."""
    torch.save(build_model(num_classes=5).half().state_dict(), tmp_path / "bare.pth")
    convert_to_folder(tmp_path / "bare.pth", tmp_path / "bare")
    model = VideoMambaForVideoClassification.from_pretrained(tmp_path / "bare")
    assert model.config.id2label == {i: f"class {i}" for i in range(5)} and model.dtype == torch.float32
    clip = Preprocess(num_frames=4, image_size=(32, 32))
    headless = save_bundle(tmp_path / "headless.safetensors", build_model(num_classes=0), clip)
    convert_to_folder(headless, tmp_path / "headless", num_frames=8)
    assert VideoMambaModel.from_pretrained(tmp_path / "headless").config.num_frames == 8
    assert "pooler_output" in (tmp_path / "headless" / "README.md").read_text()
    number = save_bundle(tmp_path / "number.safetensors", build_model(num_classes=1), clip, info={"task": "regression"})
    convert_to_folder(number, tmp_path / "number")
    assert VideoMambaForVideoClassification.from_pretrained(tmp_path / "number").config.problem_type == "regression"


def test_the_card_says_what_is_known(bundle: Path) -> None:
    text = model_card(open_pretrained(ACTIONS_MODEL), ACTIONS_MODEL, "actions")
    assert text.startswith("---\nlibrary_name: transformers\nlicense: apache-2.0\npipeline_tag: video-classification\n")
    assert "its answers about real footage mean nothing" in text
    assert "- data: videomamba synth\n" in text and "## Accuracy\n\ntop-1 98.75% (316 of 320 videos)" in text
    assert 'pipeline("video-classification", model="actions", trust_remote_code=True)' in text
    opened = open_pretrained(bundle)
    text = model_card(opened, "small.safetensors", "small")
    assert "license:" not in text and text.count("The weights file does not say.") == 3
    assert "- Output: 16 classes\n" in text and "- Input: 4 frames of 48x32 pixels, sampling `uniform`" in text
    released = replace(opened, path=Path("videomamba_t16_k400_f8_res224.pth"), knows="", info={})
    text = model_card(released, "videomamba_tiny_k400_f8_224", "tiny")
    assert "76.9 % top-1 on Kinetics-400, as its authors report it with 4 clips x 3 crops" in text
    assert "Kinetics-400, after training as `videomamba_tiny_in1k_224`" in text and "license: apache-2.0" in text


def test_settings_that_the_file_leaves_open_are_in_the_card(bundle: Path, tmp_path: Path) -> None:
    convert_to_folder(bundle, tmp_path / "square", image_size=32)
    save_file(
        {
            key.removeprefix("videomamba.network.").replace("classifier", "head"): value
            for key, value in load_file(tmp_path / "square" / "model.safetensors").items()
        },
        tmp_path / "bare.safetensors",
    )
    assert "has no settings; assuming" in convert_to_folder(tmp_path / "bare.safetensors", tmp_path / "bare").assumed
    assert "has no settings; assuming" in (tmp_path / "bare" / "README.md").read_text()


@pytest.mark.filterwarnings("ignore:'pin_memory' argument is set as true but no accelerator:UserWarning")
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_the_python_of_its_page_runs(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("peft")
    page = (Path(__file__).parents[3] / "docs" / "hugging_face.md").read_text()
    convert_to_folder(ACTIONS_MODEL, tmp_path / "actions")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "transformers.pipeline", partial(pipeline, pipeline_class=VideoMambaPipeline)
    )  # no code in caches
    made: dict[str, object] = {}
    for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        code = code.replace("clip.mp4", str(clips / "clip0.mp4")).replace(", trust_remote_code=True", "")
        exec(compile(code, "hugging_face.md", "exec"), made)
    assert (tmp_path / "mine" / "modeling_videomamba.py").is_file()


def test_a_push_uploads_the_code(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the hub everything is replaced: what would be uploaded is seen."""
    uploaded: list[str] = []

    def commit(_: HfApi, **options: Any) -> None:
        uploaded.extend(operation.path_in_repo for operation in options["operations"])

    monkeypatch.setattr(HfApi, "create_repo", lambda *_, **__: SimpleNamespace(repo_id="you/small"))
    monkeypatch.setattr(HfApi, "create_commit", commit)
    monkeypatch.setattr("transformers.utils.hub.create_and_tag_model_card", lambda *_, **__: ModelCard("---\n---\n"))
    VideoMambaForVideoClassification.from_pretrained(folder).push_to_hub("you/small")
    assert {"config.json", "model.safetensors", "modeling_videomamba.py"} <= set(uploaded)
