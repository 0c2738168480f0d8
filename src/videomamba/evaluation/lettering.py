"""Text in pictures: labels and times on frames. Needs matplotlib (extra `plot`), whose font has most alphabets."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videomamba.schema import VideoMambaError

try:
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.transforms import IdentityTransform
except ModuleNotFoundError as error:
    raise VideoMambaError("text in pictures needs matplotlib; pip install 'videomamba[plot]'") from error

SMALLEST = 7
"""Pixels of a letter below which it cannot be read: longer text is cut at the edge of the picture."""
_LONGEST = 200  # letters of a line that are drawn
_SHADE = 0.35  # what remains of the picture behind the letters


def lettering(text: str, size: int) -> NDArray[np.uint8]:
    """The lines of `text` in letters of `size` pixels: (h, w) uint8, 255 inside of a letter, with a small margin.

    A letter that the font lacks is drawn as a box, and a byte of a file name that is no text as its number.
    """
    lines = [
        " ".join(line.split())[:_LONGEST] for line in text.encode("utf-8", "backslashreplace").decode().split("\n")
    ]
    with rc_context({"text.parse_math": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(dpi=72, facecolor="none")
        canvas: Any = FigureCanvasAgg(figure)  # whose methods have no types
        written = figure.text(0, 0, "\n".join(lines), size=size, linespacing=1.25, transform=IdentityTransform())
        box, margin = written.get_window_extent(canvas.get_renderer()), max(2, size // 4)
        written.set_position((margin - box.x0, margin - box.y0))
        figure.set_size_inches((math.ceil(box.width) + 2 * margin) / 72, (math.ceil(box.height) + 2 * margin) / 72)
        canvas.draw()
        coverage: NDArray[np.uint8] = np.array(canvas.buffer_rgba())[..., 3]
    return coverage


def fitted(text: str, *, height: int, width: int) -> NDArray[np.uint8]:
    """The lettering of `text` for a picture of this size: a sixteenth of its height, less where a line is too long."""
    size = max(height // 16, 2 * SMALLEST)
    letters = lettering(text, size)
    while letters.shape[1] > width and size > SMALLEST:
        size = max(SMALLEST, min(size - 1, size * width // letters.shape[1]))
        letters = lettering(text, size)
    return letters


def stamp(picture: NDArray[np.uint8], letters: NDArray[np.uint8]) -> None:
    """Writes `letters` (h, w) in white on a darkened box into the top left corner of `picture` (H, W, 3), in place.

    What does not fit into the picture is cut off.
    """
    letters = letters[: picture.shape[0], : picture.shape[1], None]
    box = picture[: letters.shape[0], : letters.shape[1]]
    share = letters / np.float32(255)
    box[:] = (box * (_SHADE * (1 - share)) + 255 * share).round().astype(np.uint8)
