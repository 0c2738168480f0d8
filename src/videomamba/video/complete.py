"""Whether a file is as long as it says: Matroska, WebM, MP4 and AVI state lengths before what they measure."""

from __future__ import annotations

import os
from typing import BinaryIO

from videomamba.video.shards import Media

_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_FIRST_BOXES = frozenset({b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide"})
_RIFF_UNKNOWN = (0, 0xFFFFFFFF)  # the writer was interrupted, or wrote to a pipe


def missing_bytes(path: Media) -> int:
    """How many bytes `path` lacks at its end by its own account; 0 if it is complete or does not say."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        head = file.read(4096)
        if head.startswith(_EBML):
            end = _end_of_matroska(head)
        elif head.startswith(b"RIFF"):
            riff = int.from_bytes(head[4:8], "little")
            end = 0 if riff in _RIFF_UNKNOWN else 8 + riff
        elif head[4:8] in _FIRST_BOXES:
            end = _end_of_boxes(file, size)
        else:
            end = 0
    return max(0, end - size)


def _end_of_boxes(file: BinaryIO, size: int) -> int:
    """Where the last box of an MP4 file (ISO/IEC 14496-12, section 4.2) ends, or would end."""
    place = 0
    while place < size:
        file.seek(place)
        header = file.read(16)
        length = int.from_bytes(header[:4], "big")
        if length == 1:  # a length of 64 bits follows
            length = int.from_bytes(header[8:16], "big")
        if length < 8 or len(header) < 8 or not header[4:8].isalnum():
            return 0  # a box up to the end of the file (0), or none: bytes that were appended
        place += length
    return place


def _end_of_matroska(head: bytes) -> int:
    """Where the segment, which follows the EBML header, ends; 0 if its size is not known (live recordings)."""
    size, start = _variable_integer(head, len(_EBML))
    if size is None:
        return 0
    segment = start + size
    if head[segment : segment + 4] != _SEGMENT:
        return 0
    size, start = _variable_integer(head, segment + 4)
    return 0 if size is None else start + size


def _variable_integer(data: bytes, place: int) -> tuple[int | None, int]:
    """The EBML integer at `place` (RFC 8794, section 4) and the place after it. None: unknown, all bits are 1."""
    if place >= len(data) or data[place] == 0:
        return None, place
    length = 9 - data[place].bit_length()
    value = int.from_bytes(data[place : place + length], "big") & ((1 << 7 * length) - 1)
    return (None if value == (1 << 7 * length) - 1 else value), place + length
