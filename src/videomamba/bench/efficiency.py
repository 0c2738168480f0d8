"""VideoMamba against attention from short clips to long: time, memory, arithmetic, their growth, and where curves cross.

Every candidate at every length is a process of its own, which builds the network, warms up and reports its peak. Then the
processes take turns, so that a ratio compares runs of the same moment.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import torch

from videomamba.bench.candidates import Candidate, Work, find_candidates
from videomamba.bench.measure import (
    DTYPE_NAMES,
    SLOW_RUNS,
    SLOW_SECONDS,
    Cell,
    Figure,
    Measured,
    fitted_exponent,
    take_turns,
)
from videomamba.bench.peers import ABSENCE, PEERS, available
from videomamba.bench.process import PROCESS_BYTES, FreshProcess, MeasurementError, free_memory
from videomamba.models.config import VideoMambaConfig

CANDIDATES = "candidates: one clip, random weights, inference"
GROWTH = "fitted exponents over the lengths measured, and those of the last two alone: 1 is linear, 2 quadratic"
CROSSINGS = "from how many frames on VideoMamba takes less, interpolated; and at which lengths the other takes less"

Curves = dict[tuple[str, str], dict[int, Measured]]
"""By dtype and candidate: by the frames of the clip."""


def bench_efficiency(
    name: str,
    config: VideoMambaConfig,
    dtypes: Sequence[torch.dtype],
    *,
    against: Sequence[str],
    lengths: Sequence[int],
    runs: int,
    device: str,
    most_seconds: float,
) -> Iterator[Figure]:
    """The lines of `videomamba bench efficiency`: each length as it is measured, then exponents and crossings.

    A measurement that cannot fit in memory, or is expected to take longer than `most_seconds` for all its runs, is skipped,
    and a line says why.
    """
    candidates = find_candidates(name, config, against=against, device=device)
    for one in candidates:
        cells: dict[str, Cell] = {"candidate": one.name, "tokens": one.mixing, "frames in a patch": one.tubelet}
        yield Figure(CANDIDATES, {**cells, "by": one.implementation, "bf16 means": one.bf16})
    for key in against:
        if key in PEERS and not available():
            yield Figure("not measured", {"what": PEERS[key].name, "why": ABSENCE})
    curves: Curves = {}
    for dtype in dtypes:
        for frames in sorted(set(lengths)):
            found, refused = measure_length(
                candidates, curves, frames, dtype, runs=runs, device=device, most_seconds=most_seconds
            )
            yield from _lines(candidates, found, refused, frames, dtype, config.image_size[0])
            for measured_name, measured in found.items():
                curves.setdefault((DTYPE_NAMES[dtype], measured_name), {})[frames] = measured
    yield from growth_lines(curves)
    yield from crossing_lines(name, curves)


def measure_length(
    candidates: Sequence[Candidate],
    curves: Curves,
    frames: int,
    dtype: torch.dtype,
    *,
    runs: int,
    device: str,
    most_seconds: float,
) -> tuple[dict[str, Measured], dict[str, str]]:
    """The measurements at this length by candidate, and for the others why not. `curves` has the shorter lengths."""
    refused: dict[str, str] = {}
    works, peaks, expected = {}, {}, {}
    timers: dict[str, Callable[[], float]] = {}
    with ExitStack() as processes:
        for candidate in candidates:
            name = candidate.name
            if frames % candidate.tubelet:
                refused[name] = f"not run: its patches are {candidate.tubelet} frames long"
                continue
            work = candidate.work(frames, dtype)
            why = too_much(work, curves.get((DTYPE_NAMES[dtype], name), {}), runs, free_memory(device), most_seconds)
            if why is not None:
                refused[name] = f"not run: {why}"
                continue
            process = processes.enter_context(FreshProcess(work.build, device=device, patience=most_seconds))
            try:
                expected[name], peaks[name] = process.warm_up()
            except MeasurementError as error:
                refused[name] = f"not measured: {error}"
            else:
                works[name], timers[name] = work, partial(_turn, process, name, refused)
        timings = take_turns(timers, expected, runs=runs)
    found = {n: Measured(timings[n], peaks[n], works[n].macs) for n in timers if n not in refused}
    return found, refused


def _turn(process: FreshProcess, name: str, refused: dict[str, str]) -> float:
    """Seconds of a call; a process that fails is refused from then on and the others continue."""
    if name not in refused:
        try:
            return process.seconds()
        except MeasurementError as error:
            refused[name] = f"not measured: {error}"
    return math.inf


def too_much(
    work: Work, before: Mapping[int, Measured], runs: int, free: int | None, most_seconds: float
) -> str | None:
    """Why a measurement is skipped; None when it is not. `before` are the shorter clips of the candidate.

    The expected time grows as the arithmetic does from the longest clip measured.
    """
    needs = work.least_bytes + PROCESS_BYTES
    if free is not None and needs > free:
        return f"needs {needs / 1e9:.1f} GB, {free / 1e9:.1f} GB are free"
    if before:
        last = before[max(before)]
        seconds = last.timing.median * work.macs / last.macs
        counted = min(runs, SLOW_RUNS) if seconds > SLOW_SECONDS else runs
        total = (2 + counted) * seconds
        if total > most_seconds:
            return f"{2 + counted} runs would take {total:.0f} s, --most-seconds is {most_seconds:g}"
    return None


def _lines(
    candidates: Sequence[Candidate],
    found: Mapping[str, Measured],
    refused: Mapping[str, str],
    frames: int,
    dtype: torch.dtype,
    size: int,
) -> Iterator[Figure]:
    mine = found.get(candidates[0].name)
    title = f"{DTYPE_NAMES[dtype]}, {frames} frames at {size}x{size}; x: as many times as {candidates[0].name}"
    for candidate in candidates:
        cells: dict[str, Cell] = {"candidate": candidate.name, "dtype": DTYPE_NAMES[dtype], "frames": frames}
        measured = found.get(candidate.name)
        if measured is not None:
            cells["tokens"] = candidate.work(frames, dtype).tokens
            cells |= measured.timing.cells()
            cells["peak MB"] = None if measured.peak is None else measured.peak / 1e6
            cells["GMACs"] = measured.macs / 1e9
            cells["time x"] = None if mine is None else measured.timing.over(mine.timing)
            cells["memory x"] = measured.peak / mine.peak if mine and mine.peak and measured.peak else None
            yield Figure(title, cells)
    for name, why in refused.items():
        cells = {"dtype": DTYPE_NAMES[dtype], "frames": frames, "candidate": name, "why": why}
        yield Figure(f"{DTYPE_NAMES[dtype]}, {frames} frames: not measured", cells)


def growth_lines(curves: Curves) -> Iterator[Figure]:
    """Exponents of each candidate that was measured at two lengths or more."""
    for (dtype, name), curve in curves.items():
        lengths = sorted(curve)
        if len(lengths) < 2:
            continue
        cells: dict[str, Cell] = {"candidate": name, "dtype": dtype, "from": lengths[0], "to": lengths[-1]}
        for quantity, values in (("time", _times(curve)), ("memory", _peaks(curve))):
            known = [length for length in lengths if length in values]
            for column, used in ((quantity, known), (f"{quantity}, last two", known[-2:])):
                enough = len(used) > 1
                cells[column] = fitted_exponent(used, [values[length] for length in used]) if enough else None
        yield Figure(GROWTH, cells)


def crossing_lines(name: str, curves: Curves) -> Iterator[Figure]:
    """For each other candidate, where VideoMamba called `name` is faster and smaller than it."""
    for (dtype, other), curve in curves.items():
        mine = curves.get((dtype, name), {})
        common = sorted(mine.keys() & curve.keys())
        if other == name or not common:
            continue
        cells: dict[str, Cell] = {"against": other, "dtype": dtype, "measured at": _listed(common)}
        for adjective, quantity in (("faster", _times), ("smaller", _peaks)):
            ours, theirs = quantity(mine), quantity(curve)
            cells[f"{adjective} from"] = crossing(ours, theirs)
            wins = [length for length in common if length in ours and theirs.get(length, math.inf) < ours[length]]
            cells[f"other is {adjective} at"] = _listed(wins) if wins else "no length"
        yield Figure(CROSSINGS, cells)


def crossing(mine: Mapping[int, float], other: Mapping[int, float]) -> float | str:
    """The length from which on `mine` is below `other`, by straight lines in log-log between the lengths that both have.

    "always" where it is below at all of them, "never in the range" where it is at none, "not measured" without any; also
    text where it is below at some length but not at the longest.
    """
    lengths = sorted(mine.keys() & other.keys())
    lead = [math.log(other[length] / mine[length]) for length in lengths]  # above 0 where `mine` is less
    if not lengths:
        return "not measured"
    if all(value > 0 for value in lead):
        return "always"
    if all(value <= 0 for value in lead):
        return "never in the range"
    if lead[-1] <= 0:
        better = [n for n, value in zip(lengths, lead, strict=True) if value > 0]
        return f"not at {lengths[-1]}, but at {_listed(better)}"
    last = max(i for i, value in enumerate(lead) if value <= 0)
    share = -lead[last] / (lead[last + 1] - lead[last])
    return float(lengths[last] * (lengths[last + 1] / lengths[last]) ** share)


def _listed(lengths: Sequence[int]) -> str:
    return " ".join(map(str, lengths))


def _times(curve: Mapping[int, Measured]) -> dict[int, float]:
    return {frames: measured.timing.median for frames, measured in curve.items()}


def _peaks(curve: Mapping[int, Measured]) -> dict[int, float]:
    """The known ones without 0, which has no logarithm."""
    return {frames: float(measured.peak) for frames, measured in curve.items() if measured.peak}


def draw(path: Path, figures: Sequence[Figure], caption: str) -> None:
    """Time and memory of the `figures` of a study against the frames, a row of two panels for each dtype, as a PNG."""
    from videomamba.evaluation.plot import Panel, save_plot

    exponents = {(f.cells["dtype"], f.cells["candidate"]): f.cells for f in figures if f.table == GROWTH}
    panels = []
    measured = [figure.cells for figure in figures if "ms" in figure.cells]
    for dtype in dict.fromkeys(row["dtype"] for row in measured):
        for title, label, column, quantity in (
            ("time of one inference", "milliseconds", "ms", "time"),
            ("peak memory of one inference", "megabytes", "peak MB", "memory"),
        ):
            panel = Panel(f"{title}, {dtype}", "frames in the clip", label, {}, {})
            for row in measured:
                frames, value, name = row["frames"], row[column], str(row["candidate"])
                if row["dtype"] == dtype and isinstance(frames, int) and isinstance(value, float) and value > 0:
                    panel.curves.setdefault(name, {})[frames] = value
                    fitted = exponents.get((dtype, name), {}).get(quantity)
                    if isinstance(fitted, float):
                        panel.exponents[name] = fitted
            if panel.curves:
                panels.append(panel)
    save_plot(path, panels, caption=caption)
