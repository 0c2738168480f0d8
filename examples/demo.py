"""Films a photograph with a camera that moves, asks what the camera did, and draws the frames that the model saw.

python examples/demo.py --out demo

The photograph, osprey.jpg, is "Perched Osprey" from the package budgie-backgrounds (CC0).
"""

from __future__ import annotations

import argparse
import secrets
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from videomamba import Prediction, Predictor
from videomamba.evaluation.lettering import lettering, stamp
from videomamba.schema import Frames
from videomamba.synthetic.camera.clip import Shape, render_camera_clip
from videomamba.synthetic.camera.motions import MOTIONS
from videomamba.synthetic.camera.sources import Sources
from videomamba.video.encode import write_video
from videomamba.video.open import open_video
from videomamba.video.picture import contact_sheet, write_png

PHOTOGRAPH = Path(__file__).with_name("osprey.jpg")
SHAPE = Shape(height=240, width=320, fps=24, crf=23)
SIDE = 216  # pixels of a frame in the picture
COLUMNS = 8
LETTERS = 20  # pixels


def draw(predictor: Predictor, prediction: Prediction, truth: str) -> torch.Tensor:
    """The frames of the one clip that the model saw, each with its time, below a line with answer and truth: (h, w, 3)."""
    (seen,) = predictor.clips(prediction.path)
    with open_video(prediction.path) as video:
        times = [float(video.timestamps[index]) for index in seen.indices]
    height, width = predictor.preprocess.image_size
    column = contact_sheet(seen, columns=1, preprocess=predictor.preprocess).view(-1, height, width, 3)
    size = SIDE, SIDE * width // height
    large = F.interpolate(column.permute(0, 3, 1, 2).float(), size, mode="bicubic").clamp(0, 255).round()
    data = large.to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    for picture, moment in zip(data.numpy(), times, strict=True):
        stamp(picture, lettering(f"{moment:.2f} s", LETTERS))
    sheet = contact_sheet(Frames(data, seen.indices, tuple(times)), columns=COLUMNS)
    answer = f"{prediction.top.label} {100 * prediction.top.score:.1f} %"
    line = f"predicted: {answer}; correct: {truth}; model: {prediction.model}"
    head = np.zeros((2 * LETTERS, sheet.shape[1], 3), np.uint8)
    stamp(head, lettering(line, LETTERS))
    return torch.cat([torch.from_numpy(head), sheet])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the clip and the picture")
    parser.add_argument("--seed", type=int, help="of the camera's path; default: a new one each time")
    args = parser.parse_args()
    seed = secrets.randbelow(2**31) if args.seed is None else args.seed
    label = seed % len(MOTIONS)
    args.out.mkdir(parents=True, exist_ok=True)

    clip = args.out / "clip.mp4"
    made = render_camera_clip(label, seed, Sources.find([PHOTOGRAPH]), shape=SHAPE)
    write_video(clip, made.frames, fps=made.fps, crf=made.crf, gop=made.gop)
    predictor = Predictor.from_pretrained()
    predictor(clip)  # the first call also starts threads and fills caches
    started = time.perf_counter()
    prediction = predictor(clip)
    seconds = time.perf_counter() - started
    sheet = args.out / "what_the_model_saw.png"
    write_png(sheet, draw(predictor, prediction, MOTIONS[label]))

    print(f"\nfilmed     {clip} (seed {seed}): a camera over {PHOTOGRAPH.name}")
    for i, answer in enumerate(prediction.predictions):
        print(f"{'predicted' if i == 0 else '':9}  {answer.label:<26} {100 * answer.score:5.1f} %")
    print(f"{'correct' if prediction.top.label == MOTIONS[label] else 'WRONG':9}  it was {MOTIONS[label]}")
    print(f"time       {1000 * seconds:.1f} ms from file to answer (decoding included)")
    print(f"picture    {sheet}")
    print("\nNow your own film:  .venv/bin/videomamba timeline FILE --out timelines/")


if __name__ == "__main__":
    main()
