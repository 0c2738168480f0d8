"""`videomamba bench` and `videomamba doctor`: what this machine has and can do."""

from __future__ import annotations

import inspect
import itertools
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from videomamba.cli.output import Json, cell, print_json, print_table, usable_device, waiting


def doctor(*, json: Json = False) -> int:
    """Show what is installed, which backend runs each operator on this machine, and why."""
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
        Positional[Literal["ops", "model", "flops", "efficiency", "training", "whole"]],
        arg(
            metavar="{ops,model,flops,efficiency,training,whole}",
            help="ops: both operators on every backend, and the limits of this machine. "
            "model: a network beside its own matrix products; where its time goes and how it grows with the clip. "
            "flops: its arithmetic, counted without running it. "
            "efficiency: its time and memory beside networks with attention, from short clips to long. "
            "training: a step with activations kept and with activations recomputed, as the clip grows. "
            "whole: one pass through a long video beside short clips, and what grows in memory",
        ),
    ],
    /,
    *,
    model: Annotated[str, arg(help="architecture, with random weights; ops: take its layer sizes")] = "videomamba_tiny",
    frames: Annotated[int, arg(metavar="T", help="ops, model, flops: frames in the clip")] = 16,
    size: Annotated[
        int | None,
        arg(metavar="PIXELS", help="side of the picture", help_behavior_hint="(default: the architecture's)"),
    ] = None,
    dtype: Annotated[
        Literal["fp32", "bf16", "both"], arg(help="all but flops: type of the ops' inputs or of the matrix products")
    ] = "both",
    runs: Annotated[
        int, arg(help="all but flops: counted runs of each call, at most 3 of calls longer than a second")
    ] = 9,
    lengths: Annotated[
        tuple[int, ...] | None,
        arg(
            metavar="T [T ...]",
            help="model, efficiency, training, whole: frames of the clips",
            help_behavior_hint="(default: 8 16 32 64 128 256; model also 512; training up to 64; whole 256 512)",
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        arg(
            metavar="FILE.png",
            help="model, efficiency: draw time and memory against the length; needs matplotlib",
            help_behavior_hint="",
        ),
    ] = None,
    as_published: Annotated[
        bool, arg(help="flops: count as the paper did, without the state space model between the outer projections")
    ] = False,
    device: Annotated[Literal["cpu", "cuda"], arg(help="efficiency: where the networks run")] = "cpu",
    against: Annotated[
        tuple[Literal["materialised", "fused", "timesformer-b", "vivit-b", "videomae-b"], ...] | None,
        arg(
            metavar="NAME [NAME ...]",
            help="efficiency: the networks with attention: materialised and fused (TimeSformer-Ti), timesformer-b, vivit-b "
            "and videomae-b (these need the extra peers)",
            help_behavior_hint="(default: all that are installed)",
        ),
    ] = None,
    most_seconds: Annotated[
        float, arg(metavar="S", help="efficiency: skip a network that needs longer for its runs at one length")
    ] = 300.0,
    json: Json = False,
) -> int:
    """Measure this machine: medians between quartiles, ratios within one run, memory, limits. Minutes at full size."""
    from videomamba.bench.run import Options, run

    usable_device(device)
    options = Options(
        model=model,
        frames=frames,
        size=size,
        dtype=dtype,
        runs=runs,
        lengths=lengths,
        plot=plot,
        as_published=as_published,
        device=device,
        against=against,
        most_seconds=most_seconds,
    )
    parameters = inspect.signature(bench).parameters
    given = [name for name, value in vars(options).items() if value != parameters[name].default]
    figures = run(what, options, given=given)
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
