"""One benchmark by its name: from the options of a user to the figures."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from videomamba.bench import efficiency, peers, training, whole
from videomamba.bench.candidates import AGAINST
from videomamba.bench.flops import bench_flops
from videomamba.bench.measure import Figure, describe_machine
from videomamba.bench.model import EXPONENTS, GROWTH, bench_model
from videomamba.bench.ops import bench_ops
from videomamba.models.config import VideoMambaConfig
from videomamba.models.registry import build_config
from videomamba.ops import dispatch
from videomamba.schema import VideoMambaError

MODEL_LENGTHS = (8, 16, 32, 64, 128, 256, 512)
EFFICIENCY_LENGTHS = (8, 16, 32, 64, 128, 256)
DTYPES = {"fp32": (torch.float32,), "bf16": (torch.bfloat16,), "both": (torch.float32, torch.bfloat16)}


@dataclass(frozen=True)
class Options:
    """What a user may ask of the benchmarks. Of `lengths`, `plot`, `size` and `against` None is the benchmark's own."""

    model: str
    frames: int
    size: int | None
    dtype: Literal["fp32", "bf16", "both"]
    runs: int
    lengths: Sequence[int] | None
    plot: Path | None
    as_published: bool
    device: Literal["cpu", "cuda"]
    against: Sequence[str] | None
    most_seconds: float

    @property
    def config(self) -> VideoMambaConfig:
        overrides = {"num_frames": self.frames} | ({} if self.size is None else {"image_size": self.size})
        try:
            return build_config(self.model, overrides)
        except ValueError as error:
            raise VideoMambaError(str(error)) from None


def _ops(options: Options) -> Iterator[Figure]:
    yield from bench_ops(options.config, DTYPES[options.dtype], runs=options.runs)


def _flops(options: Options) -> Iterator[Figure]:
    yield from bench_flops(options.config, as_published=options.as_published)


def _model(options: Options) -> Iterator[Figure]:
    lengths = MODEL_LENGTHS if options.lengths is None else options.lengths
    found = []
    for figure in bench_model(options.model, options.config, DTYPES[options.dtype], runs=options.runs, lengths=lengths):
        found.append(figure)
        yield figure
    if options.plot is not None:
        _draw_growth(options.plot, found, _caption(options))


def _efficiency(options: Options) -> Iterator[Figure]:
    if options.against is not None and not peers.available():
        for absent in (name for name in options.against if name in peers.PEERS):
            raise VideoMambaError(f"--against {absent}: {peers.ABSENCE}")
    found = []
    for figure in efficiency.bench_efficiency(
        options.model,
        options.config,
        DTYPES[options.dtype],
        against=AGAINST if options.against is None else options.against,
        lengths=options.lengths or EFFICIENCY_LENGTHS,
        runs=options.runs,
        device=options.device,
        most_seconds=options.most_seconds,
    ):
        found.append(figure)
        yield figure
    if options.plot is not None:
        efficiency.draw(options.plot, found, _caption(options))


def _training(options: Options) -> Iterator[Figure]:
    lengths = options.lengths or training.LENGTHS
    yield from training.bench_training(
        options.model, options.config, DTYPES[options.dtype], runs=options.runs, lengths=lengths
    )


def _whole(options: Options) -> Iterator[Figure]:
    lengths = options.lengths or whole.LENGTHS
    yield from whole.bench_long(
        options.model, options.config, DTYPES[options.dtype], runs=options.runs, lengths=lengths
    )


@dataclass(frozen=True)
class Benchmark:
    run: Callable[[Options], Iterator[Figure]]
    takes: tuple[str, ...]
    """The options that mean something to it; another one is an error."""


BENCHMARKS: Mapping[str, Benchmark] = {
    "ops": Benchmark(_ops, ("model", "frames", "size", "dtype", "runs")),
    "model": Benchmark(_model, ("model", "frames", "size", "dtype", "runs", "lengths", "plot")),
    "flops": Benchmark(_flops, ("model", "frames", "size", "as_published")),
    "efficiency": Benchmark(
        _efficiency,
        ("model", "size", "dtype", "runs", "lengths", "plot", "device", "against", "most_seconds"),
    ),
    "training": Benchmark(_training, ("model", "size", "dtype", "runs", "lengths")),
    "whole": Benchmark(_whole, ("model", "size", "dtype", "runs", "lengths")),
}


def run(what: str, options: Options, *, given: Collection[str]) -> Iterator[Figure]:
    """The figures of a benchmark as they are found, the machine first. Raises VideoMambaError for an option that is wrong.

    `given` has the names of the options that the user has set.
    """
    _check(what, options, given)
    if options.plot is not None:
        import videomamba.evaluation.plot  # noqa: F401  # an absent matplotlib is told before minutes of measuring
    options.config  # noqa: B018  # a wrong name or size is an error before the first line
    machine = {**describe_machine(), "native kernels": dispatch.describe_native()}
    yield Figure("machine", machine | ({"gpu": _gpu()} if options.device == "cuda" else {}))
    yield from BENCHMARKS[what].run(options)


def _check(what: str, options: Options, given: Collection[str]) -> None:
    for option in given:
        if option not in BENCHMARKS[what].takes:
            owners = [f"`videomamba bench {name}`" for name, of in BENCHMARKS.items() if option in of.takes]
            raise VideoMambaError(f"--{option.replace('_', '-')}: belongs to {' and '.join(owners)}")
    if options.runs < 1:
        raise VideoMambaError(f"--runs {options.runs}: at least one run must be counted")
    if options.lengths is not None and min(options.lengths, default=1) < 1:
        raise VideoMambaError(f"--lengths {min(options.lengths)}: a clip has at least one frame")
    if options.plot is not None and options.lengths is not None and len(set(options.lengths)) < 2:
        raise VideoMambaError("--plot: a curve needs two different --lengths")


def _gpu() -> str:
    return torch.cuda.get_device_name()


def _caption(options: Options) -> str:
    machine, (height, width) = describe_machine(), options.config.image_size
    where = _gpu() if options.device == "cuda" else f"{machine['cpu']}, {machine['threads']} threads"
    return f"{options.model}, {height}x{width}: {where}"


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
