"""Synthetic actions at the size of the ablations: 80x80 pixels, 4 x 5 x 5 patches, and a teacher that has seen all labels.

The teacher has the labels of 1,280 training videos of 16 classes, the students those of a tenth (8 of each class); 640 test
videos are of unseen seeds.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ablation import Variant, run_all

PIXELS, CACHED = 80, 96
ALL, FEW = "all", "few"
NETWORK: Sequence[object] = ("--model.tubelet-size", 2, "--model.pool", "mean", "--model.init", "fan_in")


def size(dim: int, depth: int) -> list[object]:
    return ["--model.name", "none", "--model.dim", dim, "--model.depth", depth, *NETWORK]


def videos(data: Path, which: str) -> list[object]:
    cached = ["--data.cache", data.parent / "cache", "--data.cache-frames", 16, "--data.cache-size", CACHED]
    return ["--data.root", data / which, "--data.format", "synthetic", *cached, "--data.workers", 0]


def steps(epochs: int, rate: float, *, seed: int, out: Path) -> list[object]:
    return [
        *("--clip.image-size", PIXELS, PIXELS, "--clip.crop-ratio", PIXELS / CACHED, "--augment.crop", "shift"),
        *("--augment.flip", "off", "--optim.epochs", epochs, "--optim.batch-size", 16, "--optim.warmup-epochs", 0.5),
        *("--optim.lr", rate, "--optim.lr-reference", 0, "--optim.clip-grad", 1, "--run.device", "cpu"),
        *("--run.seed", seed, "--run.out", out),
    ]


def evaluation(weights: Path, data: Path) -> list[object]:
    return ["evaluate", weights, data / "test", "--data.format", "synthetic", "--split", "all", "--json"]


def prepare(out: Path) -> tuple[Path, Path, float]:
    """The data and the teacher's weights in `out`, written where they are missing, and the teacher's accuracy in percent."""
    data = out / "data"
    _write(data)
    accuracy = run_all([Variant("teacher", partial(_teaching, data=data))], out=out, seeds=1, jobs=1)["teacher"][0]
    return data, out / "teacher_0/run/last.safetensors", accuracy


def _write(data: Path) -> None:
    """All training videos, those with labels (the first of the same), and the test videos."""
    pictures = ["--num-frames", 32, "--fps", 16, "--height", 112, "--width", 112, "--crf", 28]
    for which, each, seed in ((f"{ALL}/train/0", 100, 1000), (f"{FEW}/train/0", 10, 1000), ("test", 40, 3000)):
        command = ["synth", data / which, "--clips-per-class", each, "--seed", seed, *pictures]
        subprocess.run([sys.executable, "-m", "videomamba", *map(str, command)], check=True, stdout=subprocess.DEVNULL)


def _teaching(seed: int, folder: Path, *, data: Path) -> list[list[object]]:
    """The packaged network, trained further on clips of this size with all labels."""
    train = ["train", *videos(data, ALL), *size(128, 5), "--model.weights", "videomamba_micro_synthetic"]
    train += [*steps(4, 1e-3, seed=seed, out=folder / "run"), "--model.drop-path", 0, "--eval.weights", "last"]
    return [[*train, "--run.evaluate-every", 0], evaluation(folder / "run/last.safetensors", data)]
