"""What a run starts from, and which changes it may be resumed with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.recipes.runs import CLASSES, tiny
from videomamba import create_model
from videomamba.data.sets.fingerprint import facts
from videomamba.recipes.config import TrainConfig
from videomamba.recipes.load import to_yaml
from videomamba.recipes.start import build_model, check_same_data, check_same_run
from videomamba.schema import ClassLabel, Number, VideoMambaError, VideoRecord, VideoSet
from videomamba.weights.bundle import save_bundle

HERE, FILE = Path("run"), Path("file")


def video_set(*labels: str, number: int = 4) -> VideoSet:
    known = ClassLabel(0) if labels else Number(0.5)
    return VideoSet("train", tuple(VideoRecord(f"{i}.mp4", known) for i in range(number)), labels)


def weights(path: Path, *labels: str, classes: int = 3, task: str = "classification") -> str:
    config = tiny(HERE, HERE)
    torch.manual_seed(1)
    model = create_model("videomamba_micro", **{**config.network(), "num_classes": classes})  # type: ignore[arg-type]
    return str(save_bundle(path, model, config.clip, labels, {"task": task}))


def begun(tmp_path: Path, source: str, data: VideoSet, **model: object) -> tuple[dict[str, torch.Tensor], str]:
    """The starting weights, and which of them are those of the file."""
    config = tiny(tmp_path, tmp_path, model={"weights": source, **model})
    network, report = build_model(config, data, fresh=True)
    assert report is not None
    return dict(network.state_dict()), str(report)


@pytest.mark.parametrize(
    ("theirs", "ours", "rows"),
    [
        (CLASSES, CLASSES, [0, 1, 2]),
        ((), CLASSES, [0, 1, 2]),
        (CLASSES, ("class_0", "class_1", "class_2"), [0, 1, 2]),  # of a list that has numbers
        (CLASSES, ("bend", "turn", "jump"), [0, 2, 1]),
        (CLASSES, ("turn", "jump"), [2, 1]),
        ((), ("turn", "jump"), None),
        (CLASSES, ("walk", "jump", "turn"), None),
        (CLASSES, (), None),
    ],
)
def test_the_head_goes_on_where_the_classes_are_the_same(
    theirs: tuple[str, ...], ours: tuple[str, ...], rows: list[int] | None, tmp_path: Path
) -> None:
    source = weights(tmp_path / "a.safetensors", *theirs)
    torch.manual_seed(1)
    file = create_model("videomamba_micro", **{**tiny(HERE, HERE).network(), "num_classes": 3}).state_dict()
    found, _ = begun(tmp_path, source, video_set(*ours))
    assert torch.equal(found["layers.0.mixer.in_proj.weight"], file["layers.0.mixer.in_proj.weight"])
    assert found["head.weight"].shape == (len(ours) or 1, 16)
    for name in ("head.weight", "head.bias"):
        taken = rows is not None and torch.equal(found[name], file[name][rows])
        assert taken == (rows is not None) or not file[name].any()


def test_one_number_is_not_one_class(tmp_path: Path) -> None:
    number = weights(tmp_path / "number.safetensors", classes=1, task="regression")
    single = weights(tmp_path / "class.safetensors", "bend", classes=1)
    heads = {name: begun(tmp_path, name, video_set())[0]["head.weight"] for name in (number, single)}
    torch.manual_seed(1)
    file = create_model("videomamba_micro", **{**tiny(HERE, HERE).network(), "num_classes": 1}).state_dict()
    assert torch.equal(heads[number], file["head.weight"]) and not torch.equal(heads[single], file["head.weight"])


def test_a_head_of_a_plain_file_goes_on_too(tmp_path: Path) -> None:
    for outputs, data in ((3, video_set(*CLASSES)), (1, video_set())):
        torch.manual_seed(1)
        model = create_model("videomamba_micro", **{**tiny(HERE, HERE).network(), "num_classes": outputs})
        file = {f"module.{key}": value for key, value in model.state_dict().items()}
        torch.save(file, tmp_path / "plain.pth")
        found, _ = begun(tmp_path, str(tmp_path / "plain.pth"), data)
        assert torch.equal(found["head.weight"], file["module.head.weight"])


@pytest.mark.parametrize("choice", ["file", "legacy"])
def test_the_final_norm_after_masked_pretraining(choice: str, tmp_path: Path) -> None:
    model = create_model("videomamba_micro", **{**tiny(HERE, HERE).network(), "num_classes": 0})
    tensors = dict(model.state_dict())
    tensors["norm.weight"] = 2 * tensors.pop("norm_f.weight")
    torch.save(tensors, source := tmp_path / "mask_pt.pth")
    found, report = begun(tmp_path, str(source), video_set(*CLASSES), final_norm=choice)
    assert torch.equal(found["norm_f.weight"], torch.full((16,), 2.0 if choice == "file" else 1.0))
    assert ("missing 1: norm_f.weight" in report) == (choice == "legacy")


def test_longer_clips_resize_the_positions(tmp_path: Path) -> None:
    source = weights(tmp_path / "a.safetensors", *CLASSES)
    config = tiny(tmp_path, tmp_path, model={"weights": source}, clip={"num_frames": 8, "image_size": (48, 48)})
    network, report = build_model(config, video_set(*CLASSES), fresh=True)
    assert report is not None and {entry.model_key for entry in report.resized} == {
        "pos_embed",
        "temporal_pos_embedding",
    }
    assert all(tensor.isfinite().all() for tensor in network.state_dict().values())


def test_a_run_that_goes_on_does_not_look_for_weights(tmp_path: Path) -> None:
    config = tiny(tmp_path, tmp_path, model={"weights": str(tmp_path / "gone.safetensors")})
    assert build_model(config, video_set(*CLASSES), fresh=False)[1] is None
    with pytest.raises(VideoMambaError, match=r"gone\.safetensors") as caught:
        build_model(config, video_set(*CLASSES), fresh=True)
    assert "\n" not in str(caught.value)


def changed(**sections: dict[str, Any]) -> TrainConfig:
    return tiny(HERE, HERE, **sections)


@pytest.mark.parametrize(
    "free",
    [
        {"run": {"keep": 7, "device": "auto", "strategy": "ddp", "checkpoint_minutes": 3, "micro_batch": 2}},
        {"run": {"out": "elsewhere", "max_steps": 3, "tensorboard": True, "evaluate_every": 2, "resume": False}},
        {"data": {"root": "moved", "workers": 4, "on_error": "skip"}},
        {"eval": {"views": "4x3", "weights": "last"}},
    ],
    ids=str,
)
def test_what_changes_no_weight_may_change(free: dict[str, Any]) -> None:
    check_same_run(changed(**free), to_yaml(changed()), FILE)


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("run", "seed", 5),
        ("run", "precision", "bf16"),
        ("optim", "lr", 0.5),
        ("optim", "epochs", 3),
        ("optim", "betas", (0.9, 0.98)),
        ("model", "drop_path", 0.3),
        ("model", "weights", "videomamba_tiny_k400_f32_224"),
        ("clip", "num_frames", 8),
        ("augment", "mixup", 0.1),
        ("data", "val_fraction", 0.3),
        ("data", "split_seed", 1),
        ("data", "cache_frames", 4),
    ],
)
def test_what_makes_another_run_is_named(section: str, name: str, value: object) -> None:
    with pytest.raises(VideoMambaError) as caught:
        check_same_run(changed(**{section: {name: value}}), to_yaml(changed()), Path("step_00000003.pt"))
    text = str(caught.value)
    assert text.startswith(f"step_00000003.pt: belongs to a run with {section}.{name} ") and "\n" not in text
    assert text.endswith("; choose another folder, the same settings to resume it, or --fresh to replace it")


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        (video_set("a", "b", number=5), "belongs to a run of 4 training videos, not 5 (4.mp4 is new); "),
        (video_set("a", "c"), "belongs to a run of 2 classes, not 2 ('b' is in one of them only); "),
        (video_set("b", "a"), "belongs to a run of 2 classes, not 2 (their order differs); "),
        (video_set(), "belongs to a run of 2 classes, not 0 ('a' is in one of them only); "),
    ],
)
def test_other_data_are_another_run(now: VideoSet, reason: str) -> None:
    before = facts(video_set("a", "b"))
    check_same_data(video_set("a", "b"), before, FILE)
    with pytest.raises(VideoMambaError) as caught:
        check_same_data(now, before, FILE)
    assert str(caught.value).startswith(f"file: {reason}choose another folder")


def test_kept_frames_are_other_pixels_wherever_they_are_kept() -> None:
    kept = to_yaml(changed(data={"cache": "here"}))
    check_same_run(changed(data={"cache": "there"}), kept, FILE)
    with pytest.raises(VideoMambaError, match=r"data\.cache a folder, not None"):
        check_same_run(changed(), kept, FILE)
