"""Small sound videos, and damaged ones made of them: the same seed and number give the same file."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import av
import av.error
import numpy as np

from tests.video.clips import Recipe, replaced
from tests.video.making import film, repack

_BITEXACT = {"fflags": "+bitexact"}  # no random identifiers: the same files on every run

_H264 = Recipe(
    ".mp4", "libx264", {"x264-params": "keyint=8:min-keyint=8:scenecut=0:b-adapt=0:mbtree=0"}, frames=24, bframes=2
)
_X265 = "log-level=none:pools=1:frame-threads=1:keyint=8:min-keyint=8:bframes=2"
_HEVC = Recipe(".mp4", "libx265", {"preset": "ultrafast", "x265-params": _X265}, frames=24, bframes=2)
_AV1 = Recipe(".mp4", "libsvtav1", {"preset": "12", "svtav1-params": "keyint=8:lp=1"}, frames=24, size=(64, 64))
_VP9 = Recipe(".webm", "libvpx-vp9", {"lag-in-frames": "8", "auto-alt-ref": "1", "cpu-used": "4"}, frames=24, gop=8)
_MPEG4 = Recipe(".mp4", "mpeg4", frames=24, gop=8, bframes=2)
_MPEG2 = Recipe(".ts", "mpeg2video", frames=24, gop=8, bframes=2)

SOURCES: dict[str, Recipe] = {
    "h264.mp4": _H264,
    "hevc.mp4": _HEVC,
    "mpeg4.mp4": _MPEG4,
    "av1.mp4": _AV1,
    "h264.mkv": _H264,
    "hevc.mkv": _HEVC,
    "mpeg2.mkv": _MPEG2,
    "vp9.webm": _VP9,
    "av1.webm": _AV1,
    "vp8.webm": _VP9._replace(codec="libvpx"),
    "h264.avi": _H264._replace(suffix=".ts"),  # AVI wants H.264 with start codes
    "mpeg4.avi": _MPEG4._replace(bframes=0),
    "mjpeg.avi": Recipe(".mov", "mjpeg", frames=24, pix_fmt="yuvj420p"),
    "h264.ts": _H264,
    "hevc.ts": _HEVC,
    "mpeg2.ts": _MPEG2,
    "h264.flv": _H264,
    "flv1.flv": Recipe(".flv", "flv", frames=24, gop=8),
}


def write_sources(folder: Path) -> None:
    """The sound files, each under its name."""
    for name, recipe in SOURCES.items():
        inner = folder / "encoded"
        inner.mkdir(exist_ok=True)
        repack(film(inner, recipe), folder / name, **_BITEXACT)


def mutated(folder: Path, seed: int, number: int) -> tuple[str, bytes]:
    """The name of the source of a damaged file, and its bytes. `folder` is that of `write_sources`.

    Every fourth file is sound as a container, but its packets are not those that the encoder gave.
    """
    random = np.random.default_rng([seed, number])
    names = list(SOURCES)
    name = names[number % len(names)]
    if random.integers(4) == 0:
        return name, _with_other_packets(folder / name, random)
    content = bytearray((folder / name).read_bytes())
    for _ in range(int(random.choice([1, 1, 1, 2, 4]))):
        change = _CHANGES[int(random.integers(len(_CHANGES) + 1)) % len(_CHANGES)]
        content = change(content, random)
    if random.integers(8) == 0:
        other = (folder / names[int(random.integers(len(names)))]).read_bytes()
        content = content[: random.integers(len(content) + 1)] + other[random.integers(len(other)) :]
    return name, bytes(content)


def _span(content: bytearray, random: np.random.Generator) -> tuple[int, int]:
    """The bounds of a block, mostly small, at most a quarter of the file."""
    length = min(int(2 ** random.uniform(0, 12)), len(content) // 4)
    start = int(random.integers(max(1, len(content) - length)))
    return start, start + length


def _flip(content: bytearray, random: np.random.Generator) -> bytearray:
    for place in random.integers(0, max(1, len(content)), int(random.integers(1, 20))):
        if place < len(content):
            content[place] ^= 1 << int(random.integers(8))
    return content


def _set(content: bytearray, random: np.random.Generator) -> bytearray:
    """One to four bytes become others: lengths and times in headers among them."""
    start = int(random.integers(max(1, len(content))))
    length = int(random.integers(1, 5))
    content[start : start + length] = random.choice([b"\x00", b"\xff", b"\x7f", b"\x80", b"\x01"]) * length
    return content


def _overwrite(content: bytearray, random: np.random.Generator) -> bytearray:
    start, stop = _span(content, random)
    content[start:stop] = bytes(stop - start) if random.integers(4) == 0 else random.bytes(stop - start)
    return content


def _cut(content: bytearray, random: np.random.Generator) -> bytearray:
    return content[: int(random.integers(len(content) + 1))]


def _remove(content: bytearray, random: np.random.Generator) -> bytearray:
    start, stop = _span(content, random)
    return content[:start] + content[stop:]


def _duplicate(content: bytearray, random: np.random.Generator) -> bytearray:
    start, stop = _span(content, random)
    return content[:stop] + content[start:]


def _move(content: bytearray, random: np.random.Generator) -> bytearray:
    start, stop = _span(content, random)
    block, rest = content[start:stop], content[:start] + content[stop:]
    place = int(random.integers(len(rest) + 1))
    return rest[:place] + block + rest[place:]


_CHANGES: tuple[Callable[[bytearray, np.random.Generator], bytearray], ...] = (
    _flip,  # drawn twice as often
    _set,
    _overwrite,
    _cut,
    _remove,
    _duplicate,
    _move,
)


def _with_other_packets(source: Path, random: np.random.Generator) -> bytes:
    """The file with packets lost, repeated, exchanged, or at other times. Packets that the container refuses are lost, too."""
    written = io.BytesIO()
    with av.open(str(source)) as old:
        template = old.streams.video[0]
        packets = [packet for packet in old.demux(template) if packet.size]
        for packet in packets:
            packet.dts = packet.pts if packet.dts is None else packet.dts
        for _ in range(int(random.integers(1, 4))):
            packets = _PACKET_CHANGES[int(random.integers(len(_PACKET_CHANGES)))](packets, random)
        with av.open(written, "w", format=_FORMATS[source.suffix], options=_BITEXACT) as new:
            stream = new.add_stream_from_template(template, opaque=True)
            for packet in packets:
                copy = replaced(packet, bytes(packet))  # a packet may be there twice
                copy.stream = stream
                try:
                    new.mux_one(copy)
                except av.error.FFmpegError:
                    continue
    return written.getvalue()


_FORMATS = {".mp4": "mp4", ".mkv": "matroska", ".webm": "webm", ".avi": "avi", ".ts": "mpegts", ".flv": "flv"}
Packets = list[av.Packet]


def _lose(packets: Packets, random: np.random.Generator) -> Packets:
    lost = set(random.integers(0, len(packets), int(random.integers(1, 4))).tolist())
    return [packet for number, packet in enumerate(packets) if number not in lost] or packets


def _repeat(packets: Packets, random: np.random.Generator) -> Packets:
    number = int(random.integers(len(packets)))
    return packets[: number + 1] + packets[number:]


def _exchange(packets: Packets, random: np.random.Generator) -> Packets:
    """Two packets in each other's place, with their times or, mostly, with those of the place."""
    a, b = (int(number) for number in random.integers(0, len(packets), 2))
    first, second = packets[a], packets[b]
    if random.integers(4):
        first, second = replaced(second, bytes(first)), replaced(first, bytes(second))
    packets[a], packets[b] = second, first
    return packets


def _shift_one(packets: Packets, random: np.random.Generator) -> Packets:
    """One picture earlier or later by up to ten pictures, or at the time of another."""
    packet = packets[int(random.integers(len(packets)))]
    step = max(1, round(1 / 25 / packet.time_base))
    packet.pts += int(random.integers(-10, 11)) * step + int(random.integers(3) == 0) * (step // 3)
    packet.dts = min(packet.dts, packet.pts)
    return packets


def _restart(packets: Packets, random: np.random.Generator) -> Packets:
    """From some packet on, all times are earlier or later by up to a minute."""
    shift = round(random.uniform(-60, 60) * random.choice([1, 0.1, 0.01]) / packets[0].time_base)
    for packet in packets[int(random.integers(len(packets))) :]:
        packet.pts += shift
        packet.dts += shift
    return packets


def _count_off(packets: Packets, random: np.random.Generator) -> Packets:
    """The times of decoding as those of presentation."""
    for packet in packets:
        packet.pts = packet.dts
    return packets


_PACKET_CHANGES: tuple[Callable[[Packets, np.random.Generator], Packets], ...] = (
    _lose,
    _repeat,
    _exchange,
    _shift_one,
    _restart,
    _count_off,
)
