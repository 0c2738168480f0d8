"""Time and memory of a step of masked pretraining, against the same step on all patches: the student alone, no teacher."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

import numpy as np
import torch

from videomamba.bench.measure import DTYPE_NAMES, Cell, Figure, Measured, take_turns
from videomamba.bench.process import FreshProcess
from videomamba.data.clips.masks import visible_patches
from videomamba.models.config import VideoMambaConfig
from videomamba.models.masked import MaskedVideoMamba
from videomamba.models.precision import MasterWeights
from videomamba.training.losses import alignment_loss

MASKED = "a step of masked pretraining on one clip, tube masks, the student alone; the peak is as above"
RATIOS = (0.0, 0.5, 0.8, 0.9)
TEACHER_DIM = 512
"""The width of CLIP ViT-B/16."""


def bench_masked(name: str, config: VideoMambaConfig, dtype: torch.dtype, *, runs: int) -> Iterator[Figure]:
    """A line for each share of masked patches, each over that without a mask. The config's head is not used."""
    with ExitStack() as stack:
        processes = {
            ratio: stack.enter_context(FreshProcess(partial(build_masked_step, config, dtype, ratio)))
            for ratio in RATIOS
        }
        ready = {ratio: process.warm_up() for ratio, process in processes.items()}
        timers = {str(ratio): process.seconds for ratio, process in processes.items()}
        timings = take_turns(timers, {str(ratio): seconds for ratio, (seconds, _) in ready.items()}, runs=runs)
    found = {ratio: Measured(timings[str(ratio)], peak) for ratio, (_, peak) in ready.items()}
    whole = found[0.0]
    for ratio, one in found.items():
        cells: dict[str, Cell] = {"model": name, "dtype": DTYPE_NAMES[dtype], "frames": config.num_frames}
        yield Figure(
            MASKED,
            {
                **cells,
                "masked": ratio,
                "tokens": 1 + len(_visible(config, ratio)),
                **one.timing.cells(),
                "time over no mask": one.timing.over(whole.timing),
                "peak MB": None if one.peak is None else one.peak / 1e6,
                "peak over no mask": one.peak / whole.peak if one.peak and whole.peak else None,
            },
        )


def build_masked_step(config: VideoMambaConfig, dtype: torch.dtype, ratio: float) -> Callable[[], object]:
    """Forward, loss, backward and an AdamW step of the student on one clip; products in `dtype`, fp32 master weights."""
    model = MaskedVideoMamba(config.model_copy(update={"num_classes": 0}), teacher_dim=TEACHER_DIM).train()
    masters = MasterWeights(model, dtype)
    optimizer = torch.optim.AdamW(masters.parameters(), lr=1e-5, fused=True)
    visible = torch.from_numpy(_visible(config, ratio)).unsqueeze(0)
    video = torch.randn(1, 3, config.num_frames, *config.image_size)
    targets = torch.randn(1, 1, 1 + visible.shape[1], TEACHER_DIM)

    def call() -> None:
        alignment_loss(model(video, visible), targets).mean().backward()  # type: ignore[no-untyped-call]
        masters.collect_gradients()
        optimizer.step()
        masters.publish()
        optimizer.zero_grad()

    return call


def _visible(config: VideoMambaConfig, ratio: float) -> np.ndarray:
    return visible_patches("tube", config.grid, ratio, np.random.default_rng(0))
