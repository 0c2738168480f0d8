"""Synthetic actions at the size of the ablations: 8 classes, 80x80 pixels, 4 x 5 x 5 patches, and a teacher with all labels.

The classes are four pairs of which each is the other played backwards, so who does not tell the order of frames is right in
half of the cases at most; guessing is right in 12.5 %. 800 training videos, of which SOME has 40 of each class and FEW has 10,
and 320 test videos of other seeds.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ablation import Variant, run_all

from videomamba.files import write_atomically
from videomamba.synthetic.dataset import write_dataset

CLASSES = ("grow", "shrink", "appear", "disappear", "open", "close", "scatter", "gather")
PIXELS, CACHED = 80, 96
ALL, SOME, FEW, TEST = "all.csv", "some.csv", "few.csv", "unseen.csv"
NETWORK: Sequence[object] = ("--model.tubelet-size", 2, "--model.pool", "mean", "--model.init", "fan_in")


def size(dim: int, depth: int) -> list[object]:
    return ["--model.name", "none", "--model.dim", dim, "--model.depth", depth, *NETWORK]


def videos(data: Path, which: str) -> list[object]:
    cached = ["--data.cache", data.parent / "cache", "--data.cache-frames", 16, "--data.cache-size", CACHED]
    lists = ["--data.root", data, "--data.format", "list", "--data.train", which, "--data.val", TEST]
    return [*lists, *cached, "--data.workers", 0]


def steps(epochs: int, rate: float, *, seed: int, out: Path) -> list[object]:
    """Clips of the test's crop at a random position, and steps of 16 of them; evaluations show whether the curve is flat."""
    return [
        *("--clip.image-size", PIXELS, PIXELS, "--clip.crop-ratio", PIXELS / CACHED, "--augment.crop", "shift"),
        *("--augment.flip", "off", "--optim.epochs", epochs, "--optim.batch-size", 16, "--optim.warmup-epochs", 0.5),
        *("--optim.lr", rate, "--optim.lr-reference", 0, "--optim.clip-grad", 1, "--run.device", "cpu"),
        *("--run.seed", seed, "--run.out", out, "--run.evaluate-every", max(epochs // 4, 1)),
    ]


def evaluation(weights: Path, data: Path) -> list[object]:
    lists = ["--data.format", "list", "--data.val", TEST]
    return ["evaluate", weights, data, *lists, "--split", "val", "--json"]


def supervised(
    seed: int, out: Path, *, data: Path, which: str, network: tuple[int, int], epochs: int, more: Sequence[object] = ()
) -> list[list[object]]:
    """A supervised training, and its accuracy."""
    command = ["distill"] if "--teacher.weights" in more else ["train"]
    command += [*videos(data, which), *size(*network), *steps(epochs, 1e-3, seed=seed, out=out)]
    return [[*command, "--eval.weights", "last", *more], evaluation(out / "last.safetensors", data)]


def write_data(data: Path) -> None:
    """Writes the missing videos and the lists of `CLASSES`; the same call resumes."""
    listed: dict[str, list[tuple[str, str]]] = {}
    for folder, each, seed in (("train", 100, 1000), ("test", 40, 3000)):
        written = write_dataset(
            data / folder, clips_per_class=each, seed=seed, num_frames=32, fps=16, height=112, width=112, crf=28
        )
        listed[folder] = [(one.path.relative_to(data).as_posix(), one.name) for one in written if one.name in CLASSES]
    each_class = [[row for row in listed["train"] if row[1] == name] for name in CLASSES]
    some, few = ([row for rows in each_class for row in rows[:number]] for number in (40, 10))
    for name, rows in ((ALL, listed["train"]), (SOME, some), (FEW, few), (TEST, listed["test"])):
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerows([("path", "label"), *rows])
        write_atomically(data / name, partial(Path.write_text, data=text.getvalue()))


def teach(out: Path, data: Path) -> tuple[Path, float]:
    """The weights of the packaged network, trained further on all videos at this size, and its accuracy in percent."""
    start = ("--model.weights", "videomamba_micro_synthetic", "--model.drop-path", 0)
    train = partial(supervised, data=data, which=ALL, network=(128, 5), epochs=4, more=start)
    accuracy = run_all([Variant("teacher", lambda seed, folder: train(seed, folder / "run"))], out=out, seeds=1, jobs=1)
    return out / "teacher_0/run/last.safetensors", accuracy["teacher"][0]
