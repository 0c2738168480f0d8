"""Kinds of files in which `mutations` found wrong pictures, made without chance."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av

from tests.video.clips import RECIPES, replaced
from tests.video.making import Change, Kind, film, repack


def _later(number: int, steps: float) -> Change:
    """The packet `number` says that its picture is shown that many pictures later."""

    def change(packets: list[av.Packet]) -> Iterator[av.Packet]:
        packets[number].pts += round(steps / 25 / packets[number].time_base)
        yield from packets

    return change


def _false_key(packets: list[av.Packet]) -> Iterator[av.Packet]:
    """Packet 15, a P-frame, is flagged as a key frame."""
    packets[15].is_keyframe = True
    yield from packets


def _changed(name: str, suffix: str, change: Change, what: str) -> Kind:
    return Kind(what, lambda folder: repack(film(folder, name), folder / f"changed{suffix}", change), seconds=None)


def _write_two_parameter_sets(folder: Path, suffix: str) -> Path:
    """Two H.264 recordings of which only the first one's parameter sets are in the header; those of the second, with the same
    numbers, are before each of its key frames."""
    parts = []
    for number, quality in enumerate((18, 34)):
        more = f"{RECIPES['h264.mp4'].options['x264-params']}:qp={quality}"
        recipe = RECIPES["h264.mp4"]._replace(options={"x264-params": more}, frames=20)
        parts.append(film(folder, recipe, first=20 * number, name=f"part{number}"))
    with av.open(str(parts[1])) as container:
        stream = container.streams.video[0]
        head = _parameter_sets(stream.codec_context.extradata)
        second = [packet for packet in container.demux(stream) if packet.size]

    def change(packets: list[av.Packet]) -> Iterator[av.Packet]:
        shift = 20 * round(1 / 25 / packets[0].time_base)
        yield from packets
        for packet in second:
            new = replaced(packet, head + bytes(packet) if packet.is_keyframe else bytes(packet))
            new.pts, new.dts = packet.pts + shift, packet.dts + shift
            yield new

    return repack(parts[0], folder / f"two{suffix}", change)


def _parameter_sets(avcc: bytes) -> bytes:
    """The one SPS and the one PPS of an avcC record (ISO 14496-15, 5.3.3.1), each after its length in 4 bytes."""
    sps_length = int.from_bytes(avcc[6:8], "big")
    sps, rest = avcc[8 : 8 + sps_length], avcc[8 + sps_length :]
    pps = rest[3 : 3 + int.from_bytes(rest[1:3], "big")]
    return b"".join(len(unit).to_bytes(4, "big") + unit for unit in (sps, pps))


def _write_default_tables(folder: Path) -> Path:
    """MJPEG whose first picture relies on the default Huffman tables; all others bring their own, optimal ones."""
    plain = film(folder, RECIPES["mjpeg.avi"]._replace(options={"huffman": "default"}), name="plain", frames=1)
    with av.open(str(plain)) as container:
        (first,) = (bytes(packet) for packet in container.demux(video=0) if packet.size)
    while (start := first.find(b"\xff\xc4")) >= 0:  # DHT
        first = first[:start] + first[start + 2 + int.from_bytes(first[start + 2 : start + 4], "big") :]

    def change(packets: list[av.Packet]) -> Iterator[av.Packet]:
        yield replaced(packets[0], first)
        yield from packets[1:]

    return repack(film(folder, "mjpeg.avi"), folder / "tables.avi", change)


def _two_parameter_sets(suffix: str) -> Kind:
    return Kind(
        f"two H.264 recordings in {suffix}, the parameter sets of the second one only before its key frames",
        lambda folder: _write_two_parameter_sets(folder, suffix),
        range(40),
        [i / 25 for i in range(40)],
    )


FOUND: dict[str, Kind] = {
    "first time last": _changed("h264.mp4", ".mkv", _later(0, 40), "the first picture has a time after all others"),
    "first time second": _changed("h264.mp4", ".mp4", _later(0, 1.3), "the first picture has a time after the second"),
    "first time last, no b": _changed(
        "vp8.webm", ".webm", _later(0, 40), "VP8: the first picture has a time after all others"
    ),
    "key time late": _changed("h264.mp4", ".mp4", _later(10, 3.5), "a key frame has a time three pictures too late"),
    "key time late.mkv": _changed(
        "hevc.mp4", ".mkv", _later(10, 3.5), "HEVC: a picture has a time three pictures too late"
    ),
    "one time far.ts": _changed("h264.mp4", ".ts", _later(5, 1000), "a B-frame has a time 40 s too late"),
    "false key.flv": _changed("flv1.flv", ".flv", _false_key, "a P-frame of Sorenson H.263 is flagged as a key frame"),
    "false key.avi": _changed("mpeg4.avi", ".avi", _false_key, "a P-frame of MPEG-4 is flagged as a key frame"),
    "false key.webm": _changed("vp9.webm", ".webm", _false_key, "a P-frame of VP9 is flagged as a key frame"),
    "two parameter sets.mp4": _two_parameter_sets(".mp4"),
    "two parameter sets.mkv": _two_parameter_sets(".mkv"),
    "default tables": Kind(
        "MJPEG of which only the first picture relies on the default tables, so it needs a fresh decoder",
        _write_default_tables,
    ),
}
