"""From frames to a video file, with the same bytes every time."""

from __future__ import annotations

import os
from collections.abc import Iterable
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from videomamba.schema import VideoError

# One thread, and no macroblock tree in x264: its lookahead changes the bits from run to run.
_OPTIONS = {
    "libx264": {"preset": "veryfast", "x264-params": "threads=1:lookahead-threads=1:mbtree=0"},
    "libx265": {"preset": "veryfast", "x265-params": "pools=none:frame-threads=1:log-level=error"},
}


def write_video(
    path: str | Path,
    frames: NDArray[np.uint8] | Iterable[NDArray[np.uint8]],
    *,
    fps: Fraction | int = 16,
    codec: str = "libx264",
    crf: int = 23,
    gop: int | None = None,
) -> None:
    """Encode (t, h, w, 3) uint8 RGB frames to `path` as yuv420p, in the container of the suffix.

    A long video may come in pieces of one picture size, which are encoded as they arrive and not kept. Equal frames give
    equal bytes. The file is written completely or not at all: next to `path` under a hidden name, then renamed. `codec` is
    libx264 or libx265, `crf` 0 (best) to 51, `gop` the most frames from one key frame to the next, None: the codec's default.

    Raises VideoError for an odd height or width (4:2:0 chroma needs even numbers), another codec, a suffix without a
    container or a folder that cannot be written; ValueError for frames that are not (t, h, w, 3) uint8.
    """
    path = Path(path)
    pieces = iter((frames,) if isinstance(frames, np.ndarray) else frames)
    first = next(pieces, np.empty((0, 0, 0, 3), np.uint8))
    if first.ndim != 4 or first.shape[3] != 3 or first.dtype != np.uint8 or first.size == 0:
        raise ValueError(f"frames must be (t, h, w, 3) uint8 and not empty, got {first.shape} {first.dtype}")
    if codec not in _OPTIONS:
        raise VideoError(path, f"cannot be written with codec {codec!r}; choose one of {', '.join(_OPTIONS)}")
    if not 0 <= crf <= 51:
        raise VideoError(path, f"crf {crf} is not in 0..51")
    height, width = first.shape[1:3]
    if height % 2 or width % 2:
        raise VideoError(path, f"{codec} needs an even height and width, got {height}x{width}")
    partial = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        options = {"crf": str(crf), **_OPTIONS[codec], **({} if gop is None else {"g": str(gop)})}
        _encode(partial, chain((first,), pieces), (height, width), Fraction(fps), codec, options)
        partial.replace(path)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise VideoError(path, f"cannot be written with codec {codec}: {error}") from error
    finally:
        partial.unlink(missing_ok=True)


def _encode(
    path: Path,
    pieces: Iterable[NDArray[np.uint8]],
    size: tuple[int, int],
    rate: Fraction,
    codec: str,
    options: dict[str, str],
) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        if not isinstance(stream, av.VideoStream):
            raise TypeError(f"{codec} made a {stream.type} stream")
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for index, pixels in enumerate(chain.from_iterable(pieces)):
            if pixels.shape[:2] != size:
                raise TypeError(f"picture {index} is {pixels.shape}, the first ones were {size}")
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            picture.pts, picture.time_base = index, 1 / rate
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
