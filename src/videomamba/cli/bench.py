"""`videomamba bench` and `videomamba doctor`: what this machine has and can do."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from videomamba.cli.output import Json, cell, print_json, print_table, waiting


def doctor(*, json: Json = False) -> int:
    """Say what is installed and which backend serves which operator on this machine, and why."""
    from videomamba.serving.doctor import examine

    findings = examine()
    for finding in findings:
        if json:
            print_json(finding.as_dict())
        else:
            print(f"{'  ' if finding.ok else '! '}{finding.topic:>32}  {finding.finding}")
    return 0


def bench(
    what: Annotated[
        Positional[Literal["ops", "model", "flops"]],
        arg(
            metavar="{ops,model,flops}",
            help="ops: both operators on every backend, and the limits of this machine. "
            "model: a network beside its own matrix products, where its time goes, how it grows with the clip. "
            "flops: its arithmetic, counted without running it",
        ),
    ],
    /,
    *,
    model: Annotated[str, arg(help="architecture, with random weights (`ops`: whose layer sizes)")] = "videomamba_tiny",
    frames: Annotated[int, arg(metavar="T", help="frames in the clip")] = 16,
    size: Annotated[int | None, arg(metavar="PIXELS", help="side of the picture; default: the architecture's")] = None,
    dtype: Annotated[Literal["fp32", "bf16", "both"], arg(help="of the ops' inputs, of matrix products")] = "both",
    runs: Annotated[int, arg(help="counted runs of each call; 3 at most of those longer than a second")] = 9,
    lengths: Annotated[
        tuple[int, ...] | None,
        arg(metavar="T [T ...]", help="model: frames of the clips for the growth; default: 8 16 32 64 128 256 512"),
    ] = None,
    plot: Annotated[
        Path | None, arg(metavar="FILE.png", help="model: draw time and memory against the length; needs matplotlib")
    ] = None,
    as_published: Annotated[
        bool, arg(help="flops: count as the paper did, without the state space model between the outer projections")
    ] = False,
    json: Json = False,
) -> int:
    """Measure this machine: medians between quartiles, ratios within one run, memory, limits. Minutes at full size."""
    from videomamba.schema import VideoMambaError
    from videomamba.serving.bench import run

    for option, given, of in (
        ("--lengths", lengths is not None, "model"),
        ("--plot", plot is not None, "model"),
        ("--as-published", as_published, "flops"),
    ):
        if given and what != of:
            raise VideoMambaError(f"{option}: belongs to `videomamba bench {of}`")
    figures = run.run(
        what,
        model=model,
        frames=frames,
        size=size,
        dtype=dtype,
        runs=runs,
        lengths=lengths,
        plot=plot,
        as_published=as_published,
    )
    for table, lines in itertools.groupby(waiting(figures, what="measuring"), key=lambda figure: figure.table):
        if json:
            for figure in lines:
                print_json(figure.as_dict())
        else:
            cells = [figure.cells for figure in lines]
            columns = list(dict.fromkeys(column for row in cells for column in row))
            rows = [[cell(row.get(column)) for column in columns] for row in cells]
            print(table)
            print_table(columns, rows)
    return 0
