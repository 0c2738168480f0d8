"""A network compared with its own matrix products, the shares of its time, and growth of time and memory with the clip.

The products are those of the network, of the same shapes and dtype, through `torch.nn.functional.linear`: the time above
theirs is the cost of the rest of the network.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch.autograd.profiler import profile, record_function
from torch.autograd.profiler_util import FunctionEvent

from videomamba.bench import peers
from videomamba.bench.flops import products, tokens
from videomamba.bench.measure import DTYPE_NAMES, Cell, Figure, fitted_exponent, measure, peak_memory
from videomamba.memory import return_large_blocks
from videomamba.models.config import VideoMambaConfig
from videomamba.models.precision import MasterWeights, cast_products
from videomamba.models.videomamba import VideoMamba
from videomamba.ops import dispatch

Call = Callable[[], object]

GROWTH = "inference against the length of the clip; the peak is the memory of a call above weights and clip"
LAYER_MEMORY = "inference of one layer: its output and one direction's result, and the peak above weights and input"
LAYER_FACTOR = 8
"""The memory of a layer is measured on a clip and on one this many times longer."""
EXPONENTS = "fitted exponent of time and memory against the length: 1 is linear"
STANDARD_FRAMES = 16
"""The time per frame of other lengths is compared with that of this one, where it is measured."""

# The events of a profile that belong to a part: operators of PyTorch by name, others by its start. The outermost listed
# event includes all events inside it.
PARTS: Mapping[str, tuple[str, ...]] = {
    "products": tuple(
        f"aten::{name}" for name in ("linear", "mm", "addmm", "matmul", "conv3d", "convolution_backward")
    ),
    "scan": ("videomamba::native_scan", "videomamba::selective_scan"),
    "conv": ("videomamba::native_conv", "videomamba::causal_conv1d"),
    "norm+residual": (
        "videomamba::native_norm",
        *("aten::rms_norm", "aten::_fused_rms_norm", "aten::add", "aten::mul", "aten::div", "aten::pow", "aten::rsqrt"),
        *("aten::mean", "aten::sum"),
    ),
    "casts and copies": ("aten::to", "aten::_to_copy", "aten::copy", "aten::contiguous", "aten::cat"),
    "optimiser": ("Optimizer.step",),
}
_PROFILED_RUNS = 3


def build_inference(config: VideoMambaConfig, dtype: torch.dtype, device: str = "cpu") -> Call:
    """Inference on one clip with random weights, the products in `dtype`."""
    model = VideoMamba(config).eval().to(device)
    cast_products(model, dtype)
    video = torch.randn(1, 3, config.num_frames, *config.image_size, device=device)
    return torch.inference_mode()(partial(model, video))


def build_layer(config: VideoMambaConfig, dtype: torch.dtype, form: str) -> Call:
    """Inference of one layer, "fused" as it normally runs or "modular" as with a hook."""
    model = VideoMamba(config.model_copy(update={"depth": 1})).eval()
    cast_products(model, dtype)
    layer, residual = model.get_submodule("layers.0"), torch.randn(1, tokens(config), config.dim)
    if form == "modular":
        layer.get_submodule("mixer.in_proj").register_forward_hook(lambda *_: None)
    return torch.inference_mode()(partial(layer, residual))


def build_training_step(config: VideoMambaConfig, dtype: torch.dtype, recomputed: int = 0) -> Call:
    """Forward, loss, backward and an AdamW step on one clip, the products in `dtype` with fp32 master weights.

    The first `recomputed` blocks compute their activations again instead of keeping them; then the process returns large
    blocks of memory, as `videomamba train` does.
    """
    model = VideoMamba(config).train()
    model.recompute_activations(recomputed)
    if recomputed:
        return_large_blocks()
    masters = MasterWeights(model, dtype)
    optimizer = torch.optim.AdamW(masters.parameters(), lr=1e-5)
    video, label = torch.randn(1, 3, config.num_frames, *config.image_size), torch.zeros(1, dtype=torch.int64)

    def call() -> None:
        F.cross_entropy(model(video), label).backward()  # type: ignore[no-untyped-call]
        masters.collect_gradients()
        optimizer.step()
        masters.publish()
        optimizer.zero_grad()

    return call


def build_products(config: VideoMambaConfig, dtype: torch.dtype, *, training: bool) -> Call:
    """The matrix products of one inference, in training also those of input (not of the patch embedding) and weight
    gradients. Each product has its own weights, as in the network."""
    work = []
    for product in products(config):
        x = torch.randn(product.rows, product.inner).to(dtype)
        grad = torch.randn(product.rows, product.outer).to(dtype)
        weights = torch.randn(product.count, product.outer, product.inner).to(dtype)
        work.append((x, grad, weights, product.part != "patch embedding"))

    def call() -> None:
        with torch.inference_mode():
            for x, grad, weights, input_gradient in work:
                for weight in weights:
                    F.linear(x, weight)
                    if training:
                        F.linear(grad.mT, x.mT)
                        if input_gradient:
                            F.linear(grad, weight.mT)

    return call


def bench_model(
    name: str, config: VideoMambaConfig, dtypes: Sequence[torch.dtype], *, runs: int, lengths: Sequence[int]
) -> Iterator[Figure]:
    """The lines of `videomamba bench model`: times over the products, the share of each part, growth over `lengths`."""
    if not peers.available():
        yield Figure("not measured", {"what": "TimeSformer-B", "why": peers.ABSENCE})
    parts: list[Figure] = []
    for mode, build in (("inference", build_inference), ("training step", build_training_step)):
        for dtype in dtypes:
            calls = {
                name: build(config, dtype),
                "its products": build_products(config, dtype, training=mode != "inference"),
            }
            if mode == "inference" and peers.available():
                size, frames = config.image_size[0], config.num_frames
                calls["TimeSformer-B"] = peers.peer_inference(
                    peers.TIMESFORMER_B, frames=frames, size=size, dtype=dtype
                )
            found = measure(calls, runs=runs)
            for candidate, timing in found.items():
                yield Figure(
                    f"{_clip(config)}, compared with the matrix products alone",
                    {
                        "mode": mode,
                        "dtype": DTYPE_NAMES[dtype],
                        "candidate": candidate,
                        **timing.cells(),
                        "over products": timing.over(found["its products"]),
                        f"over {name}": timing.over(found[name]),
                    },
                )
            for part, share in shares(calls[name]).items():
                cells: dict[str, Cell] = {"mode": mode, "dtype": DTYPE_NAMES[dtype], "part": part, "share": share}
                cells["ms"] = 1e3 * share * found[name].median
                parts.append(Figure(f"{_clip(config)}, where the time of {name} goes", cells))
    yield from parts
    yield from _layer_memory(config, dtypes)
    if lengths:
        yield from _growth(name, config, dtypes[0], runs=runs, lengths=lengths)


def _clip(config: VideoMambaConfig) -> str:
    height, width = config.image_size
    return f"batch 1, {config.num_frames} frames, {height}x{width}"


def shares(call: Call) -> dict[str, float]:
    """The share of each part of PARTS in the time of `call`, by PyTorch's profiler; "rest" is in no part."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler would report its start and stop on stderr
    call()
    with dispatch.kernels_in_profiles(), profile(use_kineto=False) as profiled:
        for _ in range(_PROFILED_RUNS):
            with record_function("whole"):
                call()
    spent = dict.fromkeys(PARTS, 0.0)

    def claim(event: FunctionEvent, owner: str | None) -> None:
        part = _part_of(event.name)
        if part is not None and (owner is None or (owner == "products" and event.name == "aten::to")):
            spent[part] += event.cpu_time_total
            if owner is not None:  # autocast casts inside the product
                spent[owner] -= event.cpu_time_total
            owner = part
        for child in event.cpu_children:
            claim(child, owner)

    roots = [event for event in profiled.function_events or [] if event.name == "whole"]
    for root in roots:
        claim(root, None)
    total = sum(event.cpu_time_total for event in roots)
    found = {part: time / total for part, time in spent.items() if time > 0}
    return {**found, "rest": 1 - sum(found.values())}


def _part_of(event: str) -> str | None:
    name = event.rstrip("_")  # in place or not
    for part, names in PARTS.items():
        if name in names or (not name.startswith("aten::") and name.startswith(names)):
            return part
    return None


def _layer_memory(config: VideoMambaConfig, dtypes: Sequence[torch.dtype]) -> Iterator[Figure]:
    for frames in (config.num_frames, LAYER_FACTOR * config.num_frames):
        changed = config.model_copy(update={"num_frames": frames})
        for dtype in dtypes:
            stream = tokens(changed) * config.dim * torch.float32.itemsize
            direction = tokens(changed) * config.inner_dim * dtype.itemsize
            for form in ("fused", "modular"):
                peak = peak_memory(build_layer, changed, dtype, form)
                yield Figure(
                    LAYER_MEMORY,
                    {
                        "dtype": DTYPE_NAMES[dtype],
                        "frames": frames,
                        "layer": form,
                        "output+one direction MB": (stream + direction) / 1e6,
                        "peak MB": None if peak is None else peak / 1e6,
                    },
                )


def _growth(
    name: str, config: VideoMambaConfig, dtype: torch.dtype, *, runs: int, lengths: Sequence[int]
) -> Iterator[Figure]:
    configs = {frames: config.model_copy(update={"num_frames": frames}) for frames in sorted(set(lengths))}
    found = measure({str(frames): build_inference(c, dtype) for frames, c in configs.items()}, runs=runs)
    standard = STANDARD_FRAMES if STANDARD_FRAMES in configs else next(iter(configs))
    peaks: dict[int, int] = {}
    for frames, changed in configs.items():
        timing = found[str(frames)]
        peak = peak_memory(build_inference, changed, dtype)
        if peak is not None:
            peaks[frames] = peak
        yield Figure(
            GROWTH,
            {
                "model": name,
                "dtype": DTYPE_NAMES[dtype],
                "frames": frames,
                **timing.cells(),
                "ms per frame": 1e3 * timing.median / frames,
                f"per frame, over {standard} frames": timing.over(found[str(standard)]) * standard / frames,
                "peak MB": None if peak is None else peak / 1e6,
            },
        )
    if len(configs) > 1:
        times = [found[str(frames)].median for frames in configs]
        memory = fitted_exponent(list(peaks), list(peaks.values())) if len(peaks) == len(configs) else None
        yield Figure(EXPONENTS, {"model": name, "time": fitted_exponent(list(configs), times), "memory": memory})
