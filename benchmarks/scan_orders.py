"""The paper's ablation of scan orders on synthetic actions: every order with the same settings and several seeds.

    python benchmarks/scan_orders.py --out runs/scan_orders [--epochs 4] [--seeds 3] [--jobs 2]

Each run is the preset `synthetic-actions` with a smaller network and clips of 64x64 pixels, and without the symmetries of the
data, which slow the learning down. Its accuracy is that on the test split, whose seeds, size and quality the training did not
have. Next to it is the paper's figure on Something-Something V2 (arXiv 2403.06977), for VideoMamba-Ti with 8 frames from
ImageNet weights: network, data and first weights differ, so only the ranking can be compared.

An interrupted run is resumed, a finished one is not repeated. `--jobs` runs work at the same time, with one thread each.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from videomamba.synthetic.splits import write_splits
from videomamba.weights.pretrained import open_pretrained

PUBLISHED = {"spatial_first": 65.1, "temporal_first": 62.4, "spatiotemporal_v1": 63.9, "spatiotemporal_v2": 64.2}


def arguments(order: str, seed: int, *, epochs: int, data: Path, out: Path) -> list[str]:
    """The command of one run."""
    chosen = {
        "preset": "synthetic-actions",
        "model.scan-order": order,
        "model.depth": 4,
        "model.dim": 96,
        "augment.flip": "off",
        "optim.batch-size": 16,
        "optim.epochs": epochs,
        "optim.warmup-epochs": 0.5,
        "optim.lr": 1.5e-3,
        "run.seed": seed,
        "run.out": out / f"{order}_{seed}",
        "run.evaluate-every": 0,
        "data.root": data,
        "data.cache": data.parent / "cache",
        "data.workers": 0,
        "eval.weights": "last",
    }
    command = [sys.executable, "-m", "videomamba", "train"]
    for key, value in chosen.items():
        command += [f"--{key}", str(value)]
    command += ["--clip.image-size", "64", "64", "--clip.crop-ratio", str(64 / 74)]
    return [*command, "--augment.no-flip-vertical", "--augment.no-reverse"]


def run(order: str, seed: int, *, epochs: int, data: Path, out: Path) -> float:
    """Top-1 of one order and seed, trained here unless that was done before."""
    result = out / f"{order}_{seed}" / "test.json"
    if not result.exists():
        alone = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run(
            arguments(order, seed, epochs=epochs, data=data, out=out), check=True, env=alone, capture_output=True
        )
        weights = out / f"{order}_{seed}" / "last.safetensors"
        command = ["evaluate", weights, data, "--data.format", "synthetic", "--json"]
        shown = subprocess.run(
            [sys.executable, "-m", "videomamba", *map(str, command)], check=True, env=alone, capture_output=True
        )
        result.write_bytes(shown.stdout)
    return 100 * float(json.loads(result.read_text())["top1"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, help="data of `--preset synthetic-actions`; default: written to OUT/data")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="one JSON record a line")
    args = parser.parse_args()
    data = args.data or args.out / "data"
    write_splits(data)
    jobs = [(order, seed) for seed in range(args.seeds) for order in PUBLISHED]
    with ThreadPoolExecutor(args.jobs) as pool:
        done = pool.map(lambda job: run(*job, epochs=args.epochs, data=data, out=args.out), jobs)
        found = dict(zip(jobs, done, strict=True))
    parameters = sum(
        p.numel() for p in open_pretrained(args.out / "spatial_first_0/last.safetensors").model.parameters()
    )
    if not args.json:
        print(f"{parameters} parameters, {args.epochs} epochs, {args.seeds} seeds; top-1 in percent")
        print(f"{'scan order':<20} {'mean':>6} {'spread':>7}  {'each seed':<24} {'paper, SSv2':>11}")
    for order, published in PUBLISHED.items():
        values = [found[order, seed] for seed in range(args.seeds)]
        mean = statistics.mean(values)
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        if args.json:
            record = {"scan_order": order, "mean": mean, "spread": spread, "top1": values, "paper_ssv2": published}
            print(json.dumps(record))
        else:
            each = " ".join(f"{value:.1f}" for value in values)
            print(f"{order:<20} {mean:6.1f} {spread:7.1f}  {each:<24} {published:11.1f}")


if __name__ == "__main__":
    main()
