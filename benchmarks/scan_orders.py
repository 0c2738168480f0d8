"""The paper's ablation of scan orders on synthetic actions: every order with the same settings and several seeds.

    python benchmarks/scan_orders.py --out runs/scan_orders [--epochs 32] [--seeds 3] [--jobs 1]

The data are eight of the synthetic actions, four pairs of which each is the other played backwards: `grow`, `appear`, `open`,
`scatter` and their reversals. A network that cannot tell the order of frames is right in at most half of the cases, guessing in
12.5 %. The network is small (width 96, 4 blocks, clips of 8 frames at 32x32 in patches of 2x8x8: a grid of 4x4x4), so that a
training flattens on one core in minutes. Accuracy is that on 1,200 test videos of other seeds after the last epoch; the
columns "val" show accuracy on 200 more at three quarters of the training and at its end: whether it has flattened.

The paper's figures are of Something-Something V2 (arXiv 2403.06977), VideoMamba-Ti with 8 frames from ImageNet weights:
network, data and first weights differ, so only the signs of the differences can be compared.
"""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ablation import Variant, ablate, options

from videomamba.files import write_atomically
from videomamba.synthetic.dataset import write_dataset

PUBLISHED = {"spatial_first": 65.1, "temporal_first": 62.4, "spatiotemporal_v1": 63.9, "spatiotemporal_v2": 64.2}
CLASSES = ("grow", "shrink", "appear", "disappear", "open", "close", "scatter", "gather")
SPLITS = {"train": (40, 1000), "val": (25, 2000), "unseen": (150, 3000)}
"""Videos of each class, and the seed of the data set. `train` would evaluate a list named test too."""


def write_data(root: Path) -> None:
    """Writes the missing videos and the lists of SPLITS; the same call resumes."""
    for split, (clips, seed) in SPLITS.items():
        written = write_dataset(
            root / split, clips_per_class=clips, seed=seed, num_frames=16, fps=8, height=80, width=96
        )
        rows = [(clip.path.relative_to(root).as_posix(), clip.name) for clip in written if clip.name in CLASSES]
        _write_csv(root / f"{split}.csv", [("path", "label"), *rows])
    write_atomically(root / "labels.txt", partial(Path.write_text, data="\n".join(CLASSES) + "\n"))


def _write_csv(path: Path, rows: Sequence[Sequence[str]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_atomically(path, partial(Path.write_text, data=text.getvalue()))


def commands(seed: int, folder: Path, *, order: str, epochs: int, data: Path) -> list[list[object]]:
    """Training and evaluation of one order and seed."""
    chosen: dict[str, object] = {
        "model.name": None,
        "model.dim": 96,
        "model.depth": 4,
        "model.tubelet-size": 2,
        "model.patch-size": 8,
        "model.pool": "mean",
        "model.init": "fan_in",
        "model.drop-path": 0.0,
        "model.scan-order": order,
        "clip.num-frames": 8,
        "clip.crop-ratio": 32 / 40,
        "data.root": data,
        "data.format": "list",
        "data.cache": data.parent / "cache",
        "data.cache-frames": 16,
        "data.cache-size": 40,
        "data.workers": 0,
        "augment.crop": "shift",
        "augment.flip": "off",
        "augment.label-smoothing": 0.05,
        "optim.batch-size": 16,
        "optim.epochs": epochs,
        "optim.warmup-epochs": 3,
        "optim.lr": 2e-3,
        "optim.lr-reference": 0,
        "optim.clip-grad": 1.0,
        "eval.weights": "last",
        "run.seed": seed,
        "run.out": folder / "run",
        "run.evaluate-every": epochs // 4,
        "run.checkpoint-minutes": 2,
    }
    train: list[object] = ["train", "--clip.image-size", 32, 32, "--optim.betas", 0.9, 0.99]
    for key, value in chosen.items():
        train += [f"--{key}", value]
    weights = folder / "run" / "last.safetensors"
    listed = ["--data.format", "list", "--data.test", "unseen.csv", "--split", "test"]
    return [train, ["evaluate", weights, data, *listed, "--json"]]


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--epochs", type=int, default=32)
    args: argparse.Namespace = parser.parse_args()
    data = args.out / "data"
    write_data(data)
    variants = [
        Variant(order, partial(commands, order=order, epochs=args.epochs, data=data), published)
        for order, published in PUBLISHED.items()
    ]
    ablate(args, variants, paper="SSv2", training="run")


if __name__ == "__main__":
    main()
