"""Kinds of files whose pictures are unusual: palettes, depths, sizes, orientations, several tracks, packed B-frames."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np

from tests.video.clips import RECIPES, Picture, Recipe, encode, replaced
from tests.video.making import Kind, film, numbered, repack

_SIZE = (48, 64)


def _few_colours(picture: Picture, *, turned: bool) -> tuple[Picture, Picture]:
    """A picture as places in a palette of 216 colours, (h, w), and the palette, (256, 4) alpha first.

    `turned` reverses the palette, so that a picture shown with another one looks quite different.
    """
    steps = (picture.astype(np.int64) + 25) // 51
    places = steps[..., 0] * 36 + steps[..., 1] * 6 + steps[..., 2]
    colours = np.stack(np.unravel_index(np.arange(216), (6, 6, 6)), -1) * 51
    palette = np.full((256, 4), 255, np.uint8)
    palette[:216, 1:] = colours
    return (215 - places if turned else places).astype(np.uint8), (
        np.concatenate([palette[:216][::-1], palette[216:]]) if turned else palette
    )


def _write_palette(path: Path, codec: str, changes_at: int) -> Path:
    """Pictures with a palette, which is another one from picture `changes_at` on."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = _SIZE
        stream.pix_fmt = "pal8"
        for i in range(30):
            frame = av.VideoFrame.from_ndarray(_few_colours(numbered(i, _SIZE), turned=i >= changes_at), "pal8")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _palette(codec: str, suffix: str, changes_at: int = 30) -> Kind:
    change = f", another one from picture {changes_at} on" if changes_at < 30 else ""
    return Kind(
        f"{codec} with a palette in {suffix}{change}",
        lambda folder: _write_palette(folder / f"palette{suffix}", codec, changes_at),
    )


def _look(what: str, recipe: Recipe) -> Kind:
    seconds = [i / 25 for i in range(recipe.frames)]
    return Kind(what, lambda folder: film(folder, recipe), range(recipe.frames), seconds)


def _turned(degrees: int, left_right: bool, top_bottom: bool, suffix: str = ".mp4") -> Kind:
    def upright(picture: Picture) -> Picture:
        picture = np.rot90(picture, degrees // 90)
        return picture[:: -1 if top_bottom else 1, :: -1 if left_right else 1]

    def write(folder: Path) -> Path:
        pictures = [numbered(i, _SIZE) for i in range(5)]
        recipe = RECIPES["h264.mp4"]
        return encode(folder / f"turned{suffix}", recipe, display=(degrees, left_right, top_bottom), pictures=pictures)

    mirrored = ", mirrored left to right" * left_right + ", mirrored top to bottom" * top_bottom
    what = f"display matrix in {suffix}: turned by {degrees} degrees{mirrored}"
    return Kind(what, write, range(5), [i / 25 for i in range(5)], upright=upright)


# EXIF 2.32, tag Orientation: where the first row and column of the stored picture are, and so how it becomes upright.
_EXIF: dict[int, Callable[[Picture], Picture]] = {
    1: np.asarray,
    2: np.fliplr,
    3: partial(np.rot90, k=2),
    4: np.flipud,
    5: partial(np.swapaxes, axis1=0, axis2=1),
    6: partial(np.rot90, k=-1),
    7: lambda picture: np.rot90(picture, 2).swapaxes(0, 1),
    8: np.rot90,
}


def _write_exif(path: Path, orientation: int) -> Path:
    """A JPEG with an APP1 segment that holds one tag, the orientation."""
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.height, encoder.width = _SIZE
    encoder.pix_fmt, encoder.time_base = "yuvj420p", Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(numbered(0, _SIZE), "rgb24").reformat(format="yuvj420p")
    frame.pts = 0
    content = b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])
    directory = struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)
    exif = b"Exif\0\0MM\0*" + struct.pack(">I", 8) + directory
    path.write_bytes(content[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + content[2:])
    return path


def _exif(orientation: int) -> Kind:
    return Kind(
        f"JPEG with EXIF orientation {orientation}",
        lambda folder: _write_exif(folder / "photo.jpg", orientation),
        range(1),
        [0.0],
        upright=_EXIF[orientation],
    )


def _write_tracks(path: Path, sources: Iterable[Path], dispositions: Iterable[int], **options: str) -> Path:
    """The video tracks of several files in one."""
    with av.open(str(path), "w", options=options) as new:
        tracks = [av.open(str(source)) for source in sources]
        streams = [new.add_stream_from_template(old.streams.video[0], opaque=True) for old in tracks]
        for stream, disposition in zip(streams, dispositions, strict=True):
            stream.disposition = av.stream.Disposition(disposition)
        for old, stream in zip(tracks, streams, strict=True):
            for packet in old.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    new.mux_one(packet)
            old.close()
    return path


_NONE, _DEFAULT, _COVER = 0, int(av.stream.Disposition.default), int(av.stream.Disposition.attached_pic)


def _tracks(what: str, suffix: str, first: int, second: int, **options: str) -> Kind:
    """A preview of another size and rate before the film, which is track 1."""

    def write(folder: Path) -> Path:
        preview = film(folder, "h264.mp4", first=100, name="preview", frames=10, size=(32, 48))
        return _write_tracks(
            folder / f"tracks{suffix}", [preview, film(folder, "h264.mp4")], [first, second], **options
        )

    return Kind(what, write, track=1)


def _write_still(folder: Path, suffix: str) -> Path:
    """A still picture, larger than the film, as the first track. In MP4 it becomes a cover picture."""
    still = film(folder, "mjpeg.avi", first=100, name="still", frames=1, size=(96, 128), suffix=".mov")
    return _write_tracks(folder / f"still{suffix}", [still, film(folder, "h264.mp4")], [_COVER, _DEFAULT])


def _boxes(content: bytes) -> dict[bytes, bytes]:
    """The MP4 boxes in `content`, by type, headers included."""
    boxes, start = {}, 0
    while start < len(content):
        size = int.from_bytes(content[start : start + 4], "big")
        boxes[content[start + 4 : start + 8]] = content[start : start + size]
        start += size
    return boxes


def _write_cover_first(folder: Path) -> Path:
    """FFmpeg numbers the streams as they come in the header, and its own muxer writes the cover last."""
    path = _write_still(folder, ".mp4")
    boxes = _boxes(path.read_bytes())
    moov = boxes[b"moov"]
    inner = _boxes(moov[8:])
    order = [b"mvhd", b"udta", b"trak"]
    boxes[b"moov"] = moov[:8] + b"".join(inner[name] for name in order)
    assert set(inner) == set(order) and len(boxes[b"moov"]) == len(moov)
    path.write_bytes(b"".join(boxes.values()))
    return path


_VOP, _USER_DATA = b"\x00\x00\x01\xb6", b"\x00\x00\x01\xb2"


def _packed_bframes(packets: list[av.Packet]) -> Iterator[av.Packet]:
    """I P B P B as DivX stores it: I, P and B together, an empty picture, P and B together, an empty picture."""
    empty = _VOP + bytes([0b01010000, 0b01011111])  # P, no whole second, time 0 of 25 (5 bits), vop_coded 0, stuffing
    contents = [bytes(packet) for packet in packets]
    head, vop = contents[0].split(_VOP, 1)
    contents[0] = head + _USER_DATA + b"DivX503b1393p" + _VOP + vop
    is_b = [content[content.index(_VOP) + 4] >> 6 == 2 for content in contents]
    stored = []
    for number, content in enumerate(contents):
        if is_b[number]:
            stored.append(empty)
        elif number + 1 < len(contents) and is_b[number + 1]:
            stored.append(content + contents[number + 1])
        else:
            stored.append(content)
    for number, (packet, content) in enumerate(zip(packets, stored, strict=True)):
        new = replaced(packet, content)
        new.pts = new.dts = number
        new.time_base = Fraction(1, 25)
        yield new


_X264_PLAIN = RECIPES["h264.mp4"].options["x264-params"]
_CLIP = RECIPES["h264.mp4"]


def _x264(**changes: object) -> Recipe:
    more = changes.pop("more", "")
    options = {"preset": "veryfast", "x264-params": _X264_PLAIN + (f":{more}" if more else "")}
    return _CLIP._replace(options=options, **changes)


LOOKS: dict[str, Kind] = {
    "palette raw.avi": _palette("rawvideo", ".avi"),
    "palette raw.mov": _palette("rawvideo", ".mov"),
    "palette msrle.avi": _palette("msrle", ".avi"),
    "palette smc.mov": _palette("smc", ".mov"),
    "palette zmbv.avi": _palette("zmbv", ".avi"),
    "palette png.mov": _palette("png", ".mov"),
    "palette gif": _palette("gif", ".gif"),
    "palette raw.nut": _palette("rawvideo", ".nut"),
    "two palettes raw.avi": _palette("rawvideo", ".avi", changes_at=13),
    "two palettes msrle.avi": _palette("msrle", ".avi", changes_at=13),
    "two palettes gif": _palette("gif", ".gif", changes_at=13),
    "one picture.ts": _look("one picture in a transport stream", _x264(suffix=".ts", frames=1)),
    "one picture.mkv": _look("one picture in Matroska", _x264(suffix=".mkv", frames=1)),
    "one picture.avi": _look("one picture in AVI", _x264(suffix=".avi", frames=1)),
    "two pictures": _look("two pictures", _x264(frames=2)),
    "three pictures": _look("three pictures, of which the second is a B-frame", _x264(frames=3)),
    "two pictures.flv": _look("two pictures in FLV", _x264(suffix=".flv", frames=2)),
    "odd size h264": _look("51x37, H.264", _x264(size=(37, 51), pix_fmt="yuv444p")),
    "odd size mpeg4": _look("51x37, MPEG-4", Recipe(".avi", "mpeg4", size=(37, 51))),
    "odd size vp9": _look("51x37, VP9", Recipe(".webm", "libvpx-vp9", size=(37, 51))),
    "h264 10 bit": _look("H.264 with 10 bits", _x264(pix_fmt="yuv420p10le")),
    "h264 4:4:4": _look("H.264 with full colour resolution", _x264(pix_fmt="yuv444p")),
    "h264 4:2:2": _look("H.264, 4:2:2", _x264(pix_fmt="yuv422p")),
    "h264 gray": _look("H.264 without colour", _x264(pix_fmt="gray")),
    "h264 full range": _look("H.264 with the full range of values", _x264(pix_fmt="yuvj420p")),
    "h264 rgb": _look("H.264 in RGB", Recipe(".mkv", "libx264rgb", _CLIP.options, pix_fmt="rgb24", bframes=2)),
    "h264 one key": _look("H.264 with one key frame, at the start", _x264(more="keyint=infinite", frames=40)),
    "h264 only keys": _look("H.264 with key frames only", _x264(more="keyint=1", bframes=0)),
    "h264 pyramid": _look("H.264 with B-frames that lean on B-frames", _x264(more="b-pyramid=normal", bframes=5)),
    "h264 bff": _look("interlaced H.264, bottom field first", _x264(more="bff=1")),
    "h264 mbaff.mp4": _look("interlaced H.264, both fields in one coded frame", _x264(more="tff=1")),
    "h264 mbaff.ts": _look("the same in a transport stream", _x264(more="tff=1", suffix=".ts")),
    "mpeg2 interlaced": _look(
        "interlaced MPEG-2", Recipe(".ts", "mpeg2video", {"flags": "+ildct+ilme", "field_order": "tt"}, bframes=2)
    ),
    "mpeg4.ts": _look("MPEG-4 with B-frames in a transport stream", Recipe(".ts", "mpeg4", bframes=2)),
    "mpeg4 quarter": _look(
        "MPEG-4 with quarter pixels and 4 vectors", Recipe(".avi", "mpeg4", {"flags": "+qpel+mv4"}, bframes=2)
    ),
    "mpeg2 4:2:2": _look("MPEG-2, 4:2:2", Recipe(".ts", "mpeg2video", pix_fmt="yuv422p", bframes=1)),
    "ffv1.mkv": _look("FFV1 with pictures that lean on others", Recipe(".mkv", "ffv1", {"level": "3"}, gop=12)),
    "huffyuv.avi": _look("HuffYUV in AVI", Recipe(".avi", "huffyuv", pix_fmt="yuv422p")),
    "snow.avi": _look("Snow in AVI", Recipe(".avi", "snow")),
    "svq1.mov": _look("Sorenson Video 1", Recipe(".mov", "svq1", pix_fmt="yuv410p")),
    "cinepak.mov": _look("Cinepak", Recipe(".mov", "cinepak", pix_fmt="rgb24")),
    "qtrle.mov": _look("QuickTime animation", Recipe(".mov", "qtrle", pix_fmt="rgb24")),
    "rv20.rm": _look("RealVideo 2", Recipe(".rm", "rv20")),
    "png 16 bit": _look("16-bit PNG in QuickTime", Recipe(".mov", "png", pix_fmt="rgb48be")),
    **{
        f"turned {degrees}{' lr' * lr}{' tb' * tb}": _turned(degrees, bool(lr), bool(tb))
        for degrees, lr, tb in ((90, 0, 0), (180, 0, 0), (-90, 0, 0), (0, 1, 0), (0, 0, 1), (90, 1, 0), (90, 0, 1))
    },
    "turned 90.mkv": _turned(90, False, False, ".mkv"),
    **{f"exif {orientation}": _exif(orientation) for orientation in _EXIF},
    "second track default": _tracks(
        "a preview and a film, the second track is the default", ".mkv", _NONE, _DEFAULT, default_mode="passthrough"
    ),
    "second track default.mp4": _tracks("a preview and a film in MP4, the second is enabled", ".mp4", _NONE, _DEFAULT),
    "second track larger": _tracks(
        "a small preview and a film, neither is the default: ffmpeg takes the larger",
        ".mkv",
        _NONE,
        _NONE,
        default_mode="passthrough",
    ),
    "cover last.mp4": Kind("a film and a cover picture in MP4", lambda folder: _write_still(folder, ".mp4")),
    "cover first.mp4": Kind("a cover picture and a film in MP4", _write_cover_first, track=1),
    "still first.mkv": Kind(
        "a large still picture and a film, which is the default track",
        lambda folder: _write_still(folder, ".mkv"),
        track=1,
    ),
    "packed b-frames": Kind(
        "MPEG-4 in AVI as DivX packs it: a B-frame in the packet of the picture before, and an empty picture after",
        lambda folder: repack(film(folder, "mpeg4.avi", bframes=1, frames=29), folder / "packed.avi", _packed_bframes),
        range(29),
        [i / 25 for i in range(29)],
    ),
}
