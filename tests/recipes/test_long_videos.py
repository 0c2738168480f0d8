"""The long-video recipes from end to end: real films in the layout of each data set, all their frames, a small network.

A film has the colour of its class. The network of known answers says which colour most of a film has.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.cli.test_main import run
from tests.recipes.films import COLOURS, LVU_WINDOWS, TARGETS, write_breakfast, write_coin, write_lvu
from tests.recipes.runs import events, losses
from videomamba import create_model
from videomamba.cli.train import train_config
from videomamba.data.clips.sampling import evaluation_clips
from videomamba.data.clips.transforms import to_clip
from videomamba.data.loading.record_video import open_record
from videomamba.data.sets.annotations import read_dataset
from videomamba.data.sets.durations import usual_clip_seconds
from videomamba.evaluation.report import write_report
from videomamba.evaluation.results import ClassificationResult, RegressionResult
from videomamba.recipes.classify import train
from videomamba.recipes.config import TrainConfig
from videomamba.recipes.evaluate import evaluate
from videomamba.recipes.presets import preset_names
from videomamba.schema import Number, Preprocess, VideoRecord, Views
from videomamba.training.checkpoint import checkpoints
from videomamba.training.run import CHECKPOINTS, Trained
from videomamba.training.tracking import read_metrics
from videomamba.weights.bundle import read_bundle_metadata, save_bundle
from videomamba.weights.pretrained import open_pretrained

STEPS = 2
SMALL = [
    *("--model.depth", "2", "--model.dim", "16", "--model.pool", "mean", "--clip.image-size", "32", "32"),
    *("--optim.batch-size", "4", "--run.micro-batch", "2", "--optim.epochs", "2", "--optim.warmup-epochs", "0"),
    *("--run.max-steps", str(STEPS), "--data.workers", "0", "--run.device", "cpu"),
]
"""All that is reduced: not the frames, nor the views, the windows, the augmentation, the precision."""


@pytest.fixture(scope="module")
def lvu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_lvu(tmp_path_factory.mktemp("lvu"))


@pytest.fixture(scope="module")
def breakfast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_breakfast(tmp_path_factory.mktemp("breakfast"))


@pytest.fixture(scope="module")
def coin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_coin(tmp_path_factory.mktemp("coin"))


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In place of the Kinetics weights that the presets begin with: 32 frames, 400 classes."""
    torch.manual_seed(0)
    model = create_model("videomamba_tiny", depth=2, dim=16, num_frames=32, image_size=32, num_classes=400, pool="mean")
    path = tmp_path_factory.mktemp("start") / "kinetics.safetensors"
    return save_bundle(path, model, Preprocess(num_frames=32, image_size=(32, 32)))


def prepare(name: str, frames: int, root: Path, start: Path, out: Path) -> TrainConfig:
    """The preset at a small size, as the command line gives it."""
    chosen = ["--preset", name, "--data.root", str(root), "--run.out", str(out), "--model.weights", str(start)]
    if name.startswith("lvu"):  # published for 32 frames only
        chosen += ["--clip.num-frames", str(frames)]
    config = train_config([*chosen, *SMALL])
    assert config.clip.num_frames == frames and (config.data.window == 60) == name.endswith("windows")
    return config


def colour_network(bundle: Path, out: Path, classes: Mapping[str, int]) -> Path:
    """The network of `bundle` with other weights: mean colour of every patch, the class of the strongest one."""
    opened = open_pretrained(bundle)
    network, patch = opened.model, opened.model.config.patch_size
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.norm_f.weight.fill_(1)
        for channel, colour in enumerate(COLOURS):
            network.patch_embed.proj.weight[channel, channel] = 1 / patch**2
            network.head.weight[classes[colour], channel] = 100
    return save_bundle(out, network, opened.preprocess, opened.labels)


def constant_network(bundle: Path, out: Path, answer: float) -> Path:
    opened = open_pretrained(bundle)
    torch.nn.init.zeros_(opened.model.head.weight)
    torch.nn.init.constant_(opened.model.head.bias, answer)
    return save_bundle(out, opened.model, opened.preprocess, info={"task": "regression"})


def mean_of_views(bundle: Path, video: Path, spans: Sequence[tuple[float, float] | None], views: Views) -> float:
    """What a regression should say of a video: the mean over its windows of the mean over all views, one at a time."""
    opened = open_pretrained(bundle)
    answers = []
    for span in spans:
        with open_record(VideoRecord(str(video), Number(0.0), span=span)) as record, torch.inference_mode():
            for clip in evaluation_clips(opened.preprocess, record.num_frames, views.clips):
                frames = record.frames(clip)
                for crop in range(views.crops):
                    view = to_clip(frames, opened.preprocess, crop=crop, num_crops=views.crops)
                    answers.append(opened.model.eval()(view.data[None]).item())
    return float(np.mean(answers))


def check_run(config: TrainConfig, trained: Trained) -> None:
    """Every step was made, and what is kept is the network of the preset, for its clips and its answers."""
    out = config.run.out
    assert [step for step, _ in losses(out)] == list(range(1, STEPS + 1))
    assert all(math.isfinite(loss) for _, loss in losses(out))
    resized = any("temporal_pos_embedding" in message for message in events(out))
    assert resized == (config.clip.num_frames != 32)
    covered = usual_clip_seconds(config.clip, read_dataset(config.data, "train").records)
    for path in (trained.best, trained.last):
        kept = read_bundle_metadata(path)
        assert kept.preprocess == config.clip.model_copy(update={"clip_seconds": covered}) and covered is not None
        assert kept.config.num_classes == (len(kept.labels) or 1)
        assert (kept.info["task"] == "regression") == (config.data.task in TARGETS)
    assert len(checkpoints(out / CHECKPOINTS)) > 0


def check_regression(config: TrainConfig, trained: Trained, out: Path) -> RegressionResult:
    assert config.data.task is not None
    targets, windows = TARGETS[config.data.task], config.data.window is not None
    result = evaluate(trained.last, config.data, views=config.eval.views, device="cpu")
    assert isinstance(result, RegressionResult) and result.mse is not None and math.isfinite(result.mse)
    assert (result.num_videos, result.num_missed, result.failures) == (len(targets), 0, ())
    for estimate in result.estimates:
        name = Path(estimate.path).stem
        spans = LVU_WINDOWS[name] if windows else [None]
        expected = mean_of_views(trained.last, Path(estimate.path), spans, Views.parse(config.eval.views))
        assert estimate.target == pytest.approx(targets[name])
        assert estimate.value == pytest.approx(expected, abs=1e-5)

    known = constant_network(trained.last, out / "constant.safetensors", 0.5)
    answer = evaluate(known, config.data, views=config.eval.views, device="cpu")
    assert isinstance(answer, RegressionResult)
    assert answer.mse == pytest.approx(np.mean([(0.5 - target) ** 2 for target in targets.values()]))
    return answer


def check_classes(config: TrainConfig, trained: Trained, out: Path) -> ClassificationResult:
    family = config.data.format
    result = evaluate(trained.last, config.data, views=config.eval.views, device="cpu")
    assert isinstance(result, ClassificationResult) and 0 <= result.top1 <= 1
    labels = result.labels
    of_family = {
        "lvu": {"red": 0, "green": 1, "blue": len(labels) - 1},
        "breakfast": {"red": 0, "green": 2, "blue": 9},
        "coin": {"red": 0, "green": 57, "blue": 179},
    }
    number = {"lvu": 3, "breakfast": 4, "coin": 3}[family]
    assert (result.num_videos, result.num_missed, result.confusion.sum()) == (number, 0, number)

    known = colour_network(trained.last, out / "colours.safetensors", of_family[family])
    answer = evaluate(known, config.data, views=config.eval.views, device="cpu")
    assert isinstance(answer, ClassificationResult)
    wrong = {"lvu": ("Zx-1c1fPk2M.mp4", "green"), "breakfast": ("cam02/P47_cereals.avi", "blue"), "coin": None}[family]
    assert (answer.num_videos, answer.correct1) == (number, number - (wrong is not None))
    for mistake in answer.mistakes:
        assert wrong is not None
        assert mistake.path.endswith(wrong[0]) and mistake.answer == of_family[family][wrong[1]]
        # Of the five windows of the film one says red, and four green.
        assert mistake.score == pytest.approx(0.8 if config.data.window else 1.0, abs=0.01)
    return answer


FAST = [
    ("lvu-relationship-windows", 32),
    ("lvu-view-count-windows", 32),
    ("breakfast-tiny-f32", 32),
    ("coin-tiny-f32", 32),
]
LONG = [name for name in preset_names() if name.startswith(("lvu", "breakfast", "coin"))]
ALL = [(name, 64 if "f64" in name else 32) for name in LONG] + [(name, 64) for name in LONG if name.startswith("lvu")]


@pytest.mark.parametrize(
    ("name", "frames"),
    [pytest.param(*case, marks=[] if case in FAST else pytest.mark.slow) for case in ALL],
    ids=lambda value: str(value),
)
def test_from_preset_to_report(
    name: str, frames: int, start: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    root = request.getfixturevalue(name.split("-")[0])
    config = prepare(name, frames, root, start, tmp_path / "run")
    trained = train(config)
    check_run(config, trained)
    check = check_regression if config.data.task in TARGETS else check_classes
    result = check(config, trained, tmp_path)
    clips, crops = config.eval.views.split("x")
    assert result.protocol.startswith(f"{clips} clips x {crops} crops, {frames} frames uniform, 32x32")
    assert ("mean over windows of a video" in result.protocol) == (config.data.window is not None)

    report = tmp_path / "report.html"
    write_report(
        report, title=name, config=config.model_dump(mode="json"), result=result, history=read_metrics(config.run.out)
    )
    page = report.read_text()
    assert result.protocol in page and f"{result.num_videos} videos" in page
    assert ("mean squared error" if isinstance(result, RegressionResult) else "top-1") in page


def test_the_commands(lvu: Path, start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, report = tmp_path / "run", tmp_path / "report.html"
    chosen = ["--preset", "lvu-scene-windows", "--data.root", lvu, "--run.out", out, "--model.weights", start, *SMALL]
    code, said, told = run(capsys, "train", *chosen)
    assert code == 0, told
    assert (
        "of 3 videos, 95% interval" in said and "4 clips x 3 crops, 32 frames" in said and "mean over windows" in said
    )
    known = colour_network(out / "last.safetensors", tmp_path / "known.safetensors", {"red": 0, "green": 1, "blue": 5})
    format = ["--data.format", "lvu", "--data.task", "scene", "--data.window", "60", "--data.workers", "0"]
    options = [known, lvu, *format, "--views", "4x3", "--device", "cpu"]
    code, said, told = run(capsys, "evaluate", *options, "--report", report)
    assert (
        code == 0
        and told.startswith("measuring the test split, 3 videos: ")
        and said.startswith("top-1 66.67% (2 of 3 videos, 95% interval 20.8% to 93.9%), top-5")
    )
    assert "Zx-1c1fPk2M" in report.read_text()
    code, said, _ = run(capsys, "evaluate", *options, "--split", "val", "--json")
    assert (json.loads(said)["num_videos"], json.loads(said)["top1"]) == (1, 1.0)
