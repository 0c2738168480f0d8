"""Self-distillation of a large student on a small training set, against the same student alone.

    python benchmarks/distillation.py --out runs/distillation [--seeds 3] [--jobs 2]

The teacher, that of `small_actions.py`, has width 128 and 5 blocks and has seen the labels of all 800 videos. The student has
width 160 and 6 blocks and trains on 320 of the videos, which it overfits; `distilled` also learns the teacher's tokens of
them. The paper has teacher and student trained on all of ImageNet-1K, and no figure without distillation for these sizes.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from ablation import Variant, curves_of, lower_priority, options, report, run_all
from small_actions import SOME, supervised, teach, write_data

from videomamba.schema import VideoMambaError

STUDENT = (160, 6)
"""Width and depth."""
EPOCHS = 20
ALONE = "alone"


def training(seed: int, folder: Path, *, data: Path, teacher: Path | None = None) -> list[list[object]]:
    """Supervised training of the student on few videos, with a teacher or without, and its accuracy."""
    more = ["--model.drop-path", 0.1, *([] if teacher is None else ["--teacher.weights", teacher])]
    return supervised(seed, folder / "run", data=data, which=SOME, network=STUDENT, epochs=EPOCHS, more=more)


def main() -> None:
    args = options(__doc__).parse_args()
    lower_priority()
    data = args.out / "data"
    try:
        write_data(data)
        teacher, accuracy = teach(args.out, data)
        variants = (
            Variant(ALONE, partial(training, data=data)),
            Variant("distilled", partial(training, data=data, teacher=teacher)),
        )
        found = run_all(variants, out=args.out, seeds=args.seeds, jobs=args.jobs)
    except VideoMambaError as error:
        raise SystemExit(f"{Path(sys.argv[0]).name}: {error}") from None
    if not args.json:
        print(f"teacher: {accuracy:.1f} %\n")
    curves = curves_of(variants, args, training="run")
    report(variants, found, paper="-", as_json=args.json, baseline=ALONE, curves=curves)


if __name__ == "__main__":
    main()
