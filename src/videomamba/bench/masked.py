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
from videomamba.schema import VideoMambaError
from videomamba.training.losses import alignment_loss

MASKED = "a step of masked pretraining on one clip, tube masks, the student alone; the peak is as above"
SKIPPED = "steps of masked pretraining that were not measured"
RATIOS = (0.0, 0.5, 0.8, 0.9)
TEACHER_DIM = 512
"""The width of CLIP ViT-B/16."""


def bench_masked(name: str, config: VideoMambaConfig, dtype: torch.dtype, *, runs: int) -> Iterator[Figure]:
    """A line for each share of masked patches, each over that without a mask. The config's head is not used.

    For a share that could not be measured, a line says why.
    """
    own: dict[str, Cell] = {"model": name, "dtype": DTYPE_NAMES[dtype], "frames": config.num_frames}
    ready: dict[float, tuple[FreshProcess, float, int | None]] = {}
    tokens: dict[float, int] = {}
    skipped: dict[float, str] = {}
    with ExitStack() as stack:
        for ratio in RATIOS:
            try:
                tokens[ratio] = 1 + len(_visible(config, ratio))
                process = stack.enter_context(FreshProcess(partial(build_masked_step, config, dtype, ratio)))
                ready[ratio] = (process, *process.warm_up())
            except VideoMambaError as error:  # also a process that ran out of memory
                skipped[ratio] = str(error)
        timers = {str(ratio): process.seconds for ratio, (process, _, _) in ready.items()}
        timings = take_turns(timers, {str(ratio): seconds for ratio, (_, seconds, _) in ready.items()}, runs=runs)
    found = {ratio: Measured(timings[str(ratio)], peak) for ratio, (_, _, peak) in ready.items()}
    whole = found.get(0.0)
    for ratio, one in found.items():
        yield Figure(
            MASKED,
            {
                **own,
                "masked": ratio,
                "tokens": tokens[ratio],
                **one.timing.cells(),
                "time over no mask": one.timing.over(whole.timing) if whole else None,
                "peak MB": None if one.peak is None else one.peak / 1e6,
                "peak over no mask": one.peak / whole.peak if whole and one.peak and whole.peak else None,
            },
        )
    for ratio, why in skipped.items():
        yield Figure(SKIPPED, {**own, "masked": ratio, "why": why})


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
