"""Whether a file is as long as it says: Matroska, WebM and AVI state their length at the beginning."""

from __future__ import annotations

from pathlib import Path

_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_RIFF_UNKNOWN = (0, 0xFFFFFFFF)  # the writer was interrupted, or wrote to a pipe


def missing_bytes(path: Path) -> int:
    """How many bytes `path` lacks at its end by its own account; 0 if it is complete or does not say."""
    with path.open("rb") as file:
        head = file.read(4096)
    if head.startswith(_EBML):
        end = _end_of_matroska(head)
    elif head.startswith(b"RIFF"):
        size = int.from_bytes(head[4:8], "little")
        end = 0 if size in _RIFF_UNKNOWN else 8 + size
    else:
        end = 0
    return max(0, end - path.stat().st_size)


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
