"""The picture of the README: renders a minute of video with known actions, and draws its timeline.

python examples/timeline.py --out docs/timeline.png
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import videomamba
from videomamba.synthetic.film import plan_events, write_film
from videomamba.weights.released import ACTIONS_MODEL

SECONDS, ACTIONS = 60, ("open", "rotate_clockwise", "move_left", "gather", "grow")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="PNG file to write")
    parser.add_argument("--seed", type=int, default=2, help="seed of the scene and the times of the actions")
    args = parser.parse_args()
    events = plan_events(len(ACTIONS), seconds=SECONDS, seed=args.seed, actions=ACTIONS)
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "video.mp4"
        write_film(video, events, seconds=SECONDS, seed=args.seed)
        found = videomamba.timeline(videomamba.Predictor.from_pretrained(ACTIONS_MODEL), video, window=2, stride=0.5)
        found.draw(args.out)
    for event in events:
        print(f"happens    {event.start:5.1f} to {event.end:5.1f} s  {event.action}")
    for segment in found.segments():
        print(f"found      {segment.start:5.1f} to {segment.end:5.1f} s  {segment.label}  {segment.score:.0%}")
    print(f"picture    {args.out}")


if __name__ == "__main__":
    main()
