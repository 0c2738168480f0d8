"""Plots: growth with length, curves of a run, confusion, timelines. They need matplotlib (extra `plot`).

Plots for a page are SVG without a background, with lines and letters in the colour of the surrounding text, so that they
are readable on light and dark pages; equal input gives equal text.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from videomamba.evaluation.segments import Segment
from videomamba.schema import VideoMambaError

try:
    from matplotlib import colormaps, rc_context
    from matplotlib.axes import Axes
    from matplotlib.colors import ListedColormap, PowerNorm
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle
    from matplotlib.ticker import MaxNLocator
except ModuleNotFoundError as error:
    raise VideoMambaError("a plot needs matplotlib; pip install 'videomamba[plot]'") from error

NAMED_CLASSES = 50  # with more, a confusion matrix has numbers instead of names at its axes
COUNTED_CLASSES = 20  # with more, a confusion matrix has no counts in its cells
TIMELINE_CLASSES = 12  # the most rows of a timeline

_BLUE, _ORANGE, _GREEN = "#3b7dd8", "#d9822b", "#3a9e6e"
_INK = "#010203"  # stands for "currentColor", which matplotlib does not know
_NAME_LENGTH = 32


@dataclass(frozen=True)
class Panel:
    """One quantity against length: each curve's values by length. `exponents` are fitted, for the legend."""

    title: str
    x_label: str
    y_label: str
    curves: dict[str, dict[int, float]]
    exponents: dict[str, float]


def save_plot(path: str | Path, panels: Sequence[Panel], *, caption: str) -> None:
    """Writes the panels as a PNG, two per row, both axes logarithmic. Raises VideoMambaError when it cannot be written."""
    columns = min(2, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(5.5 * columns, 4.5 * rows), layout="constrained")
    for axes, panel in zip(figure.subplots(rows, columns, squeeze=False).flat, panels, strict=False):
        for name, values in panel.curves.items():
            fitted = panel.exponents.get(name)
            label = name if fitted is None else f"{name}: exponent {fitted:.2f}"
            axes.plot(list(values), list(values.values()), "o-", label=label)
        lengths = sorted({length for values in panel.curves.values() for length in values})
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(lengths, [f"{length:g}" for length in lengths])
        axes.set(title=panel.title, xlabel=panel.x_label, ylabel=panel.y_label)
        axes.grid(alpha=0.3, which="both")
        axes.legend(fontsize="small")
    figure.suptitle(caption, fontsize="small")
    _save_png(path, figure)


def save_confusion(path: str | Path, confusion: NDArray[np.int64], labels: Sequence[str]) -> None:
    """Writes a (c, c) matrix of counts, rows the truth, columns the answers, as a PNG.

    The colour is the share of the videos of the row. Raises VideoMambaError when the file cannot be written.
    """
    with _style("black"):
        _save_png(path, _confusion(confusion, labels))


def confusion_svg(confusion: NDArray[np.int64], labels: Sequence[str]) -> str:
    """The plot of `save_confusion` for a page."""
    with _style(_INK):
        return _svg(_confusion(confusion, labels), name="confusion")


def curves_svg(history: Sequence[Mapping[str, object]]) -> dict[str, str]:
    """Curves of a run by title, from its records of kind "step" and "epoch", over the steps.

    Loss (of each step, smoothed, and validation losses of the epochs), learning rate, accuracy and error if the epochs
    have them, samples per second. Values that are not finite and curves without values are not drawn.
    """
    panels: dict[str, list[_Curve]] = {
        "Loss": [*_step_curves(history, "loss", _BLUE), *_epoch_curves(history, ("_loss",), [_ORANGE, _GREEN])],
        "Learning rate": _step_curves(history, "lr", _BLUE, smooth=False),
        "Accuracy": _epoch_curves(history, ("top1", "top5", "accuracy"), [_BLUE, _ORANGE, _GREEN]),
        "Error": _epoch_curves(history, ("mse", "mae"), [_BLUE, _ORANGE]),
        "Samples per second": _step_curves(history, "samples_per_second", _GREEN),
    }
    with _style(_INK):
        return {title: _svg(_panel(title, curves), name=title) for title, curves in panels.items() if curves}


def estimates_svg(targets: Sequence[float], values: Sequence[float]) -> str:
    """The answers of a regression against the truth, with the line on which both are equal."""
    with _style(_INK):
        figure = Figure(figsize=(5, 4.6), layout="constrained")
        axes = figure.subplots()
        axes.axline((targets[0], targets[0]), slope=1, color=_ORANGE, linewidth=1, label="no error")
        axes.plot(targets, values, "o", color=_BLUE, markersize=4, alpha=0.6, label="a video")
        axes.set(xlabel="true value", ylabel="answer")
        _finish(axes)
        return _svg(figure, name="estimates")


class _Curve(NamedTuple):
    steps: Sequence[float]
    values: Sequence[float]
    style: dict[str, Any]


def _points(history: Sequence[Mapping[str, object]], kind: str, key: str) -> tuple[list[float], list[float]]:
    found = [
        (float(step), float(value))
        for record in history
        if record.get("kind") == kind
        and isinstance(step := record.get("step"), int)
        and isinstance(value := record.get(key), int | float)
        and math.isfinite(value)
    ]
    return [step for step, _ in found], [value for _, value in found]


def _step_curves(
    history: Sequence[Mapping[str, object]], key: str, colour: str, *, smooth: bool = True
) -> list[_Curve]:
    """The values of the steps; if there are many, also their moving mean over a fortieth of the run."""
    steps, values = _points(history, "step", key)
    if not steps:
        return []
    # A long run has more steps than the page has points; every k-th gives the same plot in a small file.
    every = max(1, len(steps) // 2000)
    style = {"label": "a step", "color": colour}
    if not smooth or len(steps) < 80:
        return [_Curve(steps[::every], values[::every], style)]
    width = len(steps) // 40
    mean = np.convolve(values, np.ones(width) / width, mode="valid")
    middle = steps[width // 2 :][: len(mean)]
    return [
        _Curve(steps[::every], values[::every], {**style, "linewidth": 0.8, "alpha": 0.4}),
        _Curve(middle[::every], mean[::every].tolist(), {**style, "label": f"mean of {width} steps", "linewidth": 1.8}),
    ]


def _epoch_curves(
    history: Sequence[Mapping[str, object]], endings: tuple[str, ...], colours: Sequence[str]
) -> list[_Curve]:
    keys = dict.fromkeys(key for record in history if record.get("kind") == "epoch" for key in record)
    curves: list[_Curve] = []
    for key in (key for key in keys if key.endswith(endings)):
        steps, values = _points(history, "epoch", key)
        if steps:
            style = {"label": key.replace("_", " "), "color": colours[len(curves) % len(colours)], "marker": "."}
            curves.append(_Curve(steps, values, style))
    return curves


def _panel(title: str, curves: Sequence[_Curve]) -> Figure:
    figure = Figure(figsize=(4.6, 2.7), layout="constrained")
    axes = figure.subplots()
    for curve in curves:
        axes.plot(curve.steps, curve.values, **curve.style)
    axes.set(xlabel="step")
    if title == "Accuracy":
        axes.set_ylim(-0.02, 1.02)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    elif title == "Learning rate":
        axes.ticklabel_format(axis="y", scilimits=(0, 0))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    _finish(axes)
    return figure


def _finish(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.2)
    if len(axes.lines) > 1:
        axes.legend(frameon=False)


def _confusion(confusion: NDArray[np.int64], labels: Sequence[str]) -> Figure:
    size = len(labels)
    total = confusion.sum(axis=1, keepdims=True)
    share = confusion / np.maximum(total, 1)
    named = size <= NAMED_CLASSES
    side = min(max(3.2, 1.2 + (0.28 if size > COUNTED_CLASSES else 0.42) * size), 14) if named else 9
    room = 0.085 * max(map(len, map(_short, labels)), default=0) if named else 0.5
    figure = Figure(figsize=(side + room, side + room * 0.8), layout="constrained")
    axes = figure.subplots()
    # A few videos in a wrong cell must be visible; with hundreds of classes they need more colour than their share.
    norm = PowerNorm(1.0 if size <= COUNTED_CLASSES else 0.5, vmin=0, vmax=1)
    image = axes.imshow(share, cmap=_clear_to_blue(), norm=norm, interpolation="none")
    axes.set(xlabel="answer", ylabel="truth")
    if named:
        ticks = range(size)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_ticks(ticks, [_short(label) for label in labels])
        letters = side / size / 0.08  # that fit under a column
        axes.tick_params(axis="x", rotation=0 if max(map(len, labels), default=0) <= letters else 90)
        axes.tick_params(length=0)
    if size <= COUNTED_CLASSES:
        for row, column in np.ndindex(size, size):
            if confusion[row, column]:
                text = axes.text(column, row, str(confusion[row, column]), ha="center", va="center")
                if share[row, column] > 0.5:
                    text.set_color("white")
    else:
        bar = figure.colorbar(image, ax=axes, shrink=0.6, format=lambda value, _: f"{value:.0%}")
        bar.set_label("share of the videos of the class")
    return figure


def _short(label: str) -> str:
    """A short form with both ends: names of one data set often start with the same words and differ at the end."""
    label = " ".join(label.encode("utf-8", "backslashreplace").decode().split())  # a file name may not be Unicode
    return label if len(label) <= _NAME_LENGTH else f"{label[: _NAME_LENGTH // 2]}…{label[1 - _NAME_LENGTH // 2 :]}"


def _clear_to_blue() -> ListedColormap:
    """From transparent to blue, for any background."""
    blue = np.array([0.11, 0.36, 0.72])
    return ListedColormap(np.column_stack([np.tile(blue, (256, 1)), np.linspace(0, 1, 256)]))


@contextmanager
def _style(ink: str) -> Iterator[None]:
    style = rc_context(
        {
            "svg.fonttype": "none",
            "savefig.bbox": "tight",
            "font.size": 9,
            "text.parse_math": False,  # a class may be called "$5 bill"
            "text.color": ink,
            "axes.labelcolor": ink,
            "axes.edgecolor": ink,
            "xtick.color": ink,
            "ytick.color": ink,
            "grid.color": ink,
        }
    )
    with style, warnings.catch_warnings():
        # Names may be in any script: the browser draws them, a PNG shows boxes for letters that the font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def _svg(figure: Figure, *, name: str) -> str:
    """The `<svg>` element. `name` makes the ids of its parts unique on the page."""
    text = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with rc_context({"svg.hashsalt": name}):
        figure.savefig(text, format="svg", transparent=True, metadata=nothing)
    svg = text.getvalue()
    return svg[svg.index("<svg") :].replace(_INK, "currentColor")


def _save_png(path: str | Path, figure: Figure) -> None:
    try:
        figure.savefig(path, format="png", dpi=150)
    except OSError as error:
        raise VideoMambaError(f"{path}: the plot cannot be written ({error.strerror})") from None


def _strip(axes: Axes, thumbnails: Sequence[tuple[float, NDArray[np.uint8]]], title: str) -> None:
    for number, (_, picture) in enumerate(thumbnails):
        place = axes.inset_axes((number / len(thumbnails), 0, 1 / len(thumbnails), 1))
        place.imshow(picture)
        place.axis("off")
    axes.set_title(title)
    axes.axis("off")


def save_shots(
    path: str | Path,
    spans: Sequence[tuple[str, float, float]],
    transitions: Sequence[tuple[str, float, float, float]],
    thumbnails: Sequence[tuple[float, NDArray[np.uint8]]],
    duration: float,
    *,
    labels: Sequence[str],
    title: str,
) -> None:
    """Writes the shots of a video of `duration` seconds as a PNG: pictures above, one lane of the camera's motions below.

    `spans` are (motion, start, end), in the colour of the motion's place in `labels`, with its name where there is room; other
    names, such as "unsure", are grey. `transitions` are (kind, start, end, time): lines at cuts, shaded spans for fades.
    `thumbnails`, (seconds, (h, w, 3) uint8), are in order. Raises VideoMambaError when the file cannot be written.
    """
    duration = max(duration, 1e-3)
    with _style("black"):
        figure = Figure(figsize=(12, 2.9), layout="constrained")
        strip, lane = figure.subplots(2, 1, height_ratios=[1.1, 0.8])
        _strip(strip, thumbnails, title)
        named = dict[str, Rectangle]()
        for label, start, end in spans:
            colour = colormaps["tab20"](labels.index(label) % 20) if label in labels else "#dddddd"
            block = Rectangle((start, 0), end - start, 1, facecolor=colour, label=_short(label))
            lane.add_patch(block)
            named.setdefault(label, block)
            if (end - start) / duration > 0.011 * len(label):  # letters of this size on a page of this width
                lane.text((start + end) / 2, 0.5, _short(label), ha="center", va="center", fontsize=8, clip_on=True)
        for kind, start, end, time in transitions:
            if kind == "fade":
                lane.axvspan(start, end, facecolor="black", alpha=0.35)
            else:
                lane.axvline(time, color="black", linewidth=1.2)
        lane.set(xlim=(0, duration), ylim=(0, 1), xlabel="seconds", yticks=[])
        lane.legend(handles=list(named.values()), loc="upper left", bbox_to_anchor=(1, 1.1), frameon=False, fontsize=7)
        _save_png(path, figure)


def save_timeline(
    path: str | Path,
    scores: NDArray[np.float32],
    edges: NDArray[np.float64],
    labels: Sequence[str],
    segments: Sequence[Segment],
    thumbnails: Sequence[tuple[float, NDArray[np.uint8]]],
    *,
    title: str,
) -> None:
    """Writes class against time as a PNG: pictures of the video above, below them the probabilities, segments framed.

    `scores` (k, c) belong to the times between `edges` (k + 1,) seconds; `thumbnails`, (seconds, (h, w, 3) uint8), are the
    middles of equal parts of the video, in order. The rows are the classes of the segments and the best others, at most 12.
    For a long video each of 2000 stretches shows its highest score. Raises VideoMambaError when the file cannot be written.
    """
    best = scores.max(axis=0)
    marked = {segment.label for segment in segments}
    order = sorted(range(len(labels)), key=lambda c: (labels[c] not in marked, -best[c]))[:TIMELINE_CLASSES]
    firsts = np.arange(0, len(scores), max(1, -(-len(scores) // 2000)))
    drawn, times = np.maximum.reduceat(scores[:, order], firsts), np.append(edges[firsts], edges[-1])
    with _style("black"):
        figure = Figure(figsize=(12, 2.2 + 0.3 * len(order)), layout="constrained")
        strip, chart = figure.subplots(2, 1, height_ratios=[1.1, 0.4 + 0.3 * len(order)])
        _strip(strip, thumbnails, title)
        mesh = chart.pcolormesh(times, np.arange(len(order) + 1), drawn.T, cmap=_clear_to_blue(), vmin=0, vmax=1)
        rows = {labels[c]: row for row, c in enumerate(order)}
        for segment in (segment for segment in segments if segment.label in rows):
            corner, length = (segment.start, rows[segment.label]), segment.end - segment.start
            chart.add_patch(Rectangle(corner, length, 1, fill=False, edgecolor=_ORANGE, linewidth=1.5))
        chart.set_yticks(np.arange(len(order)) + 0.5, [_short(labels[c]) for c in order])
        chart.set(xlabel="seconds", xlim=(0, max(float(edges[-1]), 1e-3)))
        chart.invert_yaxis()
        figure.colorbar(mesh, ax=chart, pad=0.01, format=lambda value, _: f"{value:.0%}")
        _save_png(path, figure)
