"""Trains the packaged model of camera motion, and measures it on photographs and footage that it never saw.

    python benchmarks/camera_sources.py --out SOURCES
    python benchmarks/camera_motion.py --sources SOURCES --out runs/camera_motion [--processes 2] [--seed 0] [--write FILE]

A virtual camera moves over the photographs and the footage of SOURCES, as in `videomamba synth-camera`; those of training,
validation and test are different ones. The network is trained by `videomamba train --preset camera-motion`, which shows it the
middle of the picture, and then for some epochs on the whole picture, scaled to a square: behind a subject in the middle the
borders tell what the camera does. Its head is then divided by the temperature at which the probabilities of the validation
clips are most likely (Guo et al. 2017), which changes no answer. The test clips have three sizes, frame rates and qualities
that are fixed here; of footage they also have people and things that move by themselves.

A finished step is not repeated, and an interrupted one resumes. `--model` measures other weights and trains nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from commands import videomamba
from torch import Tensor

from videomamba import Predictor
from videomamba.cli.output import counter, print_table
from videomamba.evaluation.calibration import expected_calibration_error, fit_temperature
from videomamba.models.temperature import scale_head
from videomamba.schema import VideoError, VideoMambaError
from videomamba.synthetic.camera.dataset import CameraFile, write_camera_dataset
from videomamba.synthetic.camera.motions import MOTIONS
from videomamba.weights.bundle import read_bundle_metadata, save_bundle

CONDITIONS: dict[str, dict[str, int]] = {
    "320x180, 24 fps, CRF 28": {"width": 320, "height": 180, "fps": 24, "crf": 28},
    "480x360, 15 fps, CRF 34": {"width": 480, "height": 360, "fps": 15, "crf": 34},
    "360x640, 30 fps, CRF 20": {"width": 360, "height": 640, "fps": 30, "crf": 20},
}
WHOLE_PICTURE = (
    *("--clip.resize", "stretch", "--optim.epochs", 6),
    *("--optim.lr", 8e-4, "--optim.warmup-epochs", 0.2),
)
"""Options of the second stage."""
SPLITS = {"train": 7_000, "val": 7_001}
"""The seed of each split; the tests have those that follow."""
LARGEST = 4_000_000
"""Bytes of the packaged file."""


@dataclass(frozen=True)
class Sizes:
    """How many clips of each class; `TINY` is for a trial of the script."""

    train: int
    val: int
    test: int


FULL, TINY = Sizes(train=900, val=30, test=25), Sizes(train=2, val=2, test=1)


@dataclass(frozen=True)
class Scores:
    """The answers to clips: `logits` (clips, classes) and `targets` (clips,)."""

    logits: Tensor
    targets: Tensor

    def top1(self, label: int | None = None) -> float:
        """In percent, of all clips or of those of a class."""
        chosen = self.targets == label if label is not None else torch.ones_like(self.targets, dtype=torch.bool)
        return 100 * float((self.logits.argmax(1) == self.targets)[chosen].float().mean())

    @property
    def calibration_error(self) -> float:
        """The expected calibration error in percent."""
        return 100 * expected_calibration_error(self.logits.softmax(1), self.targets)


class Benchmark:
    """The folder of a run of this script."""

    def __init__(self, sources: Path, out: Path, sizes: Sizes, *, processes: int, seed: int) -> None:
        self.sources, self.out, self.data, self.sizes = sources, out, out / "data", sizes
        self._processes, self._seed = processes, seed

    def write(self, root: Path, split: str, each: int, seed: int, **settings: object) -> list[CameraFile]:
        """The clips of `root`, of the sources of `split`; those that are missing are rendered."""
        with counter(f"rendering {root.name}") as tick:
            return write_camera_dataset(
                root,
                pictures=[self.sources / "pictures" / split],
                footage=[self.sources / "footage" / split],
                clips_per_class=each,
                seed=seed,
                workers=os.cpu_count() or 1,
                progress=tick,
                **settings,
            )

    def train(self) -> Path:
        """The weights of both stages, best on the validation clips."""
        self.write(self.data / "train", "train", self.sizes.train, SPLITS["train"])
        self.write(self.data / "val", "val", self.sizes.val, SPLITS["val"])
        middle = self._stage(f"run_{self._seed}")
        return self._stage(f"run_{self._seed}_whole", "--model.weights", middle, *WHOLE_PICTURE)

    def _stage(self, name: str, *options: object) -> Path:
        """The best weights of a training with the preset and `options`."""
        run = self.out / name
        folders = ["--data.root", self.data, "--data.cache", self.out / "cache", "--run.out", run]
        command = ["train", "--preset", "camera-motion", *folders, "--run.seed", self._seed, "--data.workers", 0]
        started = time.monotonic()
        videomamba([*command, *options], processes=self._processes)
        print(f"{name} took {(time.monotonic() - started) / 60:.1f} minutes", file=sys.stderr)
        return run / "best.safetensors"

    def calibrated(self, weights: Path) -> Path:
        """`weights` with probabilities as sure as they should be."""
        target = weights.with_name("calibrated.safetensors")
        predictor = Predictor.from_pretrained(weights)
        files = self.write(self.data / "val", "val", self.sizes.val, SPLITS["val"])
        scores = answers(predictor, files)
        temperature = fit_temperature(scores.logits, scores.targets)
        scale_head(predictor.model, temperature)
        info = {**read_bundle_metadata(weights).info, "temperature": temperature}
        return save_bundle(target, predictor.model, predictor.preprocess, predictor.labels, info)

    def tests(self) -> Iterator[tuple[str, str, list[CameraFile]]]:
        """(what the camera moves over, size and quality, files) of each test."""
        seed = max(SPLITS.values()) + 1
        for what, share in (("photographs", 0.0), ("footage", 1.0)):
            for number, (name, settings) in enumerate(CONDITIONS.items()):
                root = self.out / "test" / f"{what}_{number}"
                yield what, name, self.write(root, "test", self.sizes.test, seed, footage_share=share, **settings)
                seed += 1


def answers(predictor: Predictor, files: Sequence[CameraFile]) -> Scores:
    """The logits of `files`, read as `videomamba predict` reads them."""
    logits = []
    with counter("classifying") as tick:
        for done, file in enumerate(files, 1):
            logits.append(predictor.logits(predictor.clips(file.path)))
            tick(done, len(files))
    return Scores(torch.cat(logits), torch.tensor([file.label for file in files]))


def report(bench: Benchmark, weights: Path) -> Iterator[dict[str, object]]:
    """A record of each test, and one of all photographs and of all footage."""
    predictor = Predictor.from_pretrained(weights)
    if predictor.labels != MOTIONS:
        raise VideoMambaError(f"{weights}: its classes are not those of `videomamba synth-camera`")
    together: dict[str, list[Scores]] = {}
    for what, name, files in bench.tests():
        scores = answers(predictor, files)
        together.setdefault(what, []).append(scores)
        yield record(what, name, scores)
    for what, every in together.items():
        both = Scores(torch.cat([one.logits for one in every]), torch.cat([one.targets for one in every]))
        yield record(what, "all", both)


def record(what: str, name: str, scores: Scores) -> dict[str, object]:
    return {
        "over": what,
        "files": name,
        "number": len(scores.targets),
        "top1": scores.top1(),
        "calibration_error": scores.calibration_error,
        "classes": {label: scores.top1(i) for i, label in enumerate(MOTIONS)},
    }


def show(records: Sequence[dict[str, object]]) -> None:
    head = ["", "files", "clips", "top-1", "calibration error"]
    rows = [
        [str(r["over"]), str(r["files"]), str(r["number"]), f"{r['top1']:.1f}", f"{r['calibration_error']:.1f}"]
        for r in records
    ]
    print_table(head, rows, left=(0, 1))
    columns = [f"{r['over']}, {r['files']}" for r in records if r["files"] == "all"]
    per_class = [r["classes"] for r in records if r["files"] == "all"]
    rows = [[label, *(f"{classes[label]:.1f}" for classes in per_class)] for label in MOTIONS]  # type: ignore[index]
    print_table(["class", *columns], rows)


KEPT = ("task", "preset", "epochs", "versions", "temperature", "validation")


def package(weights: Path, target: Path, records: Sequence[dict[str, object]]) -> None:
    """Writes the packaged file with what was measured. Raises VideoMambaError where it is too large."""
    predictor = Predictor.from_pretrained(weights)
    known = read_bundle_metadata(weights).info
    info = {key: known[key] for key in KEPT if key in known} | {
        "command": "python benchmarks/camera_motion.py --sources SOURCES --out runs/camera_motion --processes 2 --write FILE",
        "data": "videomamba synth-camera over the sources of benchmarks/camera_sources.py",
        "license": "Apache-2.0",
        "measured": {str(r["over"]): round(float(str(r["top1"])), 1) for r in records if r["files"] == "all"},
    }
    save_bundle(target, predictor.model, predictor.preprocess, predictor.labels, info)
    if (size := target.stat().st_size) > LARGEST:
        raise VideoMambaError(f"{target}: has {size} bytes, more than {LARGEST}; make the network smaller")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=Path, required=True, help="folder that camera_sources.py wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder of clips and trainings; they are resumed")
    parser.add_argument("--processes", type=int, default=1, help="processes that train")
    parser.add_argument("--seed", type=int, default=0, help="of the training; the clips stay the same")
    parser.add_argument("--tiny", action="store_true", help="a trial of a few clips, whose numbers mean nothing")
    parser.add_argument("--model", type=Path, help="weights to measure; nothing is trained")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the calibrated model, the packaged one")
    parser.add_argument("--json", action="store_true", help="one JSON record a line")
    args = parser.parse_args()
    sizes = TINY if args.tiny else FULL
    bench = Benchmark(args.sources, args.out, sizes, processes=args.processes, seed=args.seed)
    try:
        weights = args.model or bench.calibrated(bench.train())
        records = []
        for one in report(bench, weights):
            records.append(one)
            if args.json:
                print(json.dumps(one), flush=True)
        if args.write is not None:
            package(weights, args.write, records)
    except (VideoMambaError, VideoError) as error:
        raise SystemExit(f"{Path(sys.argv[0]).name}: {error}") from None
    if not args.json:
        show(records)


if __name__ == "__main__":
    main()
