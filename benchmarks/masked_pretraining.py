"""The paper's ablations of masked pretraining on synthetic actions, and what pretraining is worth with few labels.

    python benchmarks/masked_pretraining.py --out runs/masked_pretraining [--seeds 3] [--jobs 2] [--tables labels masks ...]

A teacher, the packaged network trained further on clips of 80x80 pixels, sees the labels of all 1,280 training videos. A
student learns its features from masked clips of the same videos without labels, then the 16 classes from a tenth of the labels
(8 videos of each class). `scratch` is the second step alone. Accuracies are of 640 test videos of unseen seeds.

Clips have 4 x 5 x 5 patches, so that at 80 % every mask shows exactly 20 patches: with 14 rows, as in the paper, masks of rows
show a twentieth more than the others. The teacher has no attention; what stands in for it is described at `VideoMambaTeacher`.
Next to the results are the paper's figures on Something-Something V2 for the middle network with CLIP as the teacher and all
labels: network, teacher, data and labels differ, so only the ranking can be compared.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ablation import Variant, options, report, run_all

from videomamba.schema import VideoMambaError

PIXELS, CACHED = 80, 96
EPOCHS, TUNING_EPOCHS = 10, 40
STUDENT: Sequence[object] = ("--model.name", "none", "--model.dim", 96, "--model.depth", 4)
SCRATCH = "scratch"


def network() -> list[object]:
    return ["--model.tubelet-size", 2, "--model.pool", "mean", "--model.init", "fan_in"]


def videos(data: Path, which: str) -> list[object]:
    cached = ["--data.cache", data.parent / "cache", "--data.cache-frames", 16, "--data.cache-size", CACHED]
    return ["--data.root", data / which, "--data.format", "synthetic", *cached, "--data.workers", 0]


def steps(epochs: int, rate: float) -> list[object]:
    return [
        *("--clip.image-size", PIXELS, PIXELS, "--clip.crop-ratio", PIXELS / CACHED, "--augment.crop", "shift"),
        *("--augment.flip", "off", "--optim.epochs", epochs, "--optim.batch-size", 16, "--optim.warmup-epochs", 0.5),
        *("--optim.lr", rate, "--optim.lr-reference", 0, "--optim.clip-grad", 1, "--run.device", "cpu"),
    ]


def evaluation(weights: Path, data: Path) -> list[object]:
    return ["evaluate", weights, data / "test", "--data.format", "synthetic", "--split", "all", "--json"]


def teaching(_: int, folder: Path, *, data: Path) -> list[list[object]]:
    """The teacher's training: from the packaged network, with all labels."""
    start = [
        "--model.name",
        "none",
        "--model.dim",
        128,
        "--model.depth",
        5,
        "--model.weights",
        "videomamba_micro_synthetic",
    ]
    train = ["train", *videos(data, "all"), *start, *network(), *steps(4, 1e-3), "--model.drop-path", 0]
    train += ["--run.out", folder / "run", "--run.evaluate-every", 0, "--eval.weights", "last"]
    return [train, evaluation(folder / "run/last.safetensors", data)]


def tuning(seed: int, folder: Path, *, data: Path, weights: Path | None = None) -> list[list[object]]:
    """Training with few labels, from `weights` or from random ones, and its accuracy."""
    start = [] if weights is None else ["--model.weights", weights]
    train = ["train", *videos(data, "few"), *STUDENT, *start, *network(), *steps(TUNING_EPOCHS, 1e-3)]
    train += ["--model.drop-path", 0, "--run.seed", seed, "--run.out", folder / "tuned"]
    train += ["--run.evaluate-every", 0, "--eval.weights", "last"]
    return [train, evaluation(folder / "tuned/last.safetensors", data)]


def pretraining(
    seed: int,
    folder: Path,
    *,
    data: Path,
    teacher: Path,
    mask: str = "attention",
    ratio: float = 0.8,
    layers: int = 1,
    drop_path: float = 0.0,
) -> list[list[object]]:
    """Masked pretraining without labels, then `tuning`."""
    pretrain = ["pretrain", *videos(data, "all"), *STUDENT, *network(), *steps(EPOCHS, 1.5e-3)]
    pretrain += ["--teacher.weights", teacher, "--mask.name", mask, "--mask.ratio", ratio, "--align.layers", layers]
    pretrain += ["--model.drop-path", drop_path, "--run.seed", seed, "--run.out", folder / "pretrained"]
    return [pretrain, *tuning(seed, folder, data=data, weights=folder / "pretrained/last.safetensors")]


def tables(data: Path, teacher: Path) -> dict[str, tuple[Variant, ...]]:
    """Each comparison of the paper; a run that stands in several tables is made once."""

    def masked(name: str, published: float | None = None, **changes: object) -> Variant:
        return Variant(name, partial(pretraining, data=data, teacher=teacher, **changes), published)  # type: ignore[arg-type]

    best = masked("attention", 68.5)
    return {
        "labels": (masked("attention"), Variant(SCRATCH, partial(tuning, data=data))),
        "masks": (
            masked("random", 67.4, mask="random"),
            masked("tube", 66.3, mask="tube"),
            masked("clip-row", 68.2, mask="clip-row"),
            masked("frame-row", 67.8, mask="frame-row"),
            best,
        ),
        "ratios": (masked("50%", ratio=0.5), masked("65%", ratio=0.65), best, masked("90%", ratio=0.9)),
        "layers": (best, masked("2_layers", layers=2)),
        "drop_path": (best, masked("drop_path_0.2", drop_path=0.2), masked("drop_path_0.4", drop_path=0.4)),
    }


def write_data(data: Path) -> None:
    """Writes what is missing: all training videos, those with labels (the first of the same), and the test videos."""
    size = ["--num-frames", 32, "--fps", 16, "--height", 112, "--width", 112, "--crf", 28]
    for which, each, seed in (("all/train/0", 100, 1000), ("few/train/0", 10, 1000), ("test", 40, 3000)):
        command = ["synth", data / which, "--clips-per-class", each, "--seed", seed, *size]
        subprocess.run([sys.executable, "-m", "videomamba", *map(str, command)], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--tables", nargs="+", default=["labels", "masks", "ratios", "layers", "drop_path"])
    args = parser.parse_args()
    if hasattr(os, "nice"):  # not on Windows
        os.nice(19)
    data = args.out / "data"
    write_data(data)
    teacher = Variant("teacher", partial(teaching, data=data))
    chosen = tables(data, args.out / "teacher_0/run/last.safetensors")
    if unknown := set(args.tables) - set(chosen):
        parser.error(f"no table {', '.join(sorted(unknown))}; choose from {', '.join(chosen)}")
    try:
        taught = run_all([teacher], out=args.out, seeds=1, jobs=1)
        runs = {variant.name: variant for name in args.tables for variant in chosen[name]}
        found = run_all(list(runs.values()), out=args.out, seeds=args.seeds, jobs=args.jobs)
    except VideoMambaError as error:
        raise SystemExit(f"{Path(sys.argv[0]).name}: {error}") from None
    if not args.json:
        print(f"teacher: {taught['teacher'][0]:.1f} %")
    for name in args.tables:
        if not args.json:
            print(f"\n{name}")
        baseline = SCRATCH if name == "labels" else "attention"
        report(chosen[name], found, paper="SSv2", as_json=args.json, baseline=baseline)


if __name__ == "__main__":
    main()
