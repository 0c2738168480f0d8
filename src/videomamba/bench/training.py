"""Time and memory of a training step by the length of its clip, keeping the activations of all blocks or of none.

Each measurement is a process of its own, which warms up and reports its peak. Then the two of a length take turns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial

import numpy as np
import torch

from videomamba.bench.flops import mixer_passes, tokens
from videomamba.bench.measure import DTYPE_NAMES, Cell, Figure, Measured, fitted_exponent, take_turns
from videomamba.bench.model import build_training_step
from videomamba.bench.process import PROCESS_BYTES, FreshProcess, MeasurementError, free_memory
from videomamba.models.config import VideoMambaConfig

STEPS = "a training step on one clip; the peak is its memory above weights, optimiser state and clip"
SKIPPED = "training steps that were not measured"
GROWTH = "training step against the length: bytes a further frame takes, and exponents (1 is linear)"

KEPT, RECOMPUTED = "kept", "of all blocks computed again"


def bench_training(
    name: str, config: VideoMambaConfig, dtypes: Sequence[torch.dtype], *, runs: int, lengths: Sequence[int]
) -> Iterator[Figure]:
    """The lines of `videomamba bench training`, one number of frames after another, then growth.

    A step that is estimated to need more memory than is available is skipped, and a line says so.
    """
    for dtype in dtypes:
        found: dict[str, dict[int, Measured]] = {KEPT: {}, RECOMPUTED: {}}
        for frames in sorted(set(lengths)):
            changed = config.model_copy(update={"num_frames": frames})
            measured, skipped = _measure(changed, dtype, runs=runs)
            for activations, one in measured.items():
                found[activations][frames] = one
                yield Figure(STEPS, _cells(name, dtype, frames, activations, measured))
            for activations, why in skipped.items():
                cells: dict[str, Cell] = {"model": name, "dtype": DTYPE_NAMES[dtype], "frames": frames}
                yield Figure(SKIPPED, {**cells, "activations": activations, "why": why})
        for activations, by_length in found.items():
            if len(by_length) > 1:
                yield Figure(GROWTH, _growth(name, dtype, activations, by_length))


def needed_bytes(config: VideoMambaConfig, dtype: torch.dtype, activations: str) -> int:
    """An estimate of the peak of a training step on one clip: the tensors that its layers keep for the backward pass.

    Shapes: d width, e inner channels, n states, r rank of delta. For each token a layer keeps in fp32 3 d (stream, norm) and
    2 e n / 32 (states of both directions between blocks of 32 tokens); in the dtype of the products d (normed), 2 e
    (projected), e (sum of both directions) and, of each direction, e (convolved), e (delta) and r + 2 n. The gradients of one
    layer come on top. A block that is computed again keeps d in fp32 until its turn.
    """
    width, inner, states = config.dim, config.inner_dim, config.d_state
    in_products = width + 7 * inner + 2 * (config.dt_rank + 2 * states)
    layer = torch.float32.itemsize * (3 * width + inner * states // 16) + dtype.itemsize * in_products
    layers = mixer_passes(config)
    kept = tokens(config) * (layers + 1) * layer
    if activations == KEPT:
        return kept
    alive = config.depth * torch.float32.itemsize * width + 2 * (layers // config.depth) * layer
    return min(tokens(config) * alive, kept)


def _measure(config: VideoMambaConfig, dtype: torch.dtype, *, runs: int) -> tuple[dict[str, Measured], dict[str, str]]:
    """The measurements at one length, by activations, and the reasons for skipped ones."""
    skipped: dict[str, str] = {}
    if config.num_frames % config.tubelet_size:
        return {}, dict.fromkeys((KEPT, RECOMPUTED), f"a patch is {config.tubelet_size} frames long; take a multiple")
    with ExitStack() as stack:
        ready: dict[str, tuple[FreshProcess, float, int | None]] = {}
        for activations, first_blocks in ((KEPT, 0), (RECOMPUTED, config.depth)):
            needs, free = needed_bytes(config, dtype, activations) + PROCESS_BYTES, free_memory("cpu")
            if free is not None and needs > free:
                skipped[activations] = f"needs about {needs / 1e9:.1f} GB, {free / 1e9:.1f} GB are free"
                continue
            process = stack.enter_context(FreshProcess(partial(build_training_step, config, dtype, first_blocks)))
            try:
                ready[activations] = (process, *process.warm_up())
            except MeasurementError as error:
                skipped[activations] = str(error)
        timers = {activations: process.seconds for activations, (process, _, _) in ready.items()}
        expected = {activations: seconds for activations, (_, seconds, _) in ready.items()}
        timings = take_turns(timers, expected, runs=runs)
    return {key: Measured(timings[key], peak) for key, (_, _, peak) in ready.items()}, skipped


def _cells(
    name: str, dtype: torch.dtype, frames: int, activations: str, measured: Mapping[str, Measured]
) -> dict[str, Cell]:
    one, kept = measured[activations], measured.get(KEPT)
    return {
        "model": name,
        "dtype": DTYPE_NAMES[dtype],
        "frames": frames,
        "activations": activations,
        **one.timing.cells(),
        "time over kept": None if kept is None else one.timing.over(kept.timing),
        "peak MB": None if one.peak is None else one.peak / 1e6,
        "peak over kept": one.peak / kept.peak if kept and kept.peak and one.peak else None,
    }


def _growth(name: str, dtype: torch.dtype, activations: str, found: Mapping[int, Measured]) -> dict[str, Cell]:
    lengths = list(found)
    peaks = [float(one.peak) for one in found.values() if one.peak]
    whole = len(peaks) == len(lengths)
    return {
        "model": name,
        "dtype": DTYPE_NAMES[dtype],
        "activations": activations,
        "from": lengths[0],
        "to": lengths[-1],
        "KB per frame": float(np.polyfit(lengths, peaks, 1)[0]) / 1e3 if whole else None,
        "memory": fitted_exponent(lengths, peaks) if whole else None,
        "time": fitted_exponent(lengths, [one.timing.median for one in found.values()]),
    }
