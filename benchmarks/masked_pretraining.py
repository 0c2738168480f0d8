"""The paper's ablations of masked pretraining on synthetic actions, and what pretraining is worth with few labels.

    python benchmarks/masked_pretraining.py --out runs/masked_pretraining [--seeds 3] [--jobs 2] [--tables labels masks ...]

Data and teacher are those of `small_actions.py`: the packaged network, trained further on clips of 80x80 pixels with the labels
of all 800 training videos. A student learns its features from masked clips of the same videos without labels, then the classes
from 40 labelled videos of each class, in the first table also from 10 (`10%`). `scratch` is the second step alone.

Clips have 4 x 5 x 5 patches, so that at 80 % every mask shows exactly 20 patches: with 14 rows, as in the paper, masks of rows
show a twentieth more than the others. The teacher has no attention; what stands in for it is described at `VideoMambaTeacher`.
Next to the results are the paper's figures on Something-Something V2 for the middle network with CLIP as the teacher and all
labels: network, teacher, data and labels differ, so only the ranking can be compared.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

from ablation import Variant, curves_of, lower_priority, options, report, run_all
from small_actions import ALL, FEW, SOME, size, steps, supervised, teach, videos, write_data

from videomamba.schema import VideoMambaError

EPOCHS, TUNING_EPOCHS = 12, {SOME: 8, FEW: 14}
STUDENT = (96, 4)
"""Width and depth."""
SCRATCH = "scratch"


def tuning(
    seed: int, folder: Path, *, data: Path, labels: str = SOME, weights: Path | None = None
) -> list[list[object]]:
    """Training with labels, from `weights` or from random ones, and its accuracy."""
    start = ["--model.drop-path", 0, *([] if weights is None else ["--model.weights", weights])]
    out, epochs = folder / "tuned", TUNING_EPOCHS[labels]
    return supervised(seed, out, data=data, which=labels, network=STUDENT, epochs=epochs, more=start)


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
    labels: str = SOME,
) -> list[list[object]]:
    """Masked pretraining without labels, then `tuning`."""
    pretrain = ["pretrain", *videos(data, ALL), *size(*STUDENT), "--model.drop-path", drop_path]
    pretrain += steps(EPOCHS, 3e-3, seed=seed, out=folder / "pretrained")
    # Clips that are always the same: the teacher sees each once, and only the mask changes.
    pretrain += ["--augment.crop", "centre", "--augment.frames", "middle", "--teacher.cache", "true"]
    pretrain += ["--teacher.weights", teacher, "--mask.name", mask, "--mask.ratio", ratio, "--align.layers", layers]
    weights = folder / "pretrained/last.safetensors"
    return [pretrain, *tuning(seed, folder, data=data, labels=labels, weights=weights)]


def tables(data: Path, teacher: Path) -> dict[str, tuple[Variant, ...]]:
    """Each comparison of the paper; a run that stands in several tables is made once."""

    def masked(name: str, published: float | None = None, **changes: Any) -> Variant:
        return Variant(name, partial(pretraining, data=data, teacher=teacher, **changes), published)

    best = masked("attention", 68.5)
    return {
        "labels": (
            masked("attention"),
            Variant(SCRATCH, partial(tuning, data=data)),
            masked("attention_10%", labels=FEW),
            Variant(f"{SCRATCH}_10%", partial(tuning, data=data, labels=FEW)),
        ),
        "masks": (
            masked("random", 67.4, mask="random"),
            masked("tube", 66.3, mask="tube"),
            masked("clip-row", 68.2, mask="clip-row"),
            masked("frame-row", 67.8, mask="frame-row"),
            best,
        ),
        "ratios": (masked("50%", ratio=0.5), masked("65%", ratio=0.65), best, masked("90%", ratio=0.9)),
        "layers": (best, masked("2_layers", layers=2)),
        "drop_path": (best, masked("drop_path_0.4", drop_path=0.4)),
    }


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--tables", nargs="+", default=["labels", "masks", "ratios", "layers", "drop_path"])
    args = parser.parse_args()
    lower_priority()
    try:
        data = args.out / "data"
        write_data(data)
        teacher, accuracy = teach(args.out, data)
        chosen = tables(data, teacher)
        if unknown := set(args.tables) - set(chosen):
            parser.error(f"no table {', '.join(sorted(unknown))}; choose from {', '.join(chosen)}")
        runs = {variant.name: variant for name in args.tables for variant in chosen[name]}
        found = run_all(list(runs.values()), out=args.out, seeds=args.seeds, jobs=args.jobs)
    except VideoMambaError as error:
        raise SystemExit(f"{Path(sys.argv[0]).name}: {error}") from None
    if not args.json:
        print(f"teacher: {accuracy:.1f} %")
    for name in args.tables:
        if not args.json:
            print(f"\n{name}")
        report(
            chosen[name],
            found,
            paper="SSv2",
            as_json=args.json,
            baseline=None if name == "labels" else "attention",
            curves=curves_of(chosen[name], args, training="tuned"),
        )


if __name__ == "__main__":
    main()
