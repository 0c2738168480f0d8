"""Self-distillation of a large student on a small training set, against the same student alone.

    python benchmarks/distillation.py --out runs/distillation [--seeds 3] [--jobs 2]

The student is wider and deeper than its teacher and trains on 128 videos, 8 of each class, which it overfits. `distilled` also
learns the tokens of the teacher of `small_actions.py`, which has seen the labels of 1,280 videos. `peer` learns those of a
small network trained on the same 128 videos: a teacher that knows nothing more. The paper has teacher and student trained on
all of ImageNet-1K, and no figure without distillation for these sizes.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

from ablation import Variant, options, report, run_all
from small_actions import FEW, evaluation, prepare, size, steps, videos

from videomamba.schema import VideoMambaError

EPOCHS = 30
STUDENT, SMALL = (192, 6), (64, 4)
"""Width and depth of the student, and of the teacher of `peer`."""
ALONE = "alone"


def training(
    seed: int, folder: Path, *, data: Path, network: tuple[int, int], teacher: Path | None = None
) -> list[list[object]]:
    """Supervised training on the few videos, with a teacher or without, and its accuracy."""
    command = ["train"] if teacher is None else ["distill", "--teacher.weights", teacher]
    run = [*command, *videos(data, FEW), *size(*network), "--model.drop-path", 0.1]
    run += [*steps(EPOCHS, 1e-3, seed=seed, out=folder / "run"), "--run.evaluate-every", 0, "--eval.weights", "last"]
    return [run, evaluation(folder / "run/last.safetensors", data)]


def main() -> None:
    args = options(__doc__).parse_args()
    if hasattr(os, "nice"):  # not on Windows
        os.nice(19)
    try:
        data, teacher, accuracy = prepare(args.out)
        small = Variant("small", partial(training, data=data, network=SMALL))
        of_small = run_all([small], out=args.out, seeds=1, jobs=1)["small"][0]
        student = partial(training, data=data, network=STUDENT)
        variants = (
            Variant(ALONE, student),
            Variant("distilled", partial(student, teacher=teacher)),
            Variant("peer", partial(student, teacher=args.out / "small_0/run/last.safetensors")),
        )
        found = run_all(variants, out=args.out, seeds=args.seeds, jobs=args.jobs)
    except VideoMambaError as error:
        raise SystemExit(f"{Path(sys.argv[0]).name}: {error}") from None
    if not args.json:
        print(f"teacher: {accuracy:.1f} %, the small network: {of_small:.1f} %\n")
    report(variants, found, paper="-", as_json=args.json, baseline=ALONE)


if __name__ == "__main__":
    main()
