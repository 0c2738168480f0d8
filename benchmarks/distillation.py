"""Self-distillation of a large student on a small training set, against the same student alone.

    python benchmarks/distillation.py --out runs/distillation [--seeds 3] [--jobs 2]

Data are those of `small_actions.py`. The student is wider and deeper than its teacher and trains on a tenth of the videos,
which it overfits. `distilled` also learns the tokens of a small network that was trained on all 800 videos, `peer` those of a
small network that was trained on the same tenth: a teacher that has seen nothing more. The paper has teacher and student
trained on all of ImageNet-1K, and no figure without distillation for these sizes.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

from ablation import Variant, curves_of, options, report, run_all
from small_actions import ALL, FEW, supervised, write_data

from videomamba.schema import VideoMambaError

STUDENT, SMALL = (128, 6), (64, 4)
"""Width and depth of the student, and of its teachers."""
ALONE = "alone"


def training(
    seed: int,
    folder: Path,
    *,
    data: Path,
    which: str,
    network: tuple[int, int],
    epochs: int,
    teacher: Path | None = None,
) -> list[list[object]]:
    """Supervised training, with a teacher or without, and its accuracy."""
    more = ["--model.drop-path", 0.1, *([] if teacher is None else ["--teacher.weights", teacher])]
    return supervised(seed, folder / "run", data=data, which=which, network=network, epochs=epochs, more=more)


def main() -> None:
    args = options(__doc__).parse_args()
    if hasattr(os, "nice"):  # not on Windows
        os.nice(19)
    data = args.out / "data"
    teachers = [
        Variant("small", partial(training, data=data, which=ALL, network=SMALL, epochs=8)),
        Variant("small_peer", partial(training, data=data, which=FEW, network=SMALL, epochs=20)),
    ]
    student = partial(training, data=data, which=FEW, network=STUDENT, epochs=20)
    variants = (
        Variant(ALONE, student),
        Variant("distilled", partial(student, teacher=args.out / "small_0/run/last.safetensors")),
        Variant("peer", partial(student, teacher=args.out / "small_peer_0/run/last.safetensors")),
    )
    try:
        write_data(data)
        taught = run_all(teachers, out=args.out, seeds=1, jobs=args.jobs)
        found = run_all(variants, out=args.out, seeds=args.seeds, jobs=args.jobs)
    except VideoMambaError as error:
        raise SystemExit(f"{Path(sys.argv[0]).name}: {error}") from None
    if not args.json:
        print(*(f"{name}: {values[0]:.1f} %" for name, values in taught.items()), sep="\n", end="\n\n")
    report(
        variants, found, paper="-", as_json=args.json, baseline=ALONE, curves=curves_of(variants, args, training="run")
    )


if __name__ == "__main__":
    main()
