"""`videomamba bench` and `videomamba doctor`: the speed of this machine, and what is installed on it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import arg

from videomamba.cli.output import Json, cell, print_json, print_table, usable_device, waiting

if TYPE_CHECKING:
    from videomamba.bench.measure import Figure

Against = Literal["materialised", "fused", "timesformer-b", "vivit-b", "videomae-b"]

_Model = Annotated[str, arg(help="architecture, with random weights")]
_Frames = Annotated[int, arg(metavar="T", help="frames in the clip")]
_Size = Annotated[
    int | None, arg(metavar="PIXELS", help="side of the picture", help_behavior_hint="(default: the architecture's)")
]


@dataclass(frozen=True)
class Timed:
    """The network whose time is measured, and how often."""

    model: _Model = "videomamba_tiny"
    size: _Size = None
    dtype: Annotated[Literal["fp32", "bf16", "both"], arg(help="of matrix products and operator inputs")] = "both"
    runs: Annotated[int, arg(help="counted runs of each call, at most 3 of calls longer than a second")] = 9


Network = Annotated[Timed, arg(name="")]
Lengths = Annotated[tuple[int, ...], arg(metavar="T [T ...]", help="the numbers of frames to measure")]
Plot = Annotated[
    Path | None,
    arg(metavar="FILE.png", help="draw time and memory against the length; needs matplotlib", help_behavior_hint=""),
]


def doctor(*, json: Json = False) -> int:
    """Show what is installed, which backend runs each operator on this machine, and why."""
    from videomamba.serving.doctor import examine

    for finding in examine():
        if json:
            print_json(finding.as_dict())
        else:
            print(f"{'  ' if finding.ok else '! '}{finding.topic:>32}  {finding.finding}")
    return 0


def ops(*, network: Network = Timed(), frames: _Frames = 16, json: Json = False) -> int:
    """Measure both operators on every backend, and the limits of this machine."""
    from videomamba.bench.run import ops as run

    return _print(run(**vars(network), frames=frames), json=json)


def model(
    *,
    network: Network = Timed(),
    frames: _Frames = 16,
    lengths: Lengths = (8, 16, 32, 64, 128, 256, 512),
    plot: Plot = None,
    json: Json = False,
) -> int:
    """Measure a network next to its own matrix products: where its time goes, and how it grows with the clip."""
    from videomamba.bench.run import model as run

    return _print(run(**vars(network), frames=frames, lengths=lengths, plot=plot), json=json)


def flops(
    *,
    model: Annotated[str, arg(help="architecture whose arithmetic is counted")] = "videomamba_tiny",
    frames: _Frames = 16,
    size: _Size = None,
    as_published: Annotated[bool, arg(help="count as the paper did, without the state space models")] = False,
    json: Json = False,
) -> int:
    """Count the arithmetic of a network without running it."""
    from videomamba.bench.run import flops as run

    return _print(run(model, frames=frames, size=size, as_published=as_published), json=json)


def efficiency(
    *,
    network: Network = Timed(),
    lengths: Lengths = (8, 16, 32, 64, 128, 256),
    plot: Plot = None,
    device: Annotated[Literal["cpu", "cuda"], arg(help="where the networks run")] = "cpu",
    against: Annotated[
        tuple[Against, ...] | None,
        arg(
            metavar="NAME [NAME ...]",
            help="the networks with attention: materialised and fused (TimeSformer-Ti), timesformer-b, vivit-b and videomae-b "
            "(these need the extra peers)",
            help_behavior_hint="(default: all that are installed)",
        ),
    ] = None,
    most_seconds: Annotated[float, arg(metavar="S", help="skip a network if its runs at a length take longer")] = 300.0,
    json: Json = False,
) -> int:
    """Measure time and memory of a network against networks with attention, from short clips to long ones."""
    from videomamba.bench.run import efficiency as run

    figures = run(
        **vars(network),
        lengths=lengths,
        plot=plot,
        device=usable_device(device),
        against=against,
        most_seconds=most_seconds,
    )
    return _print(figures, json=json)


def training(*, network: Network = Timed(), lengths: Lengths = (8, 16, 32, 64), json: Json = False) -> int:
    """Measure training steps by length, with activations kept or recomputed, and steps of masked pretraining."""
    from videomamba.bench.run import training as run

    return _print(run(**vars(network), lengths=lengths), json=json)


def whole(*, network: Network = Timed(), lengths: Lengths = (256, 512), json: Json = False) -> int:
    """Measure a whole-video pass against short clips, and what grows in memory."""
    from videomamba.bench.run import whole as run

    return _print(run(**vars(network), lengths=lengths), json=json)


def _print(figures: Iterator[Figure], *, json: bool) -> int:
    for table, lines in itertools.groupby(waiting(figures, what="measuring"), key=lambda figure: figure.table):
        if json:
            for figure in lines:
                print_json(figure.as_dict())
        else:
            cells = [figure.cells for figure in lines]
            columns = list(dict.fromkeys(column for row in cells for column in row))
            print(table)
            print_table(columns, [[cell(row.get(column)) for column in columns] for row in cells])
    return 0


COMMANDS: Mapping[str, Callable[..., int]] = {
    "ops": ops,
    "model": model,
    "flops": flops,
    "efficiency": efficiency,
    "training": training,
    "whole": whole,
}
