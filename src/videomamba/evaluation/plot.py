"""Pictures of measurements: growth with length, curves of a run, confusion. The one file that needs matplotlib.

That is the extra `plot`. Pictures for a page are SVG without a background whose lines and letters take the colour of the
text around them, so that they can be read on light and dark alike; equal input gives equal text.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from videomamba.evaluation.segments import Segment
from videomamba.schema import VideoMambaError

try:
    from matplotlib import rc_context
    from matplotlib.axes import Axes
    from matplotlib.colors import ListedColormap, PowerNorm
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle
    from matplotlib.ticker import MaxNLocator
except ModuleNotFoundError as error:
    raise VideoMambaError("a plot needs matplotlib; pip install 'videomamba[plot]'") from error

NAMED_CLASSES = 50
"""More classes than this have numbers at the axes of a confusion matrix instead of names."""
COUNTED_CLASSES = 20
"""Up to so many, the number of videos stands in each cell."""
TIMELINE_CLASSES = 12
"""So many rows has a timeline at most."""

_BLUE, _ORANGE, _GREEN = "#3b7dd8", "#d9822b", "#3a9e6e"
_INK = "#010203"  # stands for "currentColor", which matplotlib does not know
_NAME_LENGTH = 32


@dataclass(frozen=True)
class Panel:
    """One quantity against length: each curve's values by length. `exponents` are the fitted ones, for the legend."""

    title: str
    x_label: str
    y_label: str
    curves: dict[str, dict[int, float]]
    exponents: dict[str, float]


def save_plot(path: str | Path, panels: Sequence[Panel], *, caption: str) -> None:
    """Writes the panels, two in a row, both axes logarithmic, as a PNG. Raises VideoMambaError when it cannot be written."""
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
    """The picture of `save_confusion` for a page."""
    with _style(_INK):
        return _svg(_confusion(confusion, labels), name="confusion")


def curves_svg(history: Sequence[Mapping[str, object]]) -> dict[str, str]:
    """Curves of a run by title, from its records: those of kind "step" and "epoch" are drawn over the step.

    Loss (of each step, smoothed, and validation losses of the epochs), learning rate, accuracy and error where the epochs
    have them, samples a second. Values that are not finite and curves without values are not drawn.
    """
    panels: dict[str, list[_Curve]] = {
        "Loss": [*_step_curves(history, "loss", _BLUE), *_epoch_curves(history, ("_loss",), [_ORANGE, _GREEN])],
        "Learning rate": _step_curves(history, "lr", _BLUE, smooth=False),
        "Accuracy": _epoch_curves(history, ("top1", "top5", "accuracy"), [_BLUE, _ORANGE, _GREEN]),
        "Error": _epoch_curves(history, ("mse", "mae"), [_BLUE, _ORANGE]),
        "Samples a second": _step_curves(history, "samples_per_second", _GREEN),
    }
    with _style(_INK):
        return {title: _svg(_panel(title, curves), name=title) for title, curves in panels.items() if curves}


def estimates_svg(targets: Sequence[float], values: Sequence[float]) -> str:
    """What a regressor answers against the truth, with the line on which both are equal."""
    with _style(_INK):
        figure = Figure(figsize=(5, 4.6), layout="constrained")
        axes = figure.subplots()
        axes.axline((targets[0], targets[0]), slope=1, color=_ORANGE, linewidth=1, label="no error")
        axes.plot(targets, values, "o", color=_BLUE, markersize=4, alpha=0.6, label="a video")
        axes.set(xlabel="true value", ylabel="answer")
        _finish(axes)
        return _svg(figure, name="estimates")


@dataclass(frozen=True)
class _Curve:
    name: str
    steps: Sequence[float]
    values: Sequence[float]
    colour: str
    width: float = 1.5
    alpha: float = 1.0
    marker: str = ""


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
    """The values of the steps; where they are many, with the mean of each fortieth of the run."""
    steps, values = _points(history, "step", key)
    if not steps:
        return []
    # A long run has more steps than the page has points; every k-th keeps the look and the file small.
    every = max(1, len(steps) // 2000)
    if not smooth or len(steps) < 80:
        return [_Curve("a step", steps[::every], values[::every], colour)]
    width = len(steps) // 40
    mean = np.convolve(values, np.ones(width) / width, mode="valid")
    middle = steps[width // 2 :][: len(mean)]
    return [
        _Curve("a step", steps[::every], values[::every], colour, width=0.8, alpha=0.4),
        _Curve(f"mean of {width} steps", middle[::every], mean[::every].tolist(), colour, width=1.8),
    ]


def _epoch_curves(
    history: Sequence[Mapping[str, object]], endings: tuple[str, ...], colours: Sequence[str]
) -> list[_Curve]:
    keys = dict.fromkeys(key for record in history if record.get("kind") == "epoch" for key in record)
    curves: list[_Curve] = []
    for key in (key for key in keys if key.endswith(endings)):
        steps, values = _points(history, "epoch", key)
        if steps:
            colour = colours[len(curves) % len(colours)]
            curves.append(_Curve(key.replace("_", " "), steps, values, colour, marker="."))
    return curves


def _panel(title: str, curves: Sequence[_Curve]) -> Figure:
    figure = Figure(figsize=(4.6, 2.7), layout="constrained")
    axes = figure.subplots()
    for curve in curves:
        axes.plot(
            curve.steps,
            curve.values,
            label=curve.name,
            color=curve.colour,
            linewidth=curve.width,
            alpha=curve.alpha,
            marker=curve.marker,
        )
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
    # Few videos in a wrong cell are what one looks for; among hundreds of classes they need more than their share of colour.
    norm = PowerNorm(1.0 if size <= COUNTED_CLASSES else 0.5, vmin=0, vmax=1)
    image = axes.imshow(share, cmap=_clear_to_blue(), norm=norm, interpolation="none")
    axes.set(xlabel="answer", ylabel="truth")
    if named:
        ticks = range(size)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_ticks(ticks, [_short(label) for label in labels])
        letters = side / size / 0.08  # that stand side by side under a column
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
    """Names of one data set often begin alike, and what sets them apart is at the end."""
    label = " ".join(label.encode("utf-8", "backslashreplace").decode().split())  # a file's name may be no Unicode
    return label if len(label) <= _NAME_LENGTH else f"{label[: _NAME_LENGTH // 2]}…{label[1 - _NAME_LENGTH // 2 :]}"


def _clear_to_blue() -> ListedColormap:
    """Nothing is no ink at all, on any background."""
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
        # Names in any script are welcome: the browser draws them, a PNG shows boxes where the font has no letter.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def _svg(figure: Figure, *, name: str) -> str:
    """The `<svg>` element. `name` makes the ids of its parts differ from those of other pictures of a page."""
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
    middles of so many equal parts of the video, in order. Drawn are the classes of the segments and the best others, at most
    12. A long video is drawn by the highest score in each of 2000 stretches. Raises VideoMambaError when the file cannot be
    written.
    """
    best = scores.max(axis=0)
    marked = {segment.label for segment in segments}
    order = sorted(range(len(labels)), key=lambda c: (labels[c] not in marked, -best[c]))[:TIMELINE_CLASSES]
    firsts = np.arange(0, len(scores), max(1, -(-len(scores) // 2000)))
    drawn, times = np.maximum.reduceat(scores[:, order], firsts), np.append(edges[firsts], edges[-1])
    with _style("black"):
        figure = Figure(figsize=(12, 2.2 + 0.3 * len(order)), layout="constrained")
        strip, chart = figure.subplots(2, 1, height_ratios=[1.1, 0.4 + 0.3 * len(order)])
        for number, (_, picture) in enumerate(thumbnails):
            place = strip.inset_axes((number / len(thumbnails), 0, 1 / len(thumbnails), 1))
            place.imshow(picture)
            place.axis("off")
        strip.set_title(title)
        strip.axis("off")
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
