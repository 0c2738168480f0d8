"""Ablations: the same commands for several variants and seeds, and whether the differences are larger than the noise.

A benchmark states its `Variant`s and calls `options` and `ablate`. Every run, a variant with one seed, has a folder
OUT/VARIANT_SEED. What its commands printed is stored there in `finished.json` after each of them: a finished command is not
repeated, and an interrupted one is started again, which resumes a training. `--jobs` runs work at the same time, with one
thread each and at a low priority, so that the machine stays usable.

Two variants are compared seed by seed: the mean of the differences, with the 95 % interval of Student's t for so few of them.
Where the interval contains 0 the comparison is undecided. Intervals are not corrected for the number of comparisons: of twenty
pairs that do not differ, one is expected to look decided.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from threading import Event
from typing import Any

from videomamba.cli.output import print_table
from videomamba.files import make_folder, write_atomically
from videomamba.schema import VideoMambaError
from videomamba.training.tracking import read_metrics

FINISHED = "finished.json"
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
"""The 97.5 % quantiles of Student's t for 1, 2, ... degrees of freedom."""
MOST_SEEDS = len(_T) + 1


@dataclass(frozen=True)
class Variant:
    """One row of the table. `commands(seed, folder)` are the arguments of `videomamba`, a list for each command, in order.

    The last command prints a JSON object with "top1", as `evaluate --json` does. `published` is the paper's percentage.
    """

    name: str
    commands: Callable[[int, Path], Sequence[Sequence[object]]]
    published: float | None = None


@dataclass(frozen=True)
class Difference:
    """The mean of `first - second` over the seeds, and half the width of its 95 % interval: infinite for one seed."""

    first: str
    second: str
    mean: float
    half_width: float
    published: float | None

    @property
    def decided(self) -> bool:
        return abs(self.mean) > self.half_width

    @property
    def reading(self) -> str:
        if not self.decided:
            return "undecided"
        better = "better" if self.mean > 0 else "worse"
        if not self.published:
            return better
        return f"{better}, {'as' if (self.mean > 0) == (self.published > 0) else 'unlike'} in the paper"


def options(description: str | None, *, seeds: int = 3) -> argparse.ArgumentParser:
    """A parser with the options that every ablation has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs; finished ones are not repeated")
    parser.add_argument("--seeds", type=int, default=seeds, help=f"runs of each variant, at most {MOST_SEEDS}")
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time, with one thread each")
    parser.add_argument("--json", action="store_true", help="one JSON record a line")
    return parser


def ablate(
    args: argparse.Namespace,
    variants: Sequence[Variant],
    *,
    paper: str,
    baseline: str | None = None,
    training: str | None = None,
) -> None:
    """Runs what is not finished with the options of `options`, and prints the report; ends the program on an error.

    `training` is the folder, in that of a run, of the training whose validation curve is shown; the rest is as for `report`.
    """
    lower_priority()
    try:
        found = run_all(variants, out=args.out, seeds=args.seeds, jobs=args.jobs)
        curves = None if training is None else curves_of(variants, args, training=training)
    except VideoMambaError as error:
        raise SystemExit(f"{Path(sys.argv[0]).name}: {error}") from None
    report(variants, found, paper=paper, as_json=args.json, baseline=baseline, curves=curves)


def lower_priority() -> None:
    """Of this process and of the commands that it starts from now on."""
    if hasattr(os, "nice"):  # not on Windows
        os.nice(19)


def curves_of(
    variants: Sequence[Variant], args: argparse.Namespace, *, training: str
) -> dict[str, list[tuple[float, float]]]:
    """`settled` of every seed of finished variants, for `report`; `training` is a folder in that of a run."""
    return {
        variant.name: [settled(folder_of(args.out, variant.name, i) / training) for i in range(args.seeds)]
        for variant in variants
    }


def folder_of(out: Path, name: str, seed: int) -> Path:
    return out / f"{name}_{seed}"


def run_all(
    variants: Sequence[Variant],
    *,
    out: Path,
    seeds: int,
    jobs: int,
    program: Sequence[str] = (sys.executable, "-m", "videomamba"),
) -> dict[str, list[float]]:
    """The top-1 in percent of every seed of every variant; runs what is not finished, the first seed of all variants first.

    Raises VideoMambaError where a command fails, with what it printed on stderr, and where a folder has runs of other
    commands; the commands that are running then still finish.
    """
    if not 1 <= seeds <= MOST_SEEDS:
        raise VideoMambaError(f"--seeds: {seeds} is not in 1..{MOST_SEEDS}")
    stop = Event()
    pool = ThreadPoolExecutor(jobs)
    runs = {
        pool.submit(_run, variant, seed, folder_of(out, variant.name, seed), program, stop): (variant.name, seed)
        for seed in range(seeds)
        for variant in variants
    }
    found: dict[tuple[str, int], float] = {}
    try:
        for run in as_completed(runs):
            name, seed = runs[run]
            found[name, seed] = run.result()
            print(
                f"{len(found)}/{len(runs)}: {name}, seed {seed}: {found[name, seed]:.2f} %", file=sys.stderr, flush=True
            )
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
    return {variant.name: [found[variant.name, seed] for seed in range(seeds)] for variant in variants}


def _run(variant: Variant, seed: int, folder: Path, program: Sequence[str], stop: Event) -> float:
    make_folder(folder)
    file = folder / FINISHED
    finished: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    commands = [[str(word) for word in command] for command in variant.commands(seed, folder)]
    for i, command in enumerate(commands):
        if i < len(finished):
            if finished[i]["command"] != command:
                raise VideoMambaError(f"{file}: is of `{shlex.join(finished[i]['command'])}`; choose another --out")
            continue
        if stop.is_set():
            raise VideoMambaError(f"{folder}: not finished, since another run failed")
        alone = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run([*program, *command], env=alone, capture_output=True, text=True)
        if done.returncode:
            stop.set()  # here, before this thread takes the next run
            raise VideoMambaError(f"{folder}: `{shlex.join(command)}` failed:\n{done.stderr.strip()}")
        finished.append({"command": command, "printed": done.stdout})
        content = json.dumps(finished, indent=1).encode()
        write_atomically(file, partial(Path.write_bytes, data=content))
    return 100 * float(json.loads(finished[-1]["printed"])["top1"])


def compare(
    variants: Sequence[Variant], found: Mapping[str, Sequence[float]], *, baseline: str | None = None
) -> list[Difference]:
    """Every pair of variants, or every other variant minus the `baseline`."""
    named = {variant.name: variant for variant in variants}
    pairs = combinations(named, 2) if baseline is None else ((name, baseline) for name in named if name != baseline)
    differences = []
    for first, second in pairs:
        values = [a - b for a, b in zip(found[first], found[second], strict=True)]
        width = math.inf
        if len(values) > 1:
            width = _T[len(values) - 2] * statistics.stdev(values) / math.sqrt(len(values))
        papers = named[first].published, named[second].published
        published = None if papers[0] is None or papers[1] is None else papers[0] - papers[1]
        differences.append(Difference(first, second, statistics.mean(values), width, published))
    return differences


def settled(run: Path) -> tuple[float, float]:
    """The accuracy in percent on the validation videos after three quarters of the epochs of a training, and at its end."""
    epochs = [record for record in read_metrics(run) if record["kind"] == "epoch" and "val_top1" in record]
    if not epochs:
        raise VideoMambaError(f"{run}: has no evaluation of an epoch; train with --run.evaluate-every")
    return 100 * epochs[(3 * len(epochs)) // 4 - 1]["val_top1"], 100 * epochs[-1]["val_top1"]


def report(
    variants: Sequence[Variant],
    found: Mapping[str, Sequence[float]],
    *,
    paper: str,
    as_json: bool,
    baseline: str | None = None,
    curves: Mapping[str, Sequence[tuple[float, float]]] | None = None,
) -> None:
    """Prints a table of the variants and one of their differences, or both as JSON records.

    `paper` names the benchmark of the published figures. `curves` are `settled` of each seed of a variant.
    """
    differences = compare(variants, found, baseline=baseline)
    rows: list[dict[str, Any]] = []
    for variant in variants:
        top1 = list(found[variant.name])
        spread = statistics.stdev(top1) if len(top1) > 1 else None
        row = {"variant": variant.name, "mean": statistics.mean(top1), "spread": spread, "top1": top1}
        if curves is not None:
            earlier, end = zip(*curves[variant.name], strict=True)
            row |= {"val_three_quarters": statistics.mean(earlier), "val_end": statistics.mean(end)}
        rows.append(row | {"published": variant.published})
    if as_json:
        for one in differences:
            width = one.half_width if math.isfinite(one.half_width) else None  # JSON has no infinity
            rows.append(asdict(one) | {"half_width": width, "decided": one.decided, "reading": one.reading})
        print("\n".join(map(json.dumps, rows)))
        return
    columns = ["variant", "mean", "spread", "each seed", *(["val 3/4", "val end"] if curves else []), f"paper, {paper}"]
    cells = [
        [" ".join(map(_number, cell)) if isinstance(cell, list) else _number(cell) for cell in row.values()]
        for row in rows
    ]
    print_table(columns, cells, left=(0, 3))
    print()
    compared = []
    for one in differences:
        names, width = f"{one.first} - {one.second}", f"+-{one.half_width:.1f}"
        compared.append([names, f"{one.mean:+.1f}", width, _number(one.published, "+"), one.reading])
    print_table(["difference", "mean", "95 %", "paper", "reading"], compared, left=(0, 4))


def _number(value: str | float | None, sign: str = "") -> str:
    return value if isinstance(value, str) else "-" if value is None else f"{value:{sign}.1f}"
