"""The weights of masked pretraining: the original's go on, and the result begins a supervised run that knows its past."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.models.networks import build_model, released_format
from tests.recipes.runs import (
    CLASSES,
    OtherTeacher,
    events,
    make_run,
    starting_weights,
    tiny,
    tiny_masked,
    weights,
    write_teacher,
)
from videomamba import Embedder
from videomamba.recipes.bundles import STARTED_FROM, described_past
from videomamba.recipes.finetune import finetune
from videomamba.recipes.pretrain import pretrain
from videomamba.training.run import Trained
from videomamba.weights.bundle import read_bundle_metadata
from videomamba.weights.pretrained import open_pretrained

NO_FILE: dict[str, Any] = {"weights": None}
WIDTH = 512
"""Of the original's decoder, as of its teacher."""


# The original's layout


def original(path: Path, videos: Path, kind: str = "masked", *, teacher: bool = False) -> dict[str, Tensor]:
    """Writes a file as the original does; its trunk by our names, and its decoder."""
    fields = {**tiny_masked(videos, path).network(), "num_classes": 0, "drop_path": 0.0}
    saved: dict[str, Any] = released_format(build_model(**fields), kind)
    tensors: dict[str, Tensor] = saved["model"]
    generator = torch.Generator().manual_seed(1)
    for name, value in tensors.items():
        value.copy_(torch.randn(value.shape, generator=generator) * 0.1 + ("norm" in name))
    if teacher:
        tensors["clip_teacher.transformer.resblocks.0.ln_1.bias"] = torch.ones(768)
        tensors["clip_teacher.conv1.weight"] = torch.ones(768, 3, 1, 16, 16)
    torch.save(saved, path)
    found = {name.removeprefix("vision_encoder."): value.float() for name, value in tensors.items()}
    found["norm_f.weight"] = found.pop("norm.weight")
    trunk = ("cls_token", "pos_embed", "temporal_pos_embedding", "patch_embed.", "layers.", "norm_f.", "clip_decoder.")
    return {name: value for name, value in found.items() if name.startswith(trunk)}


@pytest.mark.parametrize(("kind", "teacher"), [("masked", False), ("masked", True), ("multimodal", True)])
def test_weights_of_the_original_go_on(kind: str, teacher: bool, videos: Path, tmp_path: Path) -> None:
    file = original(path := tmp_path / "mask_pt.pth", videos, kind, teacher=teacher)
    config = tiny_masked(videos, tmp_path / "run", model={"weights": str(path)}, teacher=NO_FILE)
    begun = starting_weights(config, teacher=OtherTeacher(dim=WIDTH))
    assert begun.keys() == file.keys() and all(torch.equal(begun[name], file[name]) for name in file)
    said = events(tmp_path / "run")[0]
    assert "loaded 43" in said and "converted 1: norm_f.weight (renamed)" in said and "missing" not in said


def test_for_a_teacher_of_another_width_the_decoder_is_new(videos: Path, tmp_path: Path) -> None:
    file = original(path := tmp_path / "mask_pt.pth", videos)
    config = tiny_masked(videos, tmp_path / "run", model={"weights": str(path)}, teacher=NO_FILE)
    begun = starting_weights(config, teacher=OtherTeacher(dim=8))
    trunk = {name for name in file if not name.startswith("clip_decoder.")}
    assert all(torch.equal(begun[name], file[name]) for name in trunk)
    assert begun["clip_decoder.0.head.weight"].shape == (8, 16) and begun["clip_decoder.0.norm.weight"].eq(1).all()
    assert "missing 4: clip_decoder.0.head.weight" in events(tmp_path / "run")[0]


def test_the_last_block_of_the_original_stays_as_it_is(videos: Path, tmp_path: Path) -> None:
    """Its loss does not reach that block and the final norm: with `legacy` their bits stay, those of all others change."""
    file = original(path := tmp_path / "mask_pt.pth", videos)
    settings: dict[str, Any] = {"model": {"weights": str(path), "drop_path": 0.0}, "teacher": NO_FILE}
    for name, more in (("ema", {"ema": 0.9}), ("bf16", {"ema": None})):
        precision = {"precision": "bf16"} if name == "bf16" else {}
        config = tiny_masked(
            videos, tmp_path / name, align={"legacy": True}, **settings, optim=more, run={**precision, "max_steps": 3}
        )
        pretrain(config, teacher=OtherTeacher(dim=WIDTH))
        begun = config.model_copy(update={"run": config.run.model_copy(update={"max_steps": None})})
        pretrain(begun, teacher=OtherTeacher(dim=WIDTH))  # resumed
        made = weights(tmp_path / name)
        same = {key for key in file if torch.equal(made[key], file[key])}
        assert same == {key for key in file if key.startswith(("layers.1.", "norm_f."))}
        assert STARTED_FROM not in past(tmp_path / name / "last.safetensors")  # the file says nothing of itself


@pytest.mark.parametrize("legacy", [False, True])
def test_a_clip_of_transformers_teaches(legacy: bool, videos: Path, tmp_path: Path) -> None:
    """Its grid has every frame; a run that is interrupted goes on with it."""
    pytest.importorskip("transformers")
    from tests.models.towers import save_tower

    tower = save_tower(tmp_path / "clip", image_size=32)
    settings: dict[str, Any] = {"model": {"tubelet_size": 1}, "teacher": {"weights": str(tower)}}
    for steps in (3, None):
        run = {"max_steps": steps}
        trained = pretrain(tiny_masked(videos, tmp_path / "run", align={"legacy": legacy}, **settings, run=run))
    assert trained.progress.step == 6
    assert weights(tmp_path / "run")["clip_decoder.0.head.weight"].shape == (40, 16)
    info = past(trained.best)
    assert info["teacher"]["name"] == str(tower) and info["align"]["legacy"] == legacy


# What a supervised run makes of the result


@pytest.fixture(scope="module")
def pretrained(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return pretrain(tiny_masked(videos, tmp_path_factory.mktemp("pretrained") / "run"))


def past(path: Path) -> Mapping[str, Any]:
    return read_bundle_metadata(path).info


def test_the_result_says_how_it_was_made(pretrained: Trained, videos: Path) -> None:
    info = past(pretrained.last)
    assert (info["task"], info["steps"], info["mask"]) == ("pretraining", 6, {"name": "attention", "ratio": 0.5})
    assert info["align"]["layers"] == 1 and info["align"]["legacy"] is False
    teacher = info["teacher"]
    assert teacher["name"] == str(videos.parent / "teacher.safetensors") and len(teacher["digest"]) == 32
    assert str(info["validation"]).startswith("alignment loss ") and STARTED_FROM not in info
    known = f"teacher {teacher['name']} ({teacher['digest'][:8]})"
    assert described_past(info) == f"pretraining (mask attention 0.5, {known}, l2 of the last layer, 6 steps)"


def test_a_past_that_is_not_known_is_said() -> None:
    assert described_past({}) == "training (steps unknown)"
    assert described_past({"task": "regression", "steps": 1}) == "regression (1 step)"


def test_a_supervised_run_begins_with_its_trunk_and_final_norm(
    pretrained: Trained, videos: Path, tmp_path: Path
) -> None:
    for legacy in (False, True):
        model = {"weights": str(pretrained.best), "final_norm": "legacy" if legacy else "file"}
        begun = starting_weights(tiny(videos, tmp_path / str(legacy), model=model))
        file = weights(pretrained.best.parent, "best")
        trunk = {name for name in file if not name.startswith("clip_decoder.")}
        assert begun.keys() == trunk | {"head.weight", "head.bias"} and begun["head.weight"].shape == (len(CLASSES), 16)
        assert all(torch.equal(begun[name], file[name]) for name in trunk)
        assert begun["head.weight"].std() > 0 and not begun["head.bias"].any()


def test_its_features_are_those_of_the_trunk(pretrained: Trained, videos: Path) -> None:
    opened = open_pretrained(str(pretrained.last), needs_head=False)
    file = weights(pretrained.last.parent)
    assert all(torch.equal(value, file[name]) for name, value in opened.model.state_dict().items())
    vector = Embedder.from_pretrained(pretrained.last)(next(videos.glob("*/*.mp4"))).data
    assert vector.shape == (16,) and vector.isfinite().all()


def test_pretraining_goes_on_from_its_own_weights(pretrained: Trained, videos: Path, tmp_path: Path) -> None:
    config = tiny_masked(videos, tmp_path / "run", model={"weights": str(pretrained.last)})
    begun, file = starting_weights(config), weights(pretrained.last.parent)
    assert begun.keys() == file.keys() and all(torch.equal(begun[name], file[name]) for name in file)


def test_decoders_of_other_layers_are_new(pretrained: Trained, videos: Path, tmp_path: Path) -> None:
    """The file's only decoder is that of the last layer; here the last is the second of two."""
    settings: dict[str, Any] = {"model": {"weights": str(pretrained.last)}, "align": {"layers": 2}}
    wide = write_teacher(tmp_path / "teacher.safetensors", depth=2)
    begun = starting_weights(tiny_masked(videos, tmp_path / "run", teacher={"weights": str(wide)}, **settings))
    file = weights(pretrained.last.parent)
    assert torch.equal(begun["norm_f.weight"], file["norm_f.weight"])
    for i in range(2):
        assert not torch.equal(begun[f"clip_decoder.{i}.head.weight"], file["clip_decoder.0.head.weight"])


def test_the_past_is_carried_over_generations_and_interruptions(
    pretrained: Trained, videos: Path, tmp_path: Path
) -> None:
    first = shutil.copy(pretrained.last, tmp_path / "pretrained.safetensors")
    out = tmp_path / "tuned"
    for steps in (3, None):
        make_run(tiny(videos, out, model={"weights": str(first)}, run={"max_steps": steps}))
        Path(first).unlink(missing_ok=True)  # a resumed run has it from its start
    info, before = past(out / "last.safetensors"), past(pretrained.last)
    assert info["task"] == "classification" and "trained_on" not in info[STARTED_FROM]
    assert {key: before[key] for key in info[STARTED_FROM]} == info[STARTED_FROM]
    assert info[STARTED_FROM].keys() >= {"task", "mask", "align", "teacher", "steps", "epochs", "validation"}
    again = make_run(tiny(videos, tmp_path / "again", model={"weights": str(out / "last.safetensors")}))
    found = past(again.last)
    assert found[STARTED_FROM][STARTED_FROM] == info[STARTED_FROM]
    supervised = "classification (6 steps)"
    assert described_past(found) == f"{described_past(before)}, then {supervised}, then {supervised}"


def test_the_report_of_fine_tuning_names_it(pretrained: Trained, videos: Path, tmp_path: Path) -> None:
    tuned = finetune(videos, tmp_path / "run", weights=str(pretrained.best), epochs=1, device="cpu")
    page = tuned.report.read_text()
    assert "pretraining (mask attention 0.5, teacher " in page and "6 steps), then classification (1 step)" in page
    assert past(tuned.model)[STARTED_FROM]["task"] == "pretraining"
