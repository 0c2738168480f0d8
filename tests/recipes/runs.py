"""Small runs: a few tiny videos, a network of two narrow blocks, and what a run leaves behind."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Self

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.video.clips import Recipe, draw, encode
from videomamba import create_model
from videomamba.cli import main
from videomamba.data.loading.dataset import Batch, TrainClips
from videomamba.data.sets.annotations import read_dataset
from videomamba.data.settings import DataSettings
from videomamba.models.teacher import TeacherOutput
from videomamba.recipes import bundles
from videomamba.recipes.classify import train
from videomamba.recipes.config import DistillConfig, RecipeConfig, TrainConfig
from videomamba.recipes.distill import distill
from videomamba.recipes.load import to_yaml
from videomamba.recipes.pretrain import pretrain
from videomamba.recipes.pretrain_config import PretrainConfig
from videomamba.recipes.questions import train_questions
from videomamba.recipes.text import bundles as text_bundles
from videomamba.recipes.text import questions_start
from videomamba.recipes.text.config import VideoTextTrainConfig
from videomamba.recipes.text.questions_config import QuestionsConfig
from videomamba.recipes.video_text import train_video_text
from videomamba.schema import Preprocess, VideoMambaError
from videomamba.training.run import Trained
from videomamba.training.step import Stepper
from videomamba.training.tracking import read_metrics
from videomamba.weights.bundle import save_bundle

CLASSES = ("bend", "jump", "turn")
_RECIPE = Recipe(".mp4", "libx264", {"preset": "ultrafast"}, size=(32, 48))
_MODEL = {"name": "videomamba_micro", "depth": 2, "dim": 16, "tubelet_size": 2, "pool": "mean", "init": "fan_in"}

AUGMENTED = {
    "repeats": 2,
    "auto_augment": "rand-m5-n2-mstd0.25-inc1",
    "erase": 0.25,
    "mixup": 0.8,
    "cutmix": 1.0,
    "label_smoothing": 0.1,
}
"""Everything that draws."""


def write_videos(root: Path, *, each: int = 5) -> Path:
    """A folder per class of CLASSES with `each` videos of six frames; of a class of 5, one is held out."""
    for label, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for i in range(each):
            pictures = [draw(100 * label + 10 * i + frame, _RECIPE.size) for frame in range(6)]
            encode(root / name / f"{i}.mp4", _RECIPE, pictures=pictures)
    return root


def tiny(root: Path, out: Path, **sections: dict[str, Any]) -> TrainConfig:
    """Six steps of 4 videos in two epochs, with every generator in use; `sections` changes settings."""
    return TrainConfig.model_validate(_settings(root, out, sections))


def tiny_distilled(root: Path, out: Path, **sections: dict[str, Any]) -> DistillConfig:
    """The steps of `tiny`, with a teacher of one narrower block, whose weights lie beside the videos."""
    settings = {"teacher": {"weights": str(write_teacher(root.parent / "teacher.safetensors"))}}
    for name, values in sections.items():
        settings.setdefault(name, {}).update(values)
    return DistillConfig.model_validate(_settings(root, out, settings))


def tiny_masked(root: Path, out: Path, **sections: dict[str, Any]) -> PretrainConfig:
    """The steps of `tiny` on masked clips, with the teacher of `tiny_distilled` and its attention; nothing is mixed."""
    settings: dict[str, dict[str, Any]] = {
        "teacher": {"weights": str(write_teacher(root.parent / "teacher.safetensors"))},
        "mask": {"name": "attention", "ratio": 0.5},
    }
    for name, values in sections.items():
        settings.setdefault(name, {}).update(values)
    unmixed = {"mixup": 0.0, "cutmix": 0.0, "label_smoothing": 0.0}
    settings["augment"] = {**settings.get("augment", {}), **unmixed}
    return PretrainConfig.model_validate(_settings(root, out, settings))


def tiny_text(root: Path, out: Path, **sections: dict[str, Any]) -> VideoTextTrainConfig:
    """The steps of `tiny` with two captions for each video, all four losses, and the teacher and mask of `tiny_masked`.

    Wrong pairs are drawn among two videos, so that it does not matter how many share a forward pass; the text tower drops
    out if drop path does.
    """
    lists = write_captions(root)
    settings: dict[str, dict[str, Any]] = {
        "data": {"train": lists["train"], "val": lists["val"]},
        "teacher": {"weights": str(write_teacher(root.parent / "teacher.safetensors"))},
        "mask": {"name": "attention", "ratio": 0.5},
        "objectives": {"align": 1.0, "negatives": 2},
        "text": {**TEXT_TOWER, "learn_vocabulary": 64},
    }
    for name, values in sections.items():
        settings.setdefault(name, {}).update(values)
    if settings.get("model", {}).get("drop_path") == 0.0:
        settings["text"]["dropout"] = 0.0
    unmixed = {"mixup": 0.0, "cutmix": 0.0, "label_smoothing": 0.0}
    settings["augment"] = {**settings.get("augment", {}), **unmixed}
    return VideoTextTrainConfig.model_validate(_settings(root, out, settings))


TEXT_TOWER = {"dim": 16, "depth": 3, "heads": 2, "hidden_dim": 32, "fusion_from": 2, "embed_dim": 8}


def write_captions(root: Path) -> dict[str, Path]:
    """Lists beside the folder `root` with two captions for each video, in the order and the splits of its classes."""
    lists = {split: root.parent / f"{root.name}-{split}.json" for split in ("train", "val")}
    for split, path in lists.items():
        rows = []
        for record in read_dataset(DataSettings(root=root), split).records:
            video = Path(record.path)
            number = ("first", "second", "third", "fourth", "fifth")[int(video.stem)]
            texts = [f"the {number} person to {video.parent.name}", f"{video.parent.name} for the {number} time"]
            rows.append({"video": str(video.relative_to(root)), "caption": texts})
        path.write_text(json.dumps(rows))
    return lists


def tiny_questions(root: Path, out: Path, **sections: dict[str, Any]) -> QuestionsConfig:
    """The steps of `tiny` with a question about each of its videos. The text towers drop out if drop path does."""
    lists = {split: write_questions(root, split) for split in ("train", "val")}
    settings: dict[str, dict[str, Any]] = {
        "data": {"train": lists["train"], "val": lists["val"]},
        "text": {"dim": 16, "depth": 3, "heads": 2, "fusion_from": 1, "learn_vocabulary": 80},
    }
    for name, values in sections.items():
        settings.setdefault(name, {}).update(values)
    if settings.get("model", {}).get("drop_path") == 0.0:
        settings["text"]["dropout"] = 0.0
    unmixed = {"mixup": 0.0, "cutmix": 0.0, "label_smoothing": 0.0}
    settings["augment"] = {**settings.get("augment", {}), **unmixed}
    return QuestionsConfig.model_validate(_settings(root, out, settings))


def write_questions(root: Path, split: Literal["train", "val"]) -> Path:
    """A list of a question about each video of a split of `root`, in its order, with one to three answers."""
    path = root.parent / f"{root.name}_{split}.json"
    if not path.exists():
        video_set = read_dataset(DataSettings(root=root), split)
        questions = [
            {
                "video": os.path.relpath(record.path, root),
                "question": ("What do they do?", "What happens here?")[number % 2],
                "answer": [CLASSES[record.label or 0]] * 2 + ["a move"] if number % 3 else CLASSES[record.label or 0],
            }
            for number, record in enumerate(video_set.records)
        ]
        path.write_text(json.dumps(questions))
    return path


def write_teacher(path: Path, *, depth: int = 1) -> Path:
    """The weights of a network on the grid of `tiny`, drawn once."""
    if not path.exists():
        clip = Preprocess(num_frames=4, image_size=(32, 32))
        torch.manual_seed(9)
        fields = {"num_classes": len(CLASSES), "num_frames": 4, "image_size": 32, "tubelet_size": 2}
        save_bundle(path, create_model("videomamba_micro", depth=depth, dim=8, init="fan_in", **fields), clip, CLASSES)
    return path


class OtherTeacher:
    """A network from elsewhere on the grid of `tiny`: each of its layers multiplies the pixels of a patch by a matrix.

    It attends to patches with large values, with `attends`; `asked` has the layers of every call.
    """

    def __init__(self, *, dim: int = 8, depth: int = 2, attends: bool = True) -> None:
        self.name, self.dim, self.depth, self.grid = "somebody's", dim, depth, (2, 2, 2)
        generator = torch.Generator().manual_seed(0)
        self._weights = torch.randn(depth, 3 * 2 * 16 * 16, dim, generator=generator)
        self._attends = attends
        self.asked: list[list[int]] = []

    def __call__(self, video: Tensor, *, layers: Sequence[int] = (-1,), attention: bool = False) -> TeacherOutput:
        self.asked.append([*layers])
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            patches = video.float().unfold(2, 2, 2).unfold(3, 16, 16).unfold(4, 16, 16).permute(0, 2, 3, 4, 1, 5, 6, 7)
            pixels = patches.reshape(len(video), 8, -1)
            tokens = torch.stack([torch.cat((pixels.mean(1, True), pixels), 1) @ self._weights[i] for i in layers])
            row = pixels.abs().mean(2).reshape(-1, 2, 4) if attention and self._attends else None
        return TeacherOutput(tokens, row)

    def to(self, device: str | torch.device) -> Self:
        self._weights = self._weights.to(device)
        return self


def starting_weights(config: RecipeConfig, **named: Any) -> dict[str, Tensor]:
    """Those of the run of `config` before its first step, which is not made."""
    found: dict[str, Tensor] = {}

    def look(self: Stepper, *_: object, **__: object) -> None:
        found.update({name: tensor.clone() for name, tensor in self.masters.state_dict().items()})
        raise Killed

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Stepper, "step", look)
        make_run(config, **named)
    return found


def _settings(root: Path, out: Path, sections: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    settings: dict[str, dict[str, Any]] = {
        "model": {**_MODEL, "drop_path": 0.2},
        "clip": {"num_frames": 4, "image_size": (32, 32)},
        "data": {"root": root, "workers": 0},
        "augment": {**AUGMENTED},
        "optim": {"epochs": 2, "batch_size": 4, "lr": 2e-3, "lr_reference": 0, "warmup_epochs": 0.5, "ema": 0.9},
        "run": {"out": out, "device": "cpu", "checkpoint_minutes": 0, "evaluate_every": 0},
    }
    for name, values in sections.items():
        settings.setdefault(name, {}).update(values)
    return settings


@dataclass(frozen=True)
class RecipeRuns:
    """The small runs of one recipe: `tiny(videos, out, **sections)` makes settings, `command` is that of the command line.

    `saves` are module and name of the function that writes a weights file; `number` is that of the validation which the record
    of an epoch has, where `videomamba evaluate` does not measure the network; `shards`: whether it runs with fsdp;
    `rounding`: the difference that products in bf16 may make.
    """

    command: str
    kind: type[RecipeConfig]
    recipe: Callable[..., Trained]
    tiny: Callable[..., Any]
    saves: tuple[ModuleType, str] = (bundles, "save_bundle")
    number: str | None = None
    shards: bool = True
    rounding: float = 1e-3


RECIPES: Mapping[str, RecipeRuns] = {
    "train": RecipeRuns("train", TrainConfig, train, tiny),
    "distill": RecipeRuns("distill", DistillConfig, distill, tiny_distilled),
    "pretrain": RecipeRuns("pretrain", PretrainConfig, pretrain, tiny_masked, number="val_loss"),
    "text train": RecipeRuns(
        "text train",
        VideoTextTrainConfig,
        train_video_text,
        tiny_text,
        saves=(text_bundles, "save_video_text"),
        number="val_t2v_r1",
        shards=False,
        rounding=2e-2,  # of a loss of 9, some of whose products are divided by 0.07
    ),
    "text train-questions": RecipeRuns(
        "text train-questions",
        QuestionsConfig,
        train_questions,
        tiny_questions,
        saves=(questions_start, "save_questions"),
        number="val_accuracy",
    ),
}
"""The recipes, all of which pass the same tests of resuming and of several processes."""


def recipe_of(config: RecipeConfig) -> RecipeRuns:
    return next(runs for runs in RECIPES.values() if type(config) is runs.kind)


def make_run(config: RecipeConfig, **named: Any) -> Trained:
    """The run of `config` by its recipe."""
    return recipe_of(config).recipe(config, **named)


def weights(out: Path, name: str = "last") -> dict[str, torch.Tensor]:
    return load_file(out / f"{name}.safetensors")


def same_weights(first: Path, second: Path, name: str = "last") -> bool:
    one, other = weights(first, name), weights(second, name)
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def distance(first: Path, second: Path, name: str = "last") -> float:
    """Of the weights that differ most."""
    one, other = weights(first, name), weights(second, name)
    return max((one[key] - other[key]).abs().max().item() for key in one | other)


def losses(out: Path) -> list[tuple[int, float]]:
    return [(record["step"], record["loss"]) for record in read_metrics(out) if record["kind"] == "step"]


def events(out: Path) -> list[str]:
    return [record["message"] for record in read_metrics(out) if record["kind"] == "event"]


def spoilt(load: Callable[..., Any], is_bad: Callable[[int], bool]) -> Callable[..., Any]:
    """`TrainClips.__getitem__`, but the clips of records that are bad are not numbers."""

    def spoil(self: TrainClips, samples: Any) -> Batch:
        batch: Batch = load(self, samples)
        for i, record in enumerate(batch.records):
            if is_bad(record):
                batch.video[i] = torch.nan
        return batch

    return spoil


class Killed(BaseException):
    """Ends a run where it stands: nothing in the library handles it."""


def complaint(config: RecipeConfig) -> str:
    with pytest.raises(VideoMambaError) as caught:
        make_run(config)
    text = str(caught.value)
    assert "\n" not in text
    return text


def at_call(number: int, function: Callable[..., Any], then: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, of whose calls the one with this number, counted from 1, is `then` instead."""
    calls = count(1)
    return lambda *given, **named: (then if next(calls) == number else function)(*given, **named)


def die(*_: object, **__: object) -> None:
    raise Killed


def train_quietly(config: RecipeConfig, log: Path) -> None:
    """`make_run` as the work of another process, its stderr in `log`."""
    _speak_into(log)
    make_run(config)


def train_until_killed(config: RecipeConfig, where: str, log: Path) -> None:
    """Ends this process in the middle of the second checkpoint ("save"), or before that takes its place ("rename")."""
    _speak_into(log)
    saves = count(1)
    save = torch.save

    def half(content: object, path: Path) -> None:
        if next(saves) == 2:
            if where == "save":
                path.write_bytes(b"half of a checkpoint")
                os.kill(os.getpid(), signal.SIGKILL)
            Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment, method-assign]
        save(content, path)

    torch.save = half
    make_run(config)


def train_limited(config: RecipeConfig, size: int, log: Path) -> None:
    """The command line's way to end when the system lets no file grow beyond `size` bytes."""
    _speak_into(log)
    settings = log.with_suffix(".yaml")
    settings.write_text(to_yaml(config))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    main([*recipe_of(config).command.split(), "--config", str(settings)])


def _speak_into(log: Path) -> None:
    with log.open("a") as file:
        os.dup2(file.fileno(), sys.stderr.fileno())
