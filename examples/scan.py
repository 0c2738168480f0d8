"""The pictures of docs/scan.md, drawn with the package's own operators.

python examples/scan.py --out docs
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from videomamba import ops
from videomamba.modules.scan_order import TokenLayout

TOKENS, RESET, STATES = 24, 12, 4
STEP, LARGE_STEP = 0.05, 4.0
"""delta of ordinary tokens and of token RESET: exp(-4) of the state before it remains, in the slowest state."""
STEPS, ROWS, COLUMNS = 3, 2, 2
"""Grid of the picture of the scan orders: time steps, rows and columns of a frame."""


def influence(*, reverse: bool) -> Tensor:
    """(l, l): how much token j changes the output of token i, one channel, B = C = 1, A = -1..-STATES, as a new network has.

    For given delta, B and C the scan is linear in its input, so column j is the output for an input that is 1 at token j only.
    """
    u = torch.eye(TOKENS)[:, :, None]  # (b, l, e): one clip for each j
    delta = torch.full_like(u, STEP)
    delta[:, RESET] = LARGE_STEP
    ones = torch.ones(TOKENS, TOKENS, STATES)
    A = -torch.arange(1.0, STATES + 1)[None]
    y = ops.selective_scan(u, delta, A, ones, ones, delta_softplus=False, reverse=reverse)
    assert isinstance(y, Tensor)
    return y[:, :, 0].T


def draw_influence() -> Figure:
    """Forward scan, backward scan and their sum, as matrices."""
    forward, backward = influence(reverse=False), influence(reverse=True)
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    axes = figure.subplots(1, 3, sharey=True)
    panels = {"forward": forward, "backward": backward, "both": forward + backward}
    darkest = float((forward + backward).quantile(0.95))  # above it are the entries of token RESET only
    for axis, (title, matrix) in zip(axes, panels.items(), strict=True):
        axis.imshow(matrix.numpy(), cmap="Blues", vmin=0, vmax=darkest)
        axis.set_title(title)
        axis.set_xlabel("token j that is read")
    axes[0].set_ylabel("output of token i")
    return figure


def draw_orders() -> Figure:
    """The number in each cell is the place of the patch in the sequence; 0 is the class token."""
    layout = TokenLayout(STEPS, ROWS * COLUMNS)
    spatial = np.arange(1, layout.length)
    temporal = layout.temporal_order()[1].numpy()[1:]
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    grids = figure.subplots(2, STEPS)
    for row, (name, places) in enumerate({"spatial first": spatial, "temporal first": temporal}.items()):
        for step, frame in enumerate(places.reshape(STEPS, ROWS, COLUMNS)):
            _draw_frame(grids[row, step], frame)
            grids[row, step].set_title(f"{name}, frame {step + 1}", fontsize=9)
    return figure


def _draw_frame(axis: Axes, frame: np.ndarray) -> None:
    axis.imshow(frame, cmap="Blues", vmin=-4, vmax=STEPS * ROWS * COLUMNS + 4)
    axis.set(xticks=[], yticks=[])
    for (row, column), place in np.ndenumerate(frame):
        axis.text(column, row, str(place), ha="center", va="center")


def write_pictures(folder: Path) -> list[Path]:
    """Writes both pictures into `folder`; returns their paths."""
    paths = []
    with mpl.rc_context({"svg.hashsalt": "videomamba", "svg.fonttype": "none"}):  # the same bytes in each run
        for name, figure in {"scan_influence": draw_influence(), "scan_orders": draw_orders()}.items():
            paths.append(folder / f"{name}.svg")
            figure.savefig(paths[-1], metadata={"Date": None})
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the two SVG files")
    for path in write_pictures(parser.parse_args().out):
        print(path)


if __name__ == "__main__":
    main()
