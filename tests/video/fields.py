"""Interlaced H.264 written by hand: every picture is two coded fields, whose pixels are stored raw (I_PCM)."""

from __future__ import annotations

from collections.abc import Container
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tests.video.clips import Picture
from tests.video.making import numbered

SIZE = (64, 64)  # two fields of 32 lines, each a whole number of macroblocks
_PICTURES_A_KEY = 5


class _Bits:
    def __init__(self) -> None:
        self._bits: list[str] = []

    def u(self, value: int, width: int) -> _Bits:
        self._bits.append(f"{value:0{width}b}")
        return self

    def ue(self, value: int) -> _Bits:
        """Exp-Golomb code, ITU-T H.264 clause 9.1."""
        code = f"{value + 1:b}"
        self._bits.append("0" * (len(code) - 1) + code)
        return self

    def aligned(self, content: bytes = b"") -> _Bits:
        self._bits.append("0" * (-len("".join(self._bits)) % 8))
        self._bits.append("".join(f"{byte:08b}" for byte in content))
        return self

    def unit(self, header: int) -> bytes:
        """A NAL unit: stop bit, emulation prevention, start code."""
        bits = "".join(self._bits) + "1"
        bits += "0" * (-len(bits) % 8)
        content = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))
        guarded, zeros = bytearray(), 0
        for byte in content:
            if zeros >= 2 and byte <= 3:
                guarded.append(3)
                zeros = 0
            guarded.append(byte)
            zeros = zeros + 1 if byte == 0 else 0
        return b"\x00\x00\x00\x01" + bytes([header]) + bytes(guarded)


def _parameter_sets() -> bytes:
    """SPS (7.3.2.1.1) and PPS (7.3.2.2): Main profile, fields allowed, pictures shown in decode order, CAVLC."""
    sps = _Bits().u(77, 8).u(0, 8).u(30, 8).ue(0)
    sps.ue(4).ue(2)  # log2_max_frame_num 8; pic_order_cnt_type 2
    sps.ue(2).u(0, 1).ue(SIZE[1] // 16 - 1).ue(SIZE[0] // 32 - 1)  # references; gaps; width, half height
    sps.u(0, 1).u(0, 1).u(1, 1).u(0, 1)  # frame_mbs_only, mb_adaptive, direct_8x8_inference, cropping
    sps.u(1, 1).u(0, 4).u(1, 1).u(1, 32).u(50, 32).u(1, 1).u(0, 4)  # VUI: only timing, 25 pictures a second
    pps = _Bits().ue(0).ue(0).u(0, 1).u(0, 1).ue(0).ue(0).ue(0).u(0, 1).u(0, 2).ue(0).ue(0).ue(0).u(0, 3)
    return sps.unit(0x67) + pps.unit(0x68)


def _field(planes: list[Picture], index: int, bottom: bool) -> bytes:
    """One I slice (7.3.3) with every macroblock raw (7.3.5). Every fifth picture begins with an IDR field."""
    key = index % _PICTURES_A_KEY == 0 and not bottom
    bits = _Bits().ue(0).ue(7).ue(0).u(index % _PICTURES_A_KEY, 8).u(1, 1).u(bottom, 1)
    if key:
        bits.ue(index // _PICTURES_A_KEY % 2)
    bits.u(0, 2 if key else 1).ue(0)  # no marking commands; slice_qp_delta 0
    luma, *chroma = (plane[int(bottom) :: 2] for plane in planes)
    for y in range(0, luma.shape[0], 16):
        for x in range(0, luma.shape[1], 16):
            raw = luma[y : y + 16, x : x + 16].tobytes()
            raw += b"".join(plane[y // 2 : y // 2 + 8, x // 2 : x // 2 + 8].tobytes() for plane in chroma)
            bits.ue(25).aligned(raw)
    return bits.unit(0x65 if key else 0x61)


def field_packets(count: int) -> list[tuple[bytes, bytes]]:
    """The two fields of each of `count` numbered pictures, as Annex B access units."""
    pictures = []
    for index in range(count):
        frame = av.VideoFrame.from_ndarray(numbered(index, SIZE), "rgb24").reformat(format="yuv420p")
        flat = frame.to_ndarray()
        height, width = SIZE
        chroma = flat[height:].reshape(2, height // 2, width // 2)
        planes = [np.maximum(plane, 1) for plane in (flat[:height], *chroma)]
        top, bottom = _field(planes, index, False), _field(planes, index, True)
        delimiter = b"\x00\x00\x00\x01\x09\x10"
        sets = _parameter_sets() if index % _PICTURES_A_KEY == 0 else b""
        pictures.append((delimiter + sets + top, delimiter + bottom))
    return pictures


def write_fields(path: Path, *, count: int = 20, together: Container[int] = (), alike: bool = False) -> Path:
    """Interlaced pictures at 25 a second, each field in its own packet with its own time, or with the same (`alike`); the
    pictures `together` in one packet.
    """
    fields = field_packets(count)
    raw = path.with_suffix(".h264")
    raw.write_bytes(b"".join(a + b for a, b in fields))
    if path == raw:
        return path
    with av.open(str(raw)) as old, av.open(str(path), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0], opaque=True)
        for index, (a, b) in enumerate(fields):
            units = [a + b] if index in together else [a, b]
            for place, unit in enumerate(units):
                packet = av.Packet(unit)
                packet.time_base = Fraction(1, 50)
                packet.pts = packet.dts = 2 * index + place * (not alike)
                packet.is_keyframe = index % _PICTURES_A_KEY == 0 and place == 0
                packet.stream = stream
                new.mux_one(packet)
    return path
