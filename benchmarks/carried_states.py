"""Whether windows of a film may begin with the states in which the window before ended. They may not.

    python benchmarks/carried_states.py [--clips 160]

Unseen synthetic clips follow one another, each a window. "alone" is the packaged model as it is; "carried" lets the forward
scan of every layer begin with the state that it had at the end of the clip before, so that nothing is computed for history.
A network that was not trained so takes the old states for a part of what it sees.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from torch import Tensor

from videomamba import Predictor
from videomamba.data.clips.transforms import to_clip
from videomamba.models.videomamba import VideoMamba
from videomamba.ops.walk import WalkState
from videomamba.schema import Frames
from videomamba.synthetic.dataset import ACTIONS, render_clip


@torch.inference_mode()
def answer(model: VideoMamba, clip: Tensor, states: list[WalkState]) -> tuple[int, list[WalkState]]:
    """(class, the states of the forward scans at the end) of a clip (3, t, h, w) whose scans begin with `states`."""
    tokens, ends = model.embed(clip[None]), []
    for layer, state in zip(model.layers, states, strict=True):
        first, second = layer.halves(reverse=False)
        first.walk.state = state
        waiting = tokens.new_empty((1, tokens.shape[1], model.config.inner_dim))
        first.step(tokens, out=waiting)
        ends.append(first.state)
        second.step(tokens, waiting)
    features = model.norm_f(tokens)[:, 1:].mean(dim=1)
    return int(model.classify(features).argmax()), ends


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=160)
    options = parser.parse_args()
    predictor, rng = Predictor.from_pretrained(), np.random.default_rng(0)
    model, preprocess = predictor.model, predictor.preprocess
    fresh = [WalkState()] * model.config.depth
    right, states = {"alone": 0, "carried": 0}, fresh
    times = tuple(range(preprocess.num_frames))
    for i in range(options.clips):
        action = int(rng.integers(len(ACTIONS)))
        pictures = render_clip(action, 900_000_000 + i, num_frames=len(times), height=96, width=96)
        clip = to_clip(Frames(torch.from_numpy(pictures), times, tuple(map(float, times))), preprocess).data
        right["alone"] += answer(model, clip, fresh)[0] == action
        found, states = answer(model, clip, states)
        right["carried"] += found == action
    for name, count in right.items():
        print(f"{name:>8}: {100 * count / options.clips:.1f} % of {options.clips} clips right")


if __name__ == "__main__":
    main()
