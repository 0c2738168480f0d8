"""Self-distillation: what the teacher changes in a supervised run, and what it leaves as it is."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import pytest
import torch
from torch import Tensor

from tests.recipes.runs import (
    CLASSES,
    Killed,
    at_call,
    complaint,
    die,
    events,
    losses,
    same_weights,
    tiny_distilled,
    weights,
    write_teacher,
)
from videomamba import create_model, from_pretrained
from videomamba.models.teacher import TeacherOutput, VideoMambaTeacher
from videomamba.recipes import teacher_cache
from videomamba.recipes.classify import train
from videomamba.recipes.config import DistillConfig
from videomamba.recipes.distill import distill
from videomamba.recipes.load import load
from videomamba.recipes.supervised import train_and_evaluate
from videomamba.schema import Preprocess, VideoMambaError
from videomamba.training.step import Stepper
from videomamba.training.tracking import read_metrics
from videomamba.weights.bundle import save_bundle
from videomamba.weights.pretrained import open_pretrained
from videomamba.weights.read import read_weights
from videomamba.weights.teachers import open_teacher

CLIP = Preprocess(num_frames=4, image_size=(32, 32))
FIXED: dict[str, Any] = {
    "frames": "middle",
    "crop": "centre",
    "flip": "off",
    "auto_augment": "",
    "erase": 0.0,
    "mixup": 0.0,
    "cutmix": 0.0,
}
"""Nothing is random."""


def test_without_weight_of_the_features_it_is_supervised_training(
    videos: Path, reference: Path, tmp_path: Path
) -> None:
    """Bit for bit: the student starts as the plain network, and the teacher draws nothing."""
    distill(tiny_distilled(videos, tmp_path / "run", distill={"feature_weight": 0.0}))
    assert losses(tmp_path / "run") == losses(reference) and same_weights(tmp_path / "run", reference)


def test_the_features_of_the_student_come_closer_to_those_of_the_teacher(videos: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "distill": {"class_weight": 0.0},
        "optim": {"epochs": 10, "lr": 5e-3, "ema": None},
        "model": {"drop_path": 0.0},
    }
    distill(tiny_distilled(videos, tmp_path / "run", **settings))
    epochs = [record["loss"] for record in read_metrics(tmp_path / "run") if record["kind"] == "epoch"]
    assert 1.5 < epochs[0] < 2.5 and epochs[-1] < 0.5 * epochs[0]


def test_the_result_is_a_plain_network_that_says_who_taught_it(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    config = tiny_distilled(videos, out, distill={"feature_weight": 0.5})
    measured = train_and_evaluate(config)
    plain = create_model("videomamba_micro", **{**config.network(), "num_classes": 3})  # type: ignore[arg-type]
    assert weights(out).keys() == weights(out, "best").keys() == plain.state_dict().keys()
    bundle = read_weights(measured.weights).bundle
    assert bundle is not None and bundle.labels == CLASSES and bundle.info["task"] == "classification"
    assert bundle.info["steps"] == 6 and bundle.info["distill"] == {"class_weight": 1.0, "feature_weight": 0.5}
    teacher = bundle.info["teacher"]
    assert isinstance(teacher, dict) and teacher["name"] == config.teacher.weights and len(teacher["digest"]) == 32
    plain.load_state_dict(weights(out, "best"))
    video = torch.randn(2, 3, 4, 32, 32)
    assert torch.equal(from_pretrained(measured.weights)(video), plain.eval()(video))
    assert "distill_head" not in (out / "config.yaml").read_text()


class Shown:
    """A network of somebody else's that meets the protocol."""

    name, dim, depth, grid = "somebody's", 5, 1, (2, 2, 2)

    def __init__(self) -> None:
        self.network = torch.nn.Linear(3, self.dim)

    def __call__(self, video: Tensor, *, layers: Sequence[int] = (-1,), attention: bool = False) -> TeacherOutput:
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            pixels = video.float().mean(dim=(3, 4)).mean(dim=2)
            tokens = self.network(pixels)[:, None] + torch.arange(9.0)[:, None]
        return TeacherOutput(tokens[None], None)

    def to(self, device: str | torch.device) -> Self:
        self.network.to(device)
        return self


def test_any_network_may_teach_and_its_name_is_recorded(videos: Path, tmp_path: Path) -> None:
    config, teacher = tiny_distilled(videos, tmp_path / "run", teacher={"weights": None}), Shown()
    distill(config, teacher=teacher)
    assert load(DistillConfig, tmp_path / "run" / "config.yaml").teacher.weights == "somebody's"
    bundle = read_weights(tmp_path / "run" / "last.safetensors").bundle
    assert bundle is not None and bundle.info["teacher"] == {
        "name": "somebody's",
        "digest": None,
        "precision": "fp32",
    }
    with pytest.raises(ValueError, match=r"two teachers: the network \"somebody's\" and teacher\.weights 'other'"):
        distill(tiny_distilled(videos, tmp_path / "other", teacher={"weights": "other"}), teacher=teacher)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_teacher_does_not_change(precision: str, videos: Path, tmp_path: Path) -> None:
    path = write_teacher(videos.parent / "teacher.safetensors")
    teacher = open_teacher(path, CLIP, precision=precision)  # type: ignore[arg-type]
    before = {name: tensor.clone() for name, tensor in teacher.network.state_dict().items()}
    config = tiny_distilled(videos, tmp_path / "run", teacher={"precision": precision}, run={"precision": "bf16"})
    distill(config, teacher=teacher)
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.network.state_dict().items())
    assert all(p.grad is None and not p.requires_grad for p in teacher.network.parameters())
    assert not teacher.network.training
    distill(config.model_copy(update={"run": config.run.model_copy(update={"out": tmp_path / "named"})}))
    assert same_weights(tmp_path / "run", tmp_path / "named")


def test_it_starts_from_weights_of_a_plain_network(videos: Path, reference: Path, tmp_path: Path) -> None:
    source = reference / "last.safetensors"
    optim = {"lr": 1e-12, "warmup_lr": 0, "min_lr": 0, "ema": None, "weight_decay": 0}
    distill(tiny_distilled(videos, tmp_path / "run", model={"weights": str(source)}, optim=optim))
    assert all(torch.allclose(tensor, weights(reference)[name]) for name, tensor in weights(tmp_path / "run").items())
    assert "missing 3: distill_head.0.weight" in events(tmp_path / "run")[0]


def test_numbers_are_learnt_with_a_teacher_too(videos: Path, tmp_path: Path) -> None:
    rows = [f"{path},{i / 10}" for i, path in enumerate(sorted(videos.glob("*/*.mp4")))]
    (root := tmp_path / "numbers").mkdir()
    (root / "train.csv").write_text("\n".join(["path,target", *rows]) + "\n")
    unmixed = {"mixup": 0, "cutmix": 0, "label_smoothing": 0}
    trained = distill(tiny_distilled(root, tmp_path / "run", augment=unmixed))
    assert trained.progress.best is not None and open_pretrained(trained.last).regression


def test_supervised_training_does_not_ignore_a_teacher(videos: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a DistillConfig is not for supervised training"):
        train(tiny_distilled(videos, tmp_path / "run"))


# The teacher's tokens on disk


def test_kept_tokens_change_no_bit(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in a run that is killed while it keeps them, goes on, and has nothing kept from then on."""
    computed: list[int] = []
    real = VideoMambaTeacher.__call__

    def counted(self: VideoMambaTeacher, video: Tensor, **named: Any) -> TeacherOutput:
        computed.append(len(video))
        return real(self, video, **named)

    monkeypatch.setattr(VideoMambaTeacher, "__call__", counted)
    shared: dict[str, Any] = {"augment": FIXED, "run": {"micro_batch": 2}}
    distill(tiny_distilled(videos, tmp_path / "plain", **shared))
    assert computed == [1] * 24
    computed.clear()
    distill(tiny_distilled(videos, tmp_path / "kept", teacher={"cache": True}, **shared))
    assert computed == [1] * 12 and len(list((tmp_path / "kept" / "teacher").iterdir())) == 12
    assert losses(tmp_path / "kept") == losses(tmp_path / "plain") and same_weights(
        tmp_path / "kept", tmp_path / "plain"
    )

    out = tmp_path / "killed"
    for owner, name, number in ((teacher_cache, "save_file", 3), (Stepper, "step", 3)):
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(owner, name, at_call(number, getattr(owner, name), die))
            distill(tiny_distilled(videos, out, teacher={"cache": True}, **shared))
    (out / "teacher" / ".left.safetensors.abc").mkdir()
    distill(tiny_distilled(videos, out, **shared, teacher={"cache": True}))
    assert losses(out) == losses(tmp_path / "plain") and same_weights(out, tmp_path / "plain")
    assert len(list((out / "teacher").iterdir())) == 12
    distill(tiny_distilled(videos, out, **shared), fresh=True)
    assert not (out / "teacher").exists() and same_weights(out, tmp_path / "plain")


def test_the_cache_may_be_turned_on_when_a_run_goes_on(videos: Path, tmp_path: Path) -> None:
    distill(tiny_distilled(videos, tmp_path / "run", augment=FIXED, run={"max_steps": 2}))
    distill(tiny_distilled(videos, tmp_path / "run", augment=FIXED, teacher={"cache": True}))
    distill(tiny_distilled(videos, tmp_path / "plain", augment=FIXED))
    assert same_weights(tmp_path / "run", tmp_path / "plain")


# What may be wrong with a teacher


def test_every_mistake_with_a_teacher_is_one_line(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"

    def said(**sections: dict[str, Any]) -> str:
        return complaint(tiny_distilled(videos, out, **sections))

    assert said(teacher={"weights": None}).startswith(
        "teacher.weights: missing; name the teacher, as in --teacher.weights "
    )
    assert said(teacher={"weights": "gone.safetensors"}).startswith("gone.safetensors: ")
    assert "did you mean" in said(teacher={"weights": "videomamba_smal_in1k_224"})
    text = said(model={"tubelet_size": 4})
    assert "has a grid of 2x2x2 tokens, the student 1x2x2 " in text and "set model.tubelet_size 2" in text
    assert said(teacher={"cache": True}).startswith("teacher.cache: needs clips that are the same in every epoch: set ")
    assert said(distill={"class_weight": 0, "feature_weight": 0}).startswith("distill.feature_weight: is 0, as is ")
    assert not out.exists()


def test_a_run_does_not_go_on_with_another_teacher(videos: Path, tmp_path: Path) -> None:
    path = tmp_path / "teacher.safetensors"
    for seed in (1, 2):
        torch.manual_seed(seed)
        fields = {"num_frames": 4, "image_size": 32, "tubelet_size": 2, "num_classes": 3}
        save_bundle(path, create_model("videomamba_micro", depth=1, dim=8, **fields), CLIP)
        config = tiny_distilled(videos, tmp_path / "run", teacher={"weights": str(path)}, run={"max_steps": 3 * seed})
        if seed == 1:
            distill(config)
    text = complaint(config)
    assert text.startswith(f"{tmp_path / 'run'}: belongs to a run whose teacher was another than {path} is now; ")
    moved = shutil.move(path, tmp_path / "moved.safetensors")
    assert "belongs to a run whose teacher was another than " in complaint(
        tiny_distilled(videos, tmp_path / "run", teacher={"weights": str(moved)})
    )
    assert "belongs to a run whose teacher was another than " in complaint(tiny_distilled(videos, tmp_path / "run"))
    path = Path(moved)
    with pytest.raises(VideoMambaError, match=r"teacher\.precision fp32, not bf16"):
        distill(tiny_distilled(videos, tmp_path / "run", teacher={"weights": str(path), "precision": "bf16"}))
