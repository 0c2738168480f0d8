"""One benchmark by its name: from the options of a user to the figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import torch

from videomamba.evaluation.benchmark import Figure, describe_machine
from videomamba.models.registry import build_config
from videomamba.ops import dispatch
from videomamba.schema import VideoMambaError
from videomamba.serving.bench.flops import bench_flops
from videomamba.serving.bench.model import EXPONENTS, GROWTH, bench_model
from videomamba.serving.bench.ops import bench_ops

LENGTHS = (8, 16, 32, 64, 128, 256, 512)
DTYPES = {"fp32": (torch.float32,), "bf16": (torch.bfloat16,), "both": (torch.float32, torch.bfloat16)}


def run(
    what: Literal["ops", "model", "flops"],
    *,
    model: str,
    frames: int,
    size: int | None,
    dtype: Literal["fp32", "bf16", "both"],
    runs: int,
    lengths: Sequence[int] | None,
    plot: Path | None,
    as_published: bool,
) -> Iterator[Figure]:
    """The figures of a benchmark as they are found, the machine first. Raises VideoMambaError for an option that is wrong."""
    if runs < 1:
        raise VideoMambaError(f"--runs {runs}: at least one run must be counted")
    if lengths is not None and min(lengths, default=1) < 1:
        raise VideoMambaError(f"--lengths {min(lengths)}: a clip has at least one frame")
    if plot is not None:
        if lengths is not None and len(set(lengths)) < 2:
            raise VideoMambaError("--plot: a curve needs two different --lengths")
        import videomamba.evaluation.plot  # noqa: F401  # an absent matplotlib is told before minutes of measuring
    overrides = {"num_frames": frames} | ({} if size is None else {"image_size": size})
    try:
        config = build_config(model, overrides)
    except ValueError as error:
        raise VideoMambaError(str(error)) from None
    dtypes = DTYPES[dtype]
    machine = describe_machine()
    yield Figure("machine", {**machine, "native kernels": dispatch.describe_native()})
    if what == "flops":
        yield from bench_flops(config, as_published=as_published)
    elif what == "ops":
        yield from bench_ops(config, dtypes, runs=runs)
    else:
        caption = (
            f"{model}, {config.image_size[0]}x{config.image_size[1]}: {machine['cpu']}, {machine['threads']} threads"
        )
        found = []
        for figure in bench_model(model, config, dtypes, runs=runs, lengths=LENGTHS if lengths is None else lengths):
            found.append(figure)
            yield figure
        if plot is not None:
            _draw(plot, found, caption)


def _draw(path: Path, figures: Sequence[Figure], caption: str) -> None:
    from videomamba.evaluation.plot import Panel, save_plot

    growth = [figure.cells for figure in figures if figure.table == GROWTH]
    exponents = next(figure.cells for figure in figures if figure.table == EXPONENTS)
    panels = [
        Panel(
            title,
            "frames in the clip",
            label,
            [_number(row["frames"]) for row in growth],
            {str(row["dtype"]): [_number(r[column]) for r in growth] for row in growth[:1]},
            {str(growth[0]["dtype"]): _number(exponents[quantity])},
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
