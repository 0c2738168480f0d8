"""Time and memory against length as a picture. The one file that needs matplotlib, the extra `plot`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from videomamba.schema import VideoMambaError

try:
    from matplotlib.figure import Figure
except ModuleNotFoundError as error:
    raise VideoMambaError("a plot needs matplotlib; pip install 'videomamba[plot]'") from error


@dataclass(frozen=True)
class Panel:
    """One quantity against length. `exponents` are the fitted ones, one for each curve, and stand in the legend."""

    title: str
    x_label: str
    y_label: str
    lengths: Sequence[float]
    curves: dict[str, Sequence[float]]
    exponents: dict[str, float]


def save_plot(path: str | Path, panels: Sequence[Panel], *, caption: str) -> None:
    """Writes the panels side by side, both axes logarithmic, as a PNG. Raises VideoMambaError when it cannot be written."""
    figure = Figure(figsize=(5.5 * len(panels), 4.5), layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for name, values in panel.curves.items():
            axes.plot(panel.lengths, values, "o-", label=f"{name}: exponent {panel.exponents[name]:.3f}")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(panel.lengths, [f"{length:g}" for length in panel.lengths])
        axes.set(title=panel.title, xlabel=panel.x_label, ylabel=panel.y_label)
        axes.grid(alpha=0.3, which="both")
        axes.legend()
    figure.suptitle(caption, fontsize="small")
    try:
        figure.savefig(path, format="png", dpi=150)
    except OSError as error:
        raise VideoMambaError(f"{path}: the plot cannot be written ({error.strerror})") from None
