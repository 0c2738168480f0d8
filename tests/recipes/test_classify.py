"""The training recipe: what a seed, a bad video, a bad number and each setting do to a run."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.cli.test_main import run
from tests.recipes.runs import (
    CLASSES,
    Killed,
    at_call,
    complaint,
    die,
    distance,
    events,
    losses,
    same_weights,
    spoilt,
    tiny,
    weights,
)
from videomamba.data.loading.dataset import TrainClips
from videomamba.data.loading.order import epoch_order
from videomamba.data.sets.annotations import read_dataset
from videomamba.recipes import classify
from videomamba.recipes.classify import train
from videomamba.recipes.config import TrainConfig
from videomamba.recipes.load import load
from videomamba.recipes.start import build_model
from videomamba.recipes.testing import Result
from videomamba.schema import VideoError, VideoMambaError
from videomamba.serving.live import watch
from videomamba.serving.predictor import Predictor
from videomamba.serving.timeline import timeline
from videomamba.training.checkpoint import checkpoints, load_checkpoint
from videomamba.training.draws import Draws
from videomamba.training.step import Stepper
from videomamba.training.tracking import read_metrics
from videomamba.video.encode import write_video
from videomamba.weights.read import read_weights

STEPS = 6


def test_the_same_seed_makes_the_same_run_and_another_seed_another(
    videos: Path, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:  # Lightning Fabric is for several processes
        patch.setitem(sys.modules, "lightning_fabric", None)
        trained = train(tiny(videos, tmp_path / "again"))
    train(tiny(videos, tmp_path / "other", run={"seed": 1}))
    assert losses(tmp_path / "again") == losses(reference) and len(losses(reference)) == STEPS
    assert same_weights(tmp_path / "again", reference)
    assert [step for step, _ in losses(tmp_path / "other")] == list(range(1, STEPS + 1))
    assert all(one != other for one, other in zip(losses(tmp_path / "other"), losses(reference), strict=True))
    assert trained.best == tmp_path / "again" / "best.safetensors" and trained.last.name == "last.safetensors"
    assert (trained.progress.epoch, trained.progress.step, trained.progress.step_in_epoch) == (2, STEPS, 0)


# What may be wrong with videos and numbers


@pytest.fixture
def one_broken(videos: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Data of which a training video is broken, and that video."""
    root = shutil.copytree(videos, tmp_path / "broken")
    records = read_dataset(tiny(root, root).data, "train").records
    path = Path(records[epoch_order(len(records), Draws(0).order(0))[-1]].path)  # in the last step of the first epoch
    path.write_text("not a video")
    return root, path


def test_a_broken_video_stops_the_run_which_then_goes_on(
    videos: Path, reference: Path, one_broken: tuple[Path, Path], tmp_path: Path
) -> None:
    root, path = one_broken
    with pytest.raises(VideoError) as caught:
        train(tiny(root, tmp_path / "run"))
    assert caught.value.path == str(path)
    assert len(losses(tmp_path / "run")) == 2
    shutil.copy(videos / path.relative_to(root), path)
    train(tiny(root, tmp_path / "run"))
    assert losses(tmp_path / "run") == losses(reference) and same_weights(tmp_path / "run", reference)


def test_a_broken_video_is_skipped_counted_and_listed(one_broken: tuple[Path, Path], tmp_path: Path) -> None:
    root, path = one_broken
    progress = train(tiny(root, tmp_path / "run", data={"on_error": "skip"}, run={"micro_batch": 1})).progress
    assert list(progress.failed_videos) == [str(path)] and progress.skipped_steps == 0
    told = events(tmp_path / "run")
    assert len(told) == 2 and all(message.startswith(f"skipped {path}: ") for message in told)
    epochs = [record for record in read_metrics(tmp_path / "run") if record["kind"] == "epoch"]
    assert [record["failed_videos"] for record in epochs] == [1, 1]


def test_a_step_without_any_video_changes_nothing(videos: Path, tmp_path: Path) -> None:
    root = shutil.copytree(videos, tmp_path / "broken")
    order = read_dataset(tiny(root, root).data, "train").records
    for record in order:
        Path(record.path).write_text("not a video")
    settings: dict[str, Any] = {"data": {"on_error": "skip"}, "optim": {"ema": None}}
    config = tiny(root, tmp_path / "run", run={"max_steps": 2}, **settings)  # less than an epoch
    progress = train(config).progress
    assert len(progress.failed_videos) == 8 and len(order) == 12
    torch.manual_seed(0)
    model, _ = build_model(config, read_dataset(config.data, "train"), fresh=True)
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in weights(tmp_path / "run").items())
    # No loss was seen: a number here would count in the mean of the epoch.
    assert all(loss != loss for _, loss in losses(tmp_path / "run"))
    # Resumed in the middle of epoch 0, it does not know what was read before.
    with pytest.raises(VideoMambaError, match="epoch 1: none of its videos could be read"):
        train(tiny(root, tmp_path / "run", **settings))


def poisoned(monkeypatch: pytest.MonkeyPatch, is_bad: Callable[[int], bool]) -> None:
    """Clips of the records that are bad come as NaN."""
    monkeypatch.setattr(TrainClips, "__getitem__", spoilt(TrainClips.__getitem__, is_bad))


def finite(out: Path) -> Iterator[bool]:
    """Of every tensor that the run has left."""
    for file in out.glob("*.safetensors"):
        yield from (bool(tensor.isfinite().all()) for tensor in read_weights(file).tensors.values())
    for file in checkpoints(out / "checkpoints"):
        state = load_checkpoint(file)
        moments = [tensor for of_parameter in state.optimizer.values() for tensor in of_parameter.values()]
        for tensor in [*state.model.values(), *(state.ema or {}).values(), *moments]:
            yield bool(tensor.isfinite().all())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_sample_that_is_not_finite_costs_its_steps(
    precision: str, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poisoned(monkeypatch, lambda record: record == 4)
    config = tiny(videos, tmp_path / "run", run={"precision": precision, "keep": 9}, augment={"mixup": 0, "cutmix": 0})
    progress = train(config).progress
    assert (progress.step, progress.skipped_steps) == (STEPS, 2)
    path = read_dataset(config.data, "train").records[4].path
    told = events(tmp_path / "run")
    assert [f": the loss of {path} (and of 1 more) is not finite" in text for text in told] == [True, True]
    skipped = [step for step, loss in losses(tmp_path / "run") if loss != loss]
    assert [text.split(":")[0] for text in told] == [f"skipped step {step}" for step in skipped]
    seen = list(finite(tmp_path / "run"))
    assert len(seen) > 100 and all(seen)


def test_several_steps_in_a_row_stop_the_run(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poisoned(monkeypatch, lambda record: True)
    text = complaint(tiny(videos, tmp_path / "run", run={"max_bad_steps": 3}))
    assert text.startswith("3 steps in a row were not finite, the last because the loss of ")
    assert len(losses(tmp_path / "run")) == 2 and not (tmp_path / "run" / "last.safetensors").exists()
    seen = list(finite(tmp_path / "run"))
    assert len(seen) > 100 and all(seen)


# What the settings do


def test_accumulated_micro_batches_equal_one_batch(videos: Path, tmp_path: Path) -> None:
    plain = {"model": {"drop_path": 0.0}, "optim": {"clip_grad": 0.5}}
    train(tiny(videos, tmp_path / "one", **plain, run={"max_steps": 4}))
    train(tiny(videos, tmp_path / "parts", **plain, run={"max_steps": 4, "micro_batch": 2}))
    assert distance(tmp_path / "one", tmp_path / "parts") < 1e-6
    for (step, one), (other_step, other) in zip(losses(tmp_path / "one"), losses(tmp_path / "parts"), strict=True):
        assert step == other_step and one == pytest.approx(other, abs=1e-6)


def test_recomputed_activations_change_no_weight(videos: Path, reference: Path, tmp_path: Path) -> None:
    train(tiny(videos, tmp_path / "run", run={"recompute_blocks": 9}))
    assert distance(tmp_path / "run", reference) < 1e-6


@pytest.mark.parametrize("optim", [{"clip_grad": 0.01}, {"weight_decay": 5.0}], ids=str)
def test_optimisation_reaches_the_weights(optim: dict[str, Any], videos: Path, reference: Path, tmp_path: Path) -> None:
    train(tiny(videos, tmp_path / "run", optim=optim))
    assert losses(tmp_path / "run")[0] == losses(reference)[0]
    assert distance(tmp_path / "run", reference) > 1e-5


def test_legacy_layer_decay_moves_blocks_at_full_rate(videos: Path, tmp_path: Path) -> None:
    """Of the first block, which correct layer decay slows down; what both slow down is the patch embedding."""
    begin = tiny(videos, tmp_path)
    torch.manual_seed(0)
    fresh, _ = build_model(begin, read_dataset(begin.data, "train"), fresh=True)
    moved: dict[str, dict[str, float]] = {}
    for mode in ("true", "legacy"):
        optim = {"layer_decay": 0.1, "layer_decay_mode": mode, "epochs": 1, "warmup_epochs": 0, "ema": None}
        train(tiny(videos, tmp_path / mode, optim=optim))
        after = weights(tmp_path / mode)
        moved[mode] = {name: (after[name] - old).abs().max().item() for name, old in fresh.state_dict().items()}
    block, embedding, head = "layers.0.mixer.in_proj.weight", "patch_embed.proj.weight", "head.weight"
    assert moved["legacy"][block] > 5 * moved["true"][block] > 0
    assert moved["legacy"][embedding] < moved["legacy"][head] / 50
    assert moved["true"][embedding] < moved["true"][block] < moved["true"][head]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_bundles_hold_the_average_of_the_weights(precision: str, videos: Path, tmp_path: Path) -> None:
    config = tiny(videos, tmp_path / "run", run={"keep": 9, "precision": precision})
    train(config)
    torch.manual_seed(0)
    model, _ = build_model(config, read_dataset(config.data, "train"), fresh=True)
    expected = dict(model.state_dict())
    states = [load_checkpoint(path).model for path in checkpoints(tmp_path / "run" / "checkpoints")]
    assert len(states) == STEPS
    for state in states:
        expected = {name: 0.9 * average + 0.1 * state[name] for name, average in expected.items()}
    for bundle in ("best", "last"):
        found = weights(tmp_path / "run", bundle)
        assert found.keys() == expected.keys()
        assert all(torch.allclose(found[name], expected[name], atol=1e-6) for name in expected)
    assert any((states[-1][name] - expected[name]).abs().max() > 1e-4 for name in expected)


def test_best_is_of_the_epoch_that_validates_best(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Result] = []

    def quality(result: Result) -> float:
        if not asked or asked[-1] is not result:
            asked.append(result)
        return (0.2, 0.9, 0.5)[len(asked) - 1]

    monkeypatch.setattr(classify, "quality", quality)
    config = tiny(videos, tmp_path / "run", optim={"epochs": 3}, run={"evaluate_every": 1, "keep": 9})
    progress = train(config).progress
    assert progress.best == 0.9
    state = load_checkpoint(tmp_path / "run" / "checkpoints" / "step_00000006.pt")
    assert state.ema is not None
    best = weights(tmp_path / "run", "best")
    assert all(torch.equal(best[name], average) for name, average in state.ema.items())
    assert distance(tmp_path / "run", tmp_path / "run") == 0 and not torch.equal(
        best["head.weight"], weights(tmp_path / "run")["head.weight"]
    )


def test_a_bundle_says_what_it_is(videos: Path, reference: Path) -> None:
    bundle = read_weights(reference / "best.safetensors").bundle
    assert bundle is not None and bundle.labels == CLASSES
    assert bundle.preprocess == load(TrainConfig, reference / "config.yaml").clip
    covered = bundle.preprocess.clip_seconds
    assert bundle.preprocess == tiny(videos, reference, clip={"clip_seconds": covered}).clip and covered is not None
    assert bundle.info["task"] == "classification" and bundle.info["steps"] == STEPS
    assert "top-1" in str(bundle.info["validation"]) and "softmax" in str(bundle.info["validation"])
    predictor = Predictor.from_pretrained(reference / "best.safetensors")
    assert predictor(videos / CLASSES[0] / "0.mp4", top=1).top.label in CLASSES


def test_a_run_begins_with_given_weights(videos: Path, reference: Path, tmp_path: Path) -> None:
    source = reference / "last.safetensors"
    optim = {"lr": 1e-12, "warmup_lr": 0, "min_lr": 0, "ema": None, "weight_decay": 0}
    train(tiny(videos, tmp_path / "run", model={"weights": str(source)}, optim=optim))
    assert 0 < distance(tmp_path / "run", reference) < 1e-9 or same_weights(tmp_path / "run", reference)
    assert events(tmp_path / "run")[0]


# Numbers instead of classes


@pytest.fixture
def numbered(videos: Path, tmp_path: Path) -> Path:
    rows = [
        f"{path},{len(name) + i / 10}" for name in CLASSES for i, path in enumerate(sorted((videos / name).iterdir()))
    ]
    (tmp_path / "numbers").mkdir()
    (tmp_path / "numbers" / "train.csv").write_text("\n".join(["path,target", *rows]) + "\n")
    return tmp_path / "numbers"


def test_regression_trains_resumes_and_is_no_classifier(
    numbered: Path, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {
        "augment": {"mixup": 0, "cutmix": 0, "label_smoothing": 0},
        "optim": {"lr": 1e-2, "epochs": 4, "ema": None},
        "run": {"evaluate_every": 1},
    }
    trained = train(tiny(numbered, tmp_path / "run", **settings))
    epochs = [record for record in read_metrics(tmp_path / "run") if record["kind"] == "epoch"]
    assert epochs[-1]["loss"] < epochs[0]["loss"]
    best = min(record["val_mse"] for record in epochs)
    assert trained.progress.best == -best
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Stepper, "step", at_call(5, Stepper.step, die))
        train(tiny(numbered, tmp_path / "again", **settings))
    train(tiny(numbered, tmp_path / "again", **settings))
    assert same_weights(tmp_path / "run", tmp_path / "again", "best")
    with pytest.raises(VideoMambaError) as caught:
        Predictor.from_pretrained(trained.best)
    assert "\n" not in str(caught.value) and str(trained.best) in str(caught.value)


def test_mixing_needs_classes(numbered: Path, tmp_path: Path) -> None:
    assert "augment.mixup" in complaint(tiny(numbered, tmp_path / "run"))


def test_the_length_of_the_clips_travels_with_the_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A preset says ten seconds; these videos have two, and so have the windows of timelines and live streams."""
    for label, name in enumerate(CLASSES):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(3):
            pictures = np.full((12, 32, 48, 3), 20 + 60 * label + 5 * i, np.uint8)
            write_video(tmp_path / "data" / name / f"{i}.mp4", pictures, fps=6)
    film = tmp_path / "film.mp4"
    write_video(film, np.zeros((36, 32, 48, 3), np.uint8), fps=6)
    small = {"optim": {"epochs": 1, "warmup_epochs": 0.0}, "augment": {"repeats": 1}}
    trained = train(tiny(tmp_path / "data", tmp_path / "run", clip={"clip_seconds": 10.0}, **small))
    assert load(TrainConfig, tmp_path / "run" / "config.yaml").clip.clip_seconds == 2.0
    for weights_file in (trained.best, trained.last):
        predictor = Predictor.from_pretrained(weights_file)
        assert predictor.preprocess.clip_seconds == 2.0
        assert (found := timeline(predictor, film)).window == 2.0 and found.as_dict()["window"] == 2.0
        assert timeline(predictor, film, window=3).window == 3.0
        assert watch(predictor, str(film)).windows.window == 2.0
    model = ("--model", trained.last)
    assert "of 2 s every 1 s)" in run(capsys, "timeline", film, *model)[1]
    assert "of 3 s every 1.5 s)" in run(capsys, "timeline", film, "--window", 3, *model)[1]
    assert "windows of 2 s every 1 s" in run(capsys, "live", film, "--drop", "all", *model)[2]
