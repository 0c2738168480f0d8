"""One preset of each kind makes two steps, at a reduced size, by the recipe itself, on random clips instead of files.

The other presets differ from these in numbers only; that each builds, with its optimiser, is shown in test_presets.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pytest
import torch

from tests.recipes.runs import make_run
from videomamba import create_model
from videomamba.data.loading.dataset import Batch, EvaluationBatch, Masking
from videomamba.recipes import alignment, pretrain, testing, videos
from videomamba.recipes.config import DistillConfig, RecipeConfig, check_config
from videomamba.recipes.presets import preset
from videomamba.recipes.pretrain_config import PretrainConfig, check_pretrain
from videomamba.schema import ClassLabel, Number, Preprocess, Symmetries, VideoRecord, VideoSet
from videomamba.training.step import Losses, Stepper, StepResult
from videomamba.weights.bundle import save_bundle

KINDS = (
    "in1k-tiny-224",  # images, from scratch, clipped gradients, v0
    "in1k-small-448",  # images, repeated samples, RandAugment
    "k400-middle-mask-f64-384",  # layer decay, mixing, two clips of each video
    "ssv2-small-f8",  # TSN sampling, no flips
    "lvu-view-count-windows",  # regression, no mixing
    "synthetic-actions",  # from scratch, EMA, tubelets, symmetries
    "camera-motion",  # from scratch, EMA, tubelets, symmetries
    "in1k-middle-224-distilled",  # a teacher, clipped gradients, repeated samples
    "k400-middle-f8-distilled",  # a teacher, two clips of each video
    "ssv2-small-mask-pt-f8",  # masks by the attention of a teacher, no classes
)
NUM_CLASSES = 6
VIDEOS = 4
TOUCHED = {"patch_embed.proj.weight", "layers.0.mixer.in_proj.weight", "head.weight", "head.bias"}
MASKED = {"patch_embed.proj.weight", "clip_decoder.0.head.weight", "clip_decoder.0.norm.bias"}
"""Parameters that every step changes, whatever drop path leaves out."""


class Loader:
    """Random clips where a loader of videos would be: two steps of two micro-batches, and a block to evaluate."""

    steps_per_epoch, waited = 2, 0.0

    def __init__(self, video_set: VideoSet, *, preprocess: Preprocess, **settings: Any) -> None:
        self.video_set, self.shape = video_set, (3, preprocess.num_frames, *preprocess.image_size)
        self.repeats = settings["augmentation"].repeats if "augmentation" in settings else 1
        self.mask, self.grid = settings.get("mask"), settings.get("grid")

    def epoch(self, epoch: int, first_step: int) -> Iterator[list[Batch]]:
        generator = torch.Generator().manual_seed(epoch)
        for _ in range(first_step, self.steps_per_epoch):
            yield [self._batch(range(i, i + VIDEOS // 2), generator) for i in (0, VIDEOS // 2)]

    def _batch(self, videos: Iterable[int], generator: torch.Generator) -> Batch:
        records = tuple(video for video in videos for _ in range(self.repeats))
        known = [self.video_set.records[record] for record in records]
        labels, targets = [record.label for record in known], [record.target for record in known]
        regression = self.video_set.regression
        masks: dict[str, torch.Tensor] = {}
        if self.mask is not None:
            drawn = np.random.default_rng(records[0])
            masking = Masking(self.mask, self.grid)
            masks = masking.of_batch([masking.draw(drawn) for _ in records])
        return Batch(
            video=torch.randn(len(records), *self.shape, generator=generator),
            labels=None if self.video_set.task != "classification" else torch.tensor(labels),
            targets=torch.tensor(targets) if regression else None,
            records=records,
            failures=(),
            planned=len(records),
            **masks,
        )

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[EvaluationBatch]:
        yield EvaluationBatch(torch.zeros(VIDEOS, *self.shape), tuple(range(VIDEOS)), ())

    def close(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


def reduced(name: str, out: Path) -> RecipeConfig:
    """The preset with its own recipe, but a small network, small clips, small batches and no weights to begin with."""
    config = preset(name).config
    reference = round(config.optim.lr_reference * VIDEOS / config.optim.batch_size)  # the rates of the full batch
    changes: dict[str, dict[str, Any]] = {
        "model": {"weights": None, "depth": 2, "dim": 16},
        "clip": {"num_frames": min(config.clip.num_frames, 2 * config.model.tubelet_size), "image_size": (32, 32)},
        "data": {"root": out, "cache": None},
        "optim": {"batch_size": VIDEOS, "lr_reference": reference, "epochs": 1, "warmup_epochs": 0},
        "run": {"out": out, "micro_batch": VIDEOS // 2, "device": "cpu"},
    }
    if isinstance(config, DistillConfig | PretrainConfig):
        changes["teacher"] = {"weights": str(out / "teacher.safetensors")}
        teach(out / "teacher.safetensors", Preprocess(**changes["clip"]))
    parts = {key: getattr(config, key).model_copy(update=values) for key, values in changes.items()}
    return type(config).model_validate(config.model_copy(update=parts).model_dump())


def teach(path: Path, clip: Preprocess) -> None:
    """Writes a narrower network."""
    fields = {"num_frames": clip.num_frames, "image_size": clip.image_size, "num_classes": NUM_CLASSES}
    save_bundle(path, create_model("videomamba_small", depth=1, dim=8, **fields), clip)


@pytest.mark.parametrize("name", KINDS)
def test_two_steps(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = reduced(name, tmp_path)
    pretraining = isinstance(config, PretrainConfig)
    (check_pretrain if pretraining else check_config)(config)  # type: ignore[arg-type]
    regression = config.data.task in ("like_ratio", "view_count")
    known = [Number(i / 4) if regression else ClassLabel(i % NUM_CLASSES) for i in range(VIDEOS)]
    records = [VideoRecord(f"{i}.mp4", None if pretraining else known[i]) for i in range(VIDEOS)]
    labels = () if regression or pretraining else tuple(f"class {i}" for i in range(NUM_CLASSES))
    identity = tuple(range(len(labels)))
    video_set = VideoSet(name, tuple(records), labels, Symmetries(identity, identity, identity))
    results: list[StepResult] = []
    changed: list[set[str]] = []
    step = Stepper.step

    def watched(self: Stepper, batches: list[Batch], losses_of: Losses[Batch], *, planned: int) -> StepResult:
        before = {name: weight.detach().clone() for name, weight in self.masters.named_parameters()}
        results.append(step(self, batches, losses_of, planned=planned))
        changed.append({n for n, weight in self.masters.named_parameters() if not torch.equal(weight, before[n])})
        return results[-1]

    for module in (videos, pretrain):
        monkeypatch.setattr(module, "read_dataset", lambda *_, **__: video_set)
    monkeypatch.setattr(videos, "TrainLoader", Loader)
    for module in (testing, alignment):
        monkeypatch.setattr(module, "EvaluationLoader", Loader)
    monkeypatch.setattr(Stepper, "step", watched)
    assert make_run(config).progress.step == 2
    assert [math.isfinite(result.loss) and result.verdict.finite for result in results] == [True, True]
    assert [result.samples for result in results] == [VIDEOS * config.augment.repeats] * 2
    assert all(changes >= (MASKED if pretraining else TOUCHED) for changes in changed)
