"""Whether a window of a video may start from the final states of the window before. It may not.

    python benchmarks/carried_states.py [--clips 160]

Unseen synthetic clips follow one another, each a window. "alone" is the packaged model; in "carried" the forward scan of every
layer starts from its state at the end of the clip before, so that history costs no computation. A network that was not trained
this way treats the old states as a part of the clip.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from torch import Tensor, nn

from videomamba import Predictor
from videomamba.data.clips.transforms import to_clip
from videomamba.models.videomamba import VideoMamba
from videomamba.modules.block import Block
from videomamba.modules.scan_order import Order
from videomamba.ops.dispatch import WalkState
from videomamba.schema import Frames
from videomamba.synthetic.dataset import ACTIONS, render_clip
from videomamba.weights.released import ACTIONS_MODEL


class Carrying(nn.Module):
    """A layer whose forward scan starts from `state` and stores its final state there. One clip at a time."""

    def __init__(self, layer: Block, channels: int) -> None:
        super().__init__()
        self.layer, self.channels, self.state = layer, channels, WalkState()

    def forward(self, residual: Tensor, orders: tuple[Order, ...], lengths: Tensor | None) -> Tensor:
        assert orders == (None,) and lengths is None
        first, second = self.layer.halves(reverse=False)
        first.walk.state = self.state
        residual, waiting = residual.clone(), residual.new_empty((1, residual.shape[1], self.channels))
        first.step(residual, out=waiting)
        self.state = first.state
        second.step(residual, waiting)
        return residual


@torch.inference_mode()
def answer(model: VideoMamba, clip: Tensor) -> int:
    """The class of a clip (3, t, h, w)."""
    return int(model(clip[None]).argmax())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=160)
    options = parser.parse_args()
    predictor, rng = Predictor.from_pretrained(ACTIONS_MODEL), np.random.default_rng(0)
    model, preprocess = predictor.model, predictor.preprocess
    carrying = Predictor.from_pretrained(ACTIONS_MODEL).model
    carrying.layers = nn.ModuleList(Carrying(layer, model.config.inner_dim) for layer in carrying.layers)
    right = {"alone": 0, "carried": 0}
    times = tuple(range(preprocess.num_frames))
    for i in range(options.clips):
        action = int(rng.integers(len(ACTIONS)))
        pictures = render_clip(action, 900_000_000 + i, num_frames=len(times), height=96, width=96)
        clip = to_clip(Frames(torch.from_numpy(pictures), times, tuple(map(float, times))), preprocess).data
        right["alone"] += answer(model, clip) == action
        right["carried"] += answer(carrying, clip) == action
    for name, count in right.items():
        print(f"{name:>8}: {100 * count / options.clips:.1f} % of {options.clips} clips right")


if __name__ == "__main__":
    main()
