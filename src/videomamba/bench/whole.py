"""Whole-video passes: their time per frame compared with that of a short clip, their memory by mode, their results.

The input is the noise of a few frames, pushed again and again: decoding is not measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from videomamba.bench.flops import tokens
from videomamba.bench.measure import DTYPE_NAMES, Figure, measure, peak_memory
from videomamba.bench.model import STANDARD_FRAMES, Call, build_inference
from videomamba.models.config import VideoMambaConfig
from videomamba.models.precision import cast_products
from videomamba.models.videomamba import VideoMamba
from videomamba.models.whole import Keep, WholePass

SAMENESS_FRAMES = 256
"""The length at which the logits of the pass and of the plain forward are compared, in fp32."""
_FRAMES_AT_ONCE = 16
_REFERENCE_SHARE = 4
"""The short clip runs for about this fraction (1/4) of the time of a pass, for a fair mean."""


@dataclass(frozen=True)
class Mode:
    """The options of a pass that determine its memory, see `models.whole`."""

    keep: Keep
    stream: torch.dtype

    def __str__(self) -> str:
        return f"{DTYPE_NAMES[self.stream]} stream, keep {self.keep}"

    def bytes_per_token(self, config: VideoMambaConfig, products: torch.dtype) -> int:
        """The memory that grows with the video."""
        waiting = config.inner_dim * products.itemsize if self.keep == "direction" else 0
        return config.dim * self.stream.itemsize + waiting


MODES = tuple(Mode(keep, stream) for keep in ("direction", "states") for stream in (torch.float32, torch.bfloat16))


def build_pass(config: VideoMambaConfig, frames: int, dtype: torch.dtype, mode: Mode) -> Call:
    """One pass of `frames` frames through a network with random weights, its products in `dtype`."""
    model = VideoMamba(config).eval()
    cast_products(model, dtype)
    noise = torch.randn(3, max(_FRAMES_AT_ONCE // config.tubelet_size, 1) * config.tubelet_size, *config.image_size)

    def call() -> object:
        whole = WholePass(model, frames, stream=mode.stream, keep=mode.keep)
        for first in range(0, frames, noise.shape[1]):
            whole.push(noise[:, : frames - first])
        return whole.run()

    return call


def bench_whole(
    name: str, config: VideoMambaConfig, dtypes: Sequence[torch.dtype], *, runs: int, lengths: Sequence[int]
) -> Iterator[Figure]:
    """The lines of `videomamba bench whole`; the growth of memory is between the first and the last of `lengths`."""
    short = config.model_copy(update={"num_frames": STANDARD_FRAMES})
    longest = max(lengths)
    for dtype in dtypes:
        repeats = max(longest // STANDARD_FRAMES // _REFERENCE_SHARE, 1)
        calls: dict[str, Call] = {"clip": partial(_repeat, build_inference(short, dtype), repeats)}
        calls |= {str(mode): build_pass(short, longest, dtype, mode) for mode in MODES}
        found = measure(calls, runs=runs)
        per_frame = {key: repeats * STANDARD_FRAMES if key == "clip" else longest for key in calls}
        for key, timing in found.items():
            yield Figure(
                f"time of a frame in a whole-video pass of {longest} frames, and in a clip of {STANDARD_FRAMES}",
                {
                    "model": name,
                    "dtype": DTYPE_NAMES[dtype],
                    "mode": f"clips of {STANDARD_FRAMES}" if key == "clip" else key,
                    "ms a frame": 1e3 * timing.median / per_frame[key],
                    "over the clip": timing.over(found["clip"]) * per_frame["clip"] / per_frame[key],
                    "runs": len(timing.seconds),
                },
            )
    for dtype in dtypes:
        for mode in MODES:
            yield from _memory(name, config, dtype, mode, lengths)
    yield _sameness(name, config)


def _repeat(call: Call, times: int) -> None:
    for _ in range(times):
        call()


def _memory(
    name: str, config: VideoMambaConfig, dtype: torch.dtype, mode: Mode, lengths: Sequence[int]
) -> Iterator[Figure]:
    short = config.model_copy(update={"num_frames": STANDARD_FRAMES})
    first, last = min(lengths), max(lengths)
    peaks = {frames: peak_memory(build_pass, short, frames, dtype, mode) for frames in (first, last)}
    expected = mode.bytes_per_token(config, dtype) * (tokens(short) - 1) / STANDARD_FRAMES
    small, large = peaks[first], peaks[last]
    grows = None if small is None or large is None or first == last else (large - small) / (last - first)
    yield Figure(
        "memory of a whole-video pass above weights and pixels",
        {
            "model": name,
            "dtype": DTYPE_NAMES[dtype],
            "mode": str(mode),
            **{f"MB at {frames}": None if peak is None else peak / 1e6 for frames, peak in peaks.items()},
            "bytes a frame more": grows,
            "of which stream and direction": expected,
        },
    )


def _sameness(name: str, config: VideoMambaConfig) -> Figure:
    """The largest difference of logits between a pass and the plain forward, with temporal positions that are not 0."""
    torch.manual_seed(0)
    model = VideoMamba(config.model_copy(update={"num_frames": SAMENESS_FRAMES})).eval()
    torch.nn.init.normal_(model.temporal_pos_embedding, std=0.02)
    video = torch.randn(1, 3, SAMENESS_FRAMES, *config.image_size)
    with torch.inference_mode():
        expected = model(video)[0]
    whole = WholePass(model, SAMENESS_FRAMES)
    for first in range(0, SAMENESS_FRAMES, _FRAMES_AT_ONCE):
        whole.push(video[0, :, first : first + _FRAMES_AT_ONCE])
    difference = (whole.run().logits - expected).abs().max().item()
    return Figure(
        "a whole-video pass and the plain forward, fp32",
        {
            "model": name,
            "frames": SAMENESS_FRAMES,
            "largest logit": expected.abs().max().item(),
            "largest difference": difference,
        },
    )
