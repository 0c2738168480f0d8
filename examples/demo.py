"""Renders a new clip, classifies it, and draws the frames that the model saw.

python examples/demo.py --out demo
"""

from __future__ import annotations

import argparse
import secrets
import time
from pathlib import Path

from videomamba import Predictor
from videomamba.synthetic.actions import ACTIONS
from videomamba.synthetic.dataset import caption, render_clip
from videomamba.video.encode import write_video
from videomamba.video.picture import contact_sheet, write_png


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the clip and the picture")
    parser.add_argument("--seed", type=int, help="scene to render; default: a new one each time")
    args = parser.parse_args()
    seed = secrets.randbelow(2**31) if args.seed is None else args.seed
    action = seed % len(ACTIONS)
    args.out.mkdir(parents=True, exist_ok=True)

    clip = args.out / "clip.mp4"
    write_video(clip, render_clip(action, seed, num_frames=48, height=180, width=240), fps=24)
    predictor = Predictor.from_pretrained()
    predictor(clip)  # the first call also starts threads and fills caches
    started = time.perf_counter()
    prediction = predictor(clip)
    seconds = time.perf_counter() - started
    sheet = args.out / "what_the_model_saw.png"
    write_png(sheet, contact_sheet(predictor.clips(clip)[0], columns=4, preprocess=predictor.preprocess))

    print(f"\nrendered   {clip} (seed {seed}): {caption(action, seed)}")
    for i, answer in enumerate(prediction.predictions):
        print(f"{'predicted' if i == 0 else '':9}  {answer.label:<26} {100 * answer.score:5.1f} %")
    print(f"{'correct' if prediction.top.label == ACTIONS[action] else 'WRONG':9}  it was {ACTIONS[action]}")
    print(f"time       {1000 * seconds:.1f} ms from file to answer (decoding included)")
    print(f"picture    {sheet}")
    print("\nNow your own file:  .venv/bin/videomamba predict FILE --model NAME   (names: .venv/bin/videomamba zoo)")


if __name__ == "__main__":
    main()
