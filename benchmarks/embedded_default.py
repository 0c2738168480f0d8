"""The accuracy of the packaged model on unseen files, and its dependence on the order of the frames.

    python benchmarks/embedded_default.py [--clips-per-class 25] [--json]

Writes H.264 files of unseen seeds at sizes, frame rates and qualities that the training did not have, and classifies them
with the same code as `videomamba predict`. Each action has its exact reversal (`paired`), so before encoding both members of a
pair hold the same frames. A classifier that ignores the order gives both the same answer and is right for one of them, 50 %.
The rows with shuffled frames show the accuracy of this model without the order.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import torch

from videomamba import Predictor
from videomamba.schema import Clip
from videomamba.synthetic.dataset import ACTIONS, write_dataset
from videomamba.weights.released import ACTIONS_MODEL

CONDITIONS: dict[str, dict[str, int]] = {
    "320x240, 24 fps, CRF 30": {"seed": 7001, "num_frames": 48, "fps": 24, "height": 240, "width": 320, "crf": 30},
    "176x144, 10 fps, CRF 38": {"seed": 7002, "num_frames": 20, "fps": 10, "height": 144, "width": 176, "crf": 38},
    "200x200, 30 fps, CRF 18": {"seed": 7003, "num_frames": 60, "fps": 30, "height": 200, "width": 200, "crf": 18},
}


def accuracy(predictor: Predictor, folder: Path, *, shuffled: bool, **settings: int | bool) -> tuple[float, float, int]:
    """(top-1, share of answers in the right pair, number of files) of a data set written with `settings`."""
    generator = torch.Generator().manual_seed(0)
    files = write_dataset(folder, **settings)
    right = pair = 0
    for file in files:
        clips = predictor.clips(file.path)
        if shuffled:
            clips = [Clip(c.data[:, torch.randperm(c.data.shape[1], generator=generator)], c.indices) for c in clips]
        answer = int(predictor.logits(clips)[0].argmax())
        right += answer == file.label
        pair += answer // 2 == file.label // 2
    return right / len(files), pair / len(files), len(files)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips-per-class", type=int, default=25)
    parser.add_argument("--json", action="store_true", help="one JSON record a line")
    args = parser.parse_args()
    predictor = Predictor.from_pretrained(ACTIONS_MODEL)
    assert predictor.labels == ACTIONS
    with tempfile.TemporaryDirectory() as folder:
        for name, settings in CONDITIONS.items():
            for shuffled in (False, True):
                where = Path(folder) / name.replace(" ", "_")
                options = {**settings, "clips_per_class": args.clips_per_class, "paired": True}
                top1, pair, files = accuracy(predictor, where, shuffled=shuffled, **options)
                record = {"files": name, "frames": "shuffled" if shuffled else "in order", "number": files}
                if args.json:
                    print(json.dumps({**record, "top1": top1, "pair": pair}), flush=True)
                else:
                    print(
                        f"{name}, {record['frames']:>8}: top-1 {100 * top1:.1f} %, "
                        f"pair {100 * pair:.1f} %, of {files} files",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
