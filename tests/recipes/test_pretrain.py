"""Masked pretraining: what it computes, minimises and measures, and the line for every mistake."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from tests.recipes.runs import (
    OtherTeacher,
    complaint,
    distance,
    losses,
    same_weights,
    starting_weights,
    tiny_masked,
    write_teacher,
)
from videomamba.data.sets.annotations import read_dataset
from videomamba.data.settings import DataSettings, MaskName
from videomamba.models.masked import MaskedVideoMamba
from videomamba.recipes import pretrain as recipe
from videomamba.recipes.alignment import AlignmentResult, MaskedTest
from videomamba.recipes.load import load, to_yaml
from videomamba.recipes.pretrain import pretrain
from videomamba.recipes.pretrain_config import PretrainConfig, aligned_layers, check_pretrain
from videomamba.schema import VideoMambaError
from videomamba.training.tracking import read_metrics
from videomamba.video.picture import write_png
from videomamba.weights.read import read_weights

PLAIN: dict[str, Any] = {"model": {"drop_path": 0.0}}


def epochs(out: Path, key: str = "loss") -> list[Any]:
    return [record[key] for record in read_metrics(out) if record["kind"] == "epoch"]


@pytest.mark.parametrize("mask", get_args(MaskName))
def test_with_every_mask_the_student_comes_closer_to_its_teacher(
    mask: MaskName, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four of the eight patches are visible: with the class token five tokens go through the blocks, never more."""
    lengths: set[int] = set()
    encode = MaskedVideoMamba.encode

    def watched(self: MaskedVideoMamba, tokens: Tensor, *given: Any, **named: Any) -> Any:
        lengths.add(tokens.shape[1])
        return encode(self, tokens, *given, **named)

    monkeypatch.setattr(MaskedVideoMamba, "encode", watched)
    settings: dict[str, Any] = {**PLAIN, "mask": {"name": mask}, "augment": {"repeats": 1, "auto_augment": ""}}
    settings["optim"] = {"epochs": 6, "lr": 5e-3, "ema": None}
    pretrain(tiny_masked(videos, tmp_path / "run", **settings))
    of_epochs = epochs(tmp_path / "run")
    assert lengths == {5}
    assert 1.5 < of_epochs[0] < 2.5 and of_epochs[-1] < 0.6 * of_epochs[0]


# The teacher


def test_any_network_may_teach_and_several_layers_are_compared(videos: Path, tmp_path: Path) -> None:
    teacher = OtherTeacher(depth=5)
    settings: dict[str, Any] = {"model": {"depth": 3}, "teacher": {"weights": None}}
    settings["align"] = {"layers": 2, "interval": 3.5, "student_interval": 2.0}
    config = tiny_masked(videos, tmp_path / "run", **settings)
    begun = starting_weights(config, teacher=teacher)
    assert {name.rpartition(".head.")[0] for name in begun if ".head." in name} == {"clip_decoder.0", "clip_decoder.1"}
    pretrain(config, teacher=teacher)
    assert {tuple(layers) for layers in teacher.asked} == {(1, 4)}
    assert load(PretrainConfig, tmp_path / "run" / "config.yaml").teacher.weights == "somebody's"
    bundle = read_weights(tmp_path / "run" / "last.safetensors").bundle
    assert bundle is not None and bundle.info["align"] == config.align.model_dump()


def test_a_teacher_without_attention_serves_other_masks_only(videos: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"teacher": {"weights": None}, "run": {"max_steps": 1}}
    with pytest.raises(VideoMambaError) as caught:
        pretrain(tiny_masked(videos, tmp_path / "a", **settings), teacher=OtherTeacher(attends=False))
    assert str(caught.value) == (
        "mask.name: attention follows that of the teacher, and somebody's gives none; choose another mask or teacher"
    )
    settings["mask"] = {"name": "tube"}
    assert (
        pretrain(tiny_masked(videos, tmp_path / "b", **settings), teacher=OtherTeacher(attends=False)).progress.step
        == 1
    )


def test_kept_tokens_of_the_teacher_change_no_bit(videos: Path, tmp_path: Path) -> None:
    still: dict[str, Any] = {"frames": "middle", "crop": "centre", "flip": "off", "auto_augment": "", "erase": 0.0}
    for cache in (False, True):
        pretrain(tiny_masked(videos, tmp_path / str(cache), teacher={"cache": cache}, augment=still))
    assert losses(tmp_path / "False") == losses(tmp_path / "True")
    assert same_weights(tmp_path / "False", tmp_path / "True")
    assert any((tmp_path / "True" / "teacher").iterdir())


# What else a run may have


def test_distances_drop_path_averages_recomputation_and_bf16(videos: Path, tmp_path: Path) -> None:
    """Of the first step, with the same weights, clips and masks."""

    def run(name: str, **sections: dict[str, Any]) -> list[float]:
        found: dict[str, Any] = {"model": {"drop_path": 0.0}, "optim": {"ema": None}, "run": {"max_steps": 3}}
        for section, values in sections.items():
            found[section] = {**found.get(section, {}), **values}
        pretrain(tiny_masked(videos, tmp_path / name, **found))
        return [loss for _, loss in losses(tmp_path / name)]

    plain = run("plain")
    mse, smooth = run("mse", align={"distance": "mse"})[0], run("smooth", align={"distance": "smooth_l1"})[0]
    assert mse == pytest.approx(plain[0] / 8, rel=1e-5)  # the mean over the teacher's 8 channels of what l2 sums
    assert 0.45 * mse < smooth < 0.5 * mse
    dropped = run("dropped", model={"drop_path": 0.5})
    assert dropped != plain
    assert run("again", model={"drop_path": 0.5}, run={"recompute_blocks": 2}) == dropped
    assert run("averaged", optim={"ema": 0.9}) == plain
    assert 0 < distance(tmp_path / "averaged", tmp_path / "plain") < 0.1
    assert run("bf16", run={"precision": "bf16"}) == pytest.approx(plain, abs=2e-2)
    assert run("low", teacher={"precision": "bf16"}) == pytest.approx(plain, abs=2e-2)
    assert (tmp_path / "low" / "best.safetensors").exists()


@pytest.mark.parametrize(
    ("depth", "number", "interval", "expected"),
    [
        (24, 1, 1.0, [23]),
        (12, 3, 1.0, [9, 10, 11]),
        (32, 4, 2.5, [24, 26, 29, 31]),  # 31 - int(0, 2.5, 5, 7.5)
        (2, 2, 1.0, [0, 1]),
        (2, 3, 1.0, "3 layers, every 1, are not in a network of 2 layers"),
        (2, 10**9, 1.0, "1000000000 layers, every 1, are not in a network of 2 layers"),
        (9, 3, 1e308, r"3 layers, every 1e\+308, are not in a network of 9 layers"),
        (12, 2, 0.5, "2 layers, every 0.5, are not in a network of 12 layers"),  # the last one twice
    ],
)
def test_which_layers_are_compared(depth: int, number: int, interval: float, expected: list[int] | str) -> None:
    if isinstance(expected, list):
        assert aligned_layers(depth, number, interval) == expected
        return
    with pytest.raises(ValueError, match=expected):
        aligned_layers(depth, number, interval)


# Validation


def test_the_loss_of_the_validation_is_the_same_twice(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[AlignmentResult] = []

    class Twice(MaskedTest):
        def __call__(self, student: Callable[..., Tensor]) -> AlignmentResult:
            found.append(super().__call__(student))
            assert super().__call__(student) == found[-1]
            return found[-1]

    monkeypatch.setattr(recipe, "MaskedTest", Twice)
    for mask in ("attention", "random"):
        found.clear()
        pretrain(tiny_masked(videos, tmp_path / mask, mask={"name": mask}, run={"evaluate_every": 1}))
        assert len(found) == 2 and found[0] != found[1]
        assert epochs(tmp_path / mask, "val_loss") == [result.loss for result in found]
        assert str(found[0]).startswith("alignment loss ") and str(found[0]).endswith(" of 3 validation videos")


def test_the_best_weights_are_those_with_the_lowest_loss(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = iter([1.5, 0.5, 1.0])

    class Planned(MaskedTest):
        def __call__(self, student: Callable[..., Tensor]) -> AlignmentResult:
            return AlignmentResult(next(planned), 3, 0)

    monkeypatch.setattr(recipe, "MaskedTest", Planned)
    trained = pretrain(tiny_masked(videos, tmp_path / "run", optim={"epochs": 3}, run={"evaluate_every": 1}))
    assert trained.progress.best == -0.5
    for path, ended, loss in ((trained.best, 2, 0.5), (trained.last, 3, 1.0)):
        bundle = read_weights(path).bundle
        assert bundle is not None and bundle.info["epochs"] == ended
        assert bundle.info["validation"] == f"alignment loss {loss:.4f} of 3 validation videos"


def test_validation_videos_that_cannot_be_read_are_counted(videos: Path, tmp_path: Path) -> None:
    root = shutil.copytree(videos, tmp_path / "videos")
    held_out = [Path(record.path) for record in read_dataset(DataSettings(root=root), "val", annotated=False).records]
    for broken, expected in ((1, "2 not read"), (3, "no loss of 3 validation videos, 3 not read")):
        for path in held_out[-broken - 1 :]:
            path.write_text("not a video")
        trained = pretrain(tiny_masked(root, tmp_path / str(broken)))
        bundle = read_weights(trained.last).bundle
        assert bundle is not None and str(bundle.info["validation"]).endswith(expected)
        assert trained.best.exists() == (trained.progress.best is not None) == (broken == 1)


# Data


def test_a_folder_of_videos_without_classes(videos: Path, tmp_path: Path) -> None:
    (root := tmp_path / "flat").mkdir()
    for path in videos.glob("*/*.mp4"):
        shutil.copy(path, root / f"{path.parent.name}-{path.name}")
    trained = pretrain(tiny_masked(root, tmp_path / "run"))
    assert trained.progress.step == 6 and trained.best.exists()


def test_labels_are_not_read(videos: Path, tmp_path: Path) -> None:
    """Lists with and without them, also labels that no supervised run would take, make the same run."""
    paths = sorted(videos.glob("*/*.mp4"))
    for name, label in (("none", ""), ("words", ",somewhere over"), ("many", ",123456")):
        (root := tmp_path / name).mkdir()
        for split, part in (("train", paths[:12]), ("val", paths[12:])):
            (root / f"{split}.csv").write_text("".join(f"{path}{label}\n" for path in part))
        pretrain(tiny_masked(root, root / "run", teacher={"weights": str(videos.parent / "teacher.safetensors")}))
        assert same_weights(root / "run", tmp_path / "none" / "run")


# Mistakes


def test_every_mistake_is_one_line(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"

    def said(**sections: dict[str, Any]) -> str:
        return complaint(tiny_masked(videos, out, **sections))

    text = said(teacher={"weights": None})
    assert text.startswith("teacher.weights: missing; name a CLIP of transformers or a VideoMamba, as in ")
    assert said(teacher={"weights": "gone.safetensors"}).startswith("gone.safetensors: ")
    text = said(model={"tubelet_size": 4}, mask={"ratio": 0.5})
    assert "has a grid of 2x2x2 tokens, the student 1x2x2 " in text and "set model.tubelet_size 2" in text
    (clip := tmp_path / "clip").mkdir()
    assert said(teacher={"weights": str(clip)}).startswith(f"{clip}: has no config.json; ")
    (clip / "config.json").write_text(json.dumps({"model_type": "clip_vision_model"}))
    assert said(teacher={"weights": str(clip)}).startswith(f"{clip}: has no ")
    text = said(align={"legacy": True})
    assert text.startswith("teacher ") and "is a VideoMamba, for which there is no legacy form; " in text
    assert said(align={"legacy": True}, model={"depth": 1}).startswith("align.legacy: needs a network of two blocks")
    assert said(mask={"ratio": 0.01}) == ("mask.ratio: 0.01 of 4 patches masks nothing; give 0 or at least 0.25")
    assert said(model={"num_registers": 2}) == "model.num_registers: masked pretraining has no registers; set it to 0"
    text = said(align={"layers": 3})
    assert text.startswith("align.layers: 3 layers, every 1, are not in a network of 2 layers; lower it or ")
    text = said(align={"layers": 2})
    assert text.startswith("align.interval: the teacher ") and "not in a network of 1 layers; lower it" in text
    text = said(teacher={"cache": True})
    assert text.startswith("teacher.cache: needs clips that are the same in every epoch: ")
    assert not out.exists()


@pytest.mark.parametrize("key", ["mixup", "cutmix", "label_smoothing"])
def test_nothing_mixes_classes_that_are_not_there(key: str, videos: Path, tmp_path: Path) -> None:
    config = tiny_masked(videos, tmp_path / "run")
    augment = config.augment.model_copy(update={key: 0.5})
    text = complaint(config.model_copy(update={"augment": augment}))
    assert text == f"augment.{key}: changes classes, and pretraining has none; set it to 0"


@pytest.mark.parametrize("ratio", ["1", "-1", "much"])
def test_a_share_that_is_none_is_refused_with_its_key(ratio: str, tmp_path: Path) -> None:
    (path := tmp_path / "run.yaml").write_text(f"mask:\n  ratio: {ratio}\n")
    with pytest.raises(VideoMambaError, match=rf"^{path}: mask\.ratio") as caught:
        load(PretrainConfig, path)
    assert "\n" not in str(caught.value)


def test_the_names_of_the_original_are_read(tmp_path: Path) -> None:
    (path := tmp_path / "run.yaml").write_text("mask:\n  name: tube_row\n")
    config = load(PretrainConfig, path)
    assert config.mask.name == "frame-row" and "frame-row" in to_yaml(config)
    path.write_text("mask:\n  name: tubes\n")
    with pytest.raises(VideoMambaError, match="did you mean 'tube'"):
        load(PretrainConfig, path)


def test_a_run_is_checked_without_reading_a_file() -> None:
    with pytest.raises(VideoMambaError, match=r"^data\.root: missing"):
        check_pretrain(PretrainConfig())


def test_folders_of_pictures_are_no_videos_of_one_frame(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(6):
            picture = torch.full((32, 48, 3), 20 * i, dtype=torch.uint8)
            write_png(tmp_path / "pictures" / name / f"{i}.png", picture)
    settings: dict[str, Any] = {"clip": {"num_frames": 1}, "optim": {"batch_size": 1}, "teacher": {"weights": None}}
    config = tiny_masked(tmp_path / "pictures", tmp_path / "run", model={"tubelet_size": 1}, **settings)
    teacher = OtherTeacher()
    teacher.grid = (1, 2, 2)
    with pytest.raises(
        VideoMambaError, match=r"clip.num_frames: is 1, and .*[ab] is read as one video.*data.format imagenet"
    ):
        pretrain(config, teacher=teacher)


@pytest.mark.parametrize("key", ["model", "teacher"])
def test_a_run_does_not_write_over_what_it_starts_or_learns_from(key: str, videos: Path, tmp_path: Path) -> None:
    weights = tmp_path / "run" / "last.safetensors"
    weights.parent.mkdir()
    shutil.copy(write_teacher(videos.parent / "teacher.safetensors"), weights)
    config = tiny_masked(videos, weights.parent, **{key: {"weights": str(weights)}})
    with pytest.raises(VideoMambaError, match=f"run.out: .* would write over {key}.weights .*last.safetensors"):
        pretrain(config, fresh=True)
    assert weights.exists()


def test_a_run_without_a_readable_video_ends(videos: Path, tmp_path: Path) -> None:
    root = tmp_path / "broken"
    shutil.copytree(videos, root)
    for path in root.rglob("*.mp4"):
        path.write_text("not a video")
    config = tiny_masked(root, tmp_path / "run", data={"on_error": "skip"})
    with pytest.raises(VideoMambaError, match=r"epoch 0: none of its videos could be read; check them with"):
        pretrain(config)
