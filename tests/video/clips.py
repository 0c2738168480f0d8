"""Small videos made on the spot, and the plainest possible reader to compare with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]


class Recipe(NamedTuple):
    suffix: str
    codec: str
    options: dict[str, str] = {}  # noqa: RUF012
    frames: int = 30
    size: tuple[int, int] = (48, 64)
    pix_fmt: str = "yuv420p"
    gop: int = 10
    bframes: int = 0
    times: tuple[int, ...] | None = None


_X264 = {"preset": "veryfast", "x264-params": "keyint=10:min-keyint=10:scenecut=0:b-adapt=0:mbtree=0"}
_OPEN = {"preset": "veryfast", "x264-params": "open-gop=1:keyint=10:min-keyint=10:scenecut=0:bframes=3:b-adapt=0"}
_X265 = {"preset": "ultrafast", "x265-params": "log-level=none:pools=1:open-gop=0:keyint=10:bframes=3"}
_OPEN5 = {"x265-params": "log-level=none:pools=1:open-gop=1:keyint=10:min-keyint=10:bframes=3:b-adapt=0:scenecut=0"}
_VPX = {"lag-in-frames": "16", "auto-alt-ref": "1", "cpu-used": "4"}

RECIPES = {
    "h264.mp4": Recipe(".mp4", "libx264", _X264, bframes=2),
    "h264.mkv": Recipe(".mkv", "libx264", _X264, bframes=2),
    "h264.ts": Recipe(".ts", "libx264", _X264, bframes=2),
    "h264.flv": Recipe(".flv", "libx264", _X264, bframes=2),
    "h264.avi": Recipe(".avi", "libx264", _X264, bframes=2),
    "h264 raw": Recipe(".h264", "libx264", _X264, bframes=2),
    "h264 open gop": Recipe(".mp4", "libx264", _OPEN, bframes=3),
    "h264 intra refresh": Recipe(".mp4", "libx264", {"x264-params": "intra-refresh=1:keyint=10"}),
    "h264 uneven times": Recipe(
        ".mkv", "libx264", _X264, bframes=2, times=tuple(i * i * 3 + i * 40 for i in range(30))
    ),
    "h264 one frame": Recipe(".mp4", "libx264", _X264, frames=1),
    "hevc.mp4": Recipe(".mp4", "libx265", _X265, bframes=3),
    "hevc open gop": Recipe(".mkv", "libx265", _OPEN5, bframes=3),
    "hevc 10 bit": Recipe(".mp4", "libx265", _X265, pix_fmt="yuv420p10le", bframes=3),
    "av1.mp4": Recipe(".mp4", "libsvtav1", {"preset": "12", "svtav1-params": "keyint=10"}, size=(64, 64)),
    "av1.mkv": Recipe(".mkv", "libsvtav1", {"preset": "12", "svtav1-params": "keyint=10"}, size=(64, 64)),
    "vp9.webm": Recipe(".webm", "libvpx-vp9", _VPX),
    "vp8.webm": Recipe(".webm", "libvpx", _VPX),
    "mpeg4.mp4": Recipe(".mp4", "mpeg4", bframes=2),
    "mpeg4.avi": Recipe(".avi", "mpeg4"),
    "mpeg4 reordered.avi": Recipe(".avi", "mpeg4", bframes=2),
    "mpeg2.ts": Recipe(".ts", "mpeg2video", bframes=2),
    "mpeg2.mpg": Recipe(".mpg", "mpeg2video", bframes=2),
    "mpeg1.mpg": Recipe(".mpg", "mpeg1video", bframes=2),
    "flv1.flv": Recipe(".flv", "flv"),
    "h263.mov": Recipe(".mov", "h263", size=(96, 128)),
    "msmpeg4v2.avi": Recipe(".avi", "msmpeg4v2"),
    "msmpeg4v3.avi": Recipe(".avi", "msmpeg4"),
    "wmv1.wmv": Recipe(".wmv", "wmv1"),
    "wmv2.wmv": Recipe(".wmv", "wmv2"),
    "gif": Recipe(".gif", "gif", pix_fmt="rgb8"),
    "apng": Recipe(".apng", "apng", pix_fmt="rgb24"),
    "prores.mov": Recipe(".mov", "prores_ks", pix_fmt="yuv422p10le"),
    "mjpeg.avi": Recipe(".avi", "mjpeg", pix_fmt="yuvj420p"),
    "odd sizes": Recipe(".mkv", "ffv1", size=(37, 51), pix_fmt="yuv444p"),
}


def draw(index: int, size: tuple[int, int]) -> Picture:
    """A picture that tells its index apart from all others: drifting colours and a moving white square."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    picture = np.stack([(x * 3 + index * 5) % 256, (y * 2 + index * 7) % 256, (x + y + index * 11) % 256], -1)
    left = index * 3 % (width - 8)
    picture[height // 4 : height // 2, left : left + 8] = 255
    return picture.astype(np.uint8)


def encode(
    path: Path,
    recipe: Recipe,
    *,
    display: tuple[int, bool, bool] | None = None,
    pictures: Iterable[Picture] | None = None,
) -> Path:
    """`display` is a rotation counter-clockwise in degrees, then mirrored left-right, then top-bottom."""
    unit = Fraction(1, 25) if recipe.times is None else Fraction(1, 1000)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(recipe.codec, rate=25, options=dict(recipe.options))
        stream.height, stream.width = recipe.size
        stream.pix_fmt = recipe.pix_fmt
        stream.codec_context.gop_size = recipe.gop
        stream.codec_context.max_b_frames = recipe.bframes
        stream.codec_context.thread_count = 1
        if recipe.times is not None:
            stream.codec_context.time_base = unit
        if display is not None:
            stream.set_display_rotation(*display)
        for i, picture in enumerate(pictures or (draw(i, recipe.size) for i in range(recipe.frames))):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts = i if recipe.times is None else recipe.times[i]
            frame.time_base = unit
            container.mux(stream.encode(frame.reformat(format=recipe.pix_fmt)))
        container.mux(stream.encode(None))
    return path


def remux(source: Path, target: Path, change: Callable[[int, av.Packet], av.Packet | None]) -> Path:
    """Copy the video packets, each as `change(number, packet)` gives it; None leaves one out."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for number, packet in enumerate(old.demux(video=0)):
            changed = change(number, packet) if packet.size else None
            if changed is not None:
                changed.stream = stream
                new.mux(changed)
    return target


def damage_the_header(source: Path, target: Path) -> Path:
    """A copy of an MP4 file of HEVC in which the codec's header is damaged: no decoder can be opened for it."""
    content = bytearray(source.read_bytes())
    header = content.index(b"hvcC") + 28
    content[header : header + 60] = b"\xff" * 60
    target.write_bytes(content)
    return target


def replaced(packet: av.Packet, content: bytes) -> av.Packet:
    """A packet like `packet` with other bytes in it."""
    new = av.Packet(content)
    new.pts, new.dts, new.duration, new.time_base = packet.pts, packet.dts, packet.duration, packet.time_base
    new.is_keyframe = packet.is_keyframe
    return new


def read_plainly(path: Path) -> list[Picture]:
    """Every picture that comes out, in presentation order: by time, except in AVI, whose times are FFmpeg's guesses."""
    with av.open(str(path)) as container:
        timed = container.format.name != "avi"
        track = container.streams.best("video")
        frames = [(frame.pts, frame.to_ndarray(format="rgb24")) for frame in container.decode(track)]
    if timed and all(pts is not None for pts, _ in frames):
        frames.sort(key=lambda pair: pair[0])
    return [picture for _, picture in frames]
