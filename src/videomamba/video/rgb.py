"""From FFmpeg's pictures to upright RGB, and image files as pictures."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, NamedTuple

import av
import av.error
import numpy as np
import torch
from av.filter import Graph
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from videomamba.schema import VideoError
from videomamba.video.container import open_container
from videomamba.video.shards import Media

Picture = NDArray[np.uint8]

_MOST_KINDS = 32  # of side data


class Orientation(NamedTuple):
    """How a stored picture becomes upright: swap its axes, then mirror rows and columns."""

    transpose: bool = False
    flip_rows: bool = False
    flip_columns: bool = False
    rotation: int = 0

    def size(self, frame: av.VideoFrame) -> tuple[int, int]:
        """(height, width) of the upright picture."""
        return (frame.width, frame.height) if self.transpose else (frame.height, frame.width)

    def upright(self, stored: Picture) -> Picture:
        """A view of `stored` (h, w, 3), no copy."""
        turned = stored.transpose(1, 0, 2) if self.transpose else stored
        return turned[:: -1 if self.flip_rows else 1, :: -1 if self.flip_columns else 1]


_TURNED = {
    0: Orientation(),
    90: Orientation(transpose=True, flip_columns=True, rotation=90),
    180: Orientation(flip_rows=True, flip_columns=True, rotation=180),
    270: Orientation(transpose=True, flip_rows=True, rotation=270),
}


def orientation_of(frame: av.VideoFrame) -> Orientation:
    """The orientation from the display matrix of a frame (phones, EXIF), to the nearest quarter turn.

    The matrix maps a pixel (x, y) to (a x + c y, b x + d y).
    """
    rotation = round(-frame.rotation / 90) * 90 % 360
    matrix = _display_matrix(frame)
    if matrix is None:
        return _TURNED[rotation]
    a, b, _, c, d = (int(value) for value in matrix[:5])
    if abs(b) + abs(c) > abs(a) + abs(d):
        return Orientation(True, b < 0, c < 0, rotation)
    return Orientation(False, d < 0, a < 0, rotation)


def _display_matrix(frame: av.VideoFrame) -> NDArray[np.int32] | None:
    # PyAV's side data and its frame refer to each other, so reading it keeps the frame until Python looks for cycles:
    # tens of megabytes each. A copy of four pixels has the same side data.
    small = VideoReformatter().reformat(frame, width=2, height=2, format="gray", interpolation="POINT", threads=1)
    for _ in range(_MOST_KINDS):
        try:
            matrix: Any = small.side_data.get("DISPLAYMATRIX")  # has the buffer protocol, undeclared
        except ValueError as error:
            # PyAV lists all kinds or none, and stops at one that it does not know (EXIF): "31 is not a valid Type".
            small = _without_side_data(small, kind=str(error).split()[0])
        else:
            return None if matrix is None else np.frombuffer(matrix, np.int32).copy()
    return None


def _without_side_data(frame: av.VideoFrame, *, kind: str) -> av.VideoFrame:
    graph = Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1))
    graph.link_nodes(source, graph.add("sidedata", f"mode=delete:type={kind}"), graph.add("buffersink")).configure()
    graph.vpush(frame)
    result = graph.vpull()
    if not isinstance(result, av.VideoFrame):
        raise TypeError(f"a filter of pictures returned {type(result).__name__}")
    return result


class RgbWriter:
    """Writes frames into uint8 RGB tensors. They share a scaling context: a new one costs most of a conversion."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def write(self, frame: av.VideoFrame, orientation: Orientation, out: torch.Tensor) -> None:
        """`out` (h, w, 3) uint8 receives the upright picture."""
        rgb = self._reformatter.reformat(frame, format="rgb24", threads=1)
        plane: Any = rgb.planes[0]  # has the buffer protocol, undeclared
        lines = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        stored = lines[: rgb.height, : rgb.width * 3].reshape(rgb.height, rgb.width, 3)
        out.numpy()[:] = orientation.upright(stored)


def read_image(path: Media) -> tuple[av.VideoFrame, Orientation]:
    """The (first) picture of an image file. VideoError when there is none."""
    try:
        # An open file, not a name: FFmpeg reads "%03d" in a name as a sequence of files.
        with path.open("rb") as file, open_container(file) as container:
            frame = next(container.decode(video=0), None)
    except (av.error.FFmpegError, OSError, IndexError) as error:
        reason = getattr(error, "strerror", None) or "no picture in it"
        raise VideoError(path, f"this image cannot be read ({reason}); replace it or remove it") from error
    if frame is None or frame.is_corrupt:
        raise VideoError(path, "this image is damaged; replace it or remove it")
    return frame, orientation_of(frame)
