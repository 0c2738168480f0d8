"""The benchmarks as a user calls them: from options to figures, the machine first.

Each raises VideoMambaError, when its first figure is taken, for an option that is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import torch

from videomamba.bench import peers
from videomamba.bench.candidates import AGAINST
from videomamba.bench.efficiency import bench_efficiency, draw
from videomamba.bench.flops import bench_flops
from videomamba.bench.masked import bench_masked
from videomamba.bench.measure import Figure, describe_machine
from videomamba.bench.model import EXPONENTS, GROWTH, bench_model
from videomamba.bench.ops import bench_ops
from videomamba.bench.training import bench_training
from videomamba.bench.whole import bench_whole
from videomamba.models.config import VideoMambaConfig
from videomamba.models.registry import build_config
from videomamba.ops import dispatch
from videomamba.schema import VideoMambaError

Dtype = Literal["fp32", "bf16", "both"]
DTYPES = {"fp32": (torch.float32,), "bf16": (torch.bfloat16,), "both": (torch.float32, torch.bfloat16)}


def ops(model: str, *, frames: int, size: int | None, dtype: Dtype, runs: int) -> Iterator[Figure]:
    config = _checked(model, size, frames, runs=runs)
    yield _machine()
    yield from bench_ops(config, DTYPES[dtype], runs=runs)


def model(
    model: str, *, frames: int, size: int | None, dtype: Dtype, runs: int, lengths: Sequence[int], plot: Path | None
) -> Iterator[Figure]:
    config = _checked(model, size, frames, runs=runs, lengths=lengths, plot=plot)
    yield _machine()
    figures = bench_model(model, config, DTYPES[dtype], runs=runs, lengths=lengths)
    yield from _drawn(figures, plot, _draw_growth, _caption(model, config))


def flops(model: str, *, frames: int, size: int | None, as_published: bool) -> Iterator[Figure]:
    config = _checked(model, size, frames)
    yield _machine()
    yield from bench_flops(model, config, as_published=as_published)


def efficiency(
    model: str,
    *,
    size: int | None,
    dtype: Dtype,
    runs: int,
    lengths: Sequence[int],
    plot: Path | None,
    device: str,
    against: Sequence[str] | None,
    most_seconds: float,
) -> Iterator[Figure]:
    """`against` None compares with all networks that are installed."""
    config = _checked(model, size, runs=runs, lengths=lengths, plot=plot)
    if against is not None and not peers.available():
        for absent in (name for name in against if name in peers.PEERS):
            raise VideoMambaError(f"--against {absent}: {peers.ABSENCE}")
    yield _machine(device)
    figures = bench_efficiency(
        model,
        config,
        DTYPES[dtype],
        against=AGAINST if against is None else against,
        lengths=lengths,
        runs=runs,
        device=device,
        most_seconds=most_seconds,
    )
    yield from _drawn(figures, plot, draw, _caption(model, config, device))


def training(model: str, *, size: int | None, dtype: Dtype, runs: int, lengths: Sequence[int]) -> Iterator[Figure]:
    config = _checked(model, size, runs=runs, lengths=lengths)
    yield _machine()
    yield from bench_training(model, config, DTYPES[dtype], runs=runs, lengths=lengths)
    for one in DTYPES[dtype]:
        yield from bench_masked(model, config.model_copy(update={"num_frames": min(lengths)}), one, runs=runs)


def whole(model: str, *, size: int | None, dtype: Dtype, runs: int, lengths: Sequence[int]) -> Iterator[Figure]:
    config = _checked(model, size, runs=runs, lengths=lengths)
    yield _machine()
    yield from bench_whole(model, config, DTYPES[dtype], runs=runs, lengths=lengths)


def _checked(
    model: str,
    size: int | None,
    frames: int = 16,
    *,
    runs: int = 1,
    lengths: Sequence[int] | None = None,
    plot: Path | None = None,
) -> VideoMambaConfig:
    if runs < 1:
        raise VideoMambaError(f"--runs {runs}: at least one run must be counted")
    if lengths is not None and min(lengths, default=0) < 1:
        raise VideoMambaError(f"--lengths {min(lengths, default='')}: a clip has at least one frame")
    if plot is not None:
        if lengths is not None and len(set(lengths)) < 2:
            raise VideoMambaError("--plot: a curve needs two different --lengths")
        import videomamba.evaluation.plot  # noqa: F401  # an absent matplotlib is an error now, not after minutes
    try:
        return build_config(model, {"num_frames": frames} | ({} if size is None else {"image_size": size}))
    except ValueError as error:
        raise VideoMambaError(str(error)) from None


def _machine(device: str = "cpu") -> Figure:
    machine = {**describe_machine(), "native kernels": dispatch.describe_native()}
    return Figure("machine", machine | ({"gpu": torch.cuda.get_device_name()} if device == "cuda" else {}))


def _caption(model: str, config: VideoMambaConfig, device: str = "cpu") -> str:
    machine, (height, width) = describe_machine(), config.image_size
    where = f"{machine['cpu']}, {machine['threads']} threads" if device == "cpu" else torch.cuda.get_device_name()
    return f"{model}, {height}x{width}: {where}"


def _drawn(
    figures: Iterable[Figure], plot: Path | None, draw: Callable[[Path, Sequence[Figure], str], None], caption: str
) -> Iterator[Figure]:
    """The figures, then their drawing in the file `plot`."""
    found = []
    for figure in figures:
        found.append(figure)
        yield figure
    if plot is not None:
        draw(plot, found, caption)


def _draw_growth(path: Path, figures: Sequence[Figure], caption: str) -> None:
    from videomamba.evaluation.plot import Panel, save_plot

    growth = [figure.cells for figure in figures if figure.table == GROWTH]
    exponents = next(figure.cells for figure in figures if figure.table == EXPONENTS)
    name = str(growth[0]["dtype"])
    panels = [
        Panel(
            title,
            "frames in the clip",
            label,
            {name: {int(_number(row["frames"])): _number(row[column]) for row in growth}},
            {name: _number(exponents[quantity])},
        )
        for title, label, column, quantity in (
            ("time of one inference", "milliseconds", "ms", "time"),
            ("peak memory of one inference", "megabytes", "peak MB", "memory"),
        )
        if exponents[quantity] is not None
    ]
    save_plot(path, panels, caption=caption)


def _number(cell: object) -> float:
    assert isinstance(cell, int | float)
    return cell
