"""Tools that make the files of `made`: numbered pictures, packets with other times, files joined end to end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from tests.video.clips import RECIPES, Picture, Recipe, draw, encode

_CELLS = 8
_FILMS: dict[str, bytes] = {}  # encoded once: many kinds are made of the same film
Change = Callable[[list[av.Packet]], Iterable[av.Packet]]


class Kind(NamedTuple):
    """One kind of file.

    `make(folder)` writes it. A plain decode of track `track` gives the pictures numbered `shows`, at the times `seconds`
    within `slack` seconds (None: times only grow from 0). `upright` turns a stored picture as the file asks.
    """

    description: str
    make: Callable[[Path], Path]
    shows: Sequence[int] = range(30)
    seconds: Sequence[float] | None = tuple(i / 25 for i in range(30))
    slack: float = 0.002
    track: int = 0
    upright: Callable[[Picture], Picture] = np.asarray


def numbered(index: int, size: tuple[int, int]) -> Picture:
    """The drawn picture with its index in a row of black and white cells along the bottom, which survive compression."""
    picture = draw(index, size)
    height, width = size
    for cell in range(_CELLS):
        left, right = cell * width // _CELLS, (cell + 1) * width // _CELLS
        picture[height - height // 6 :, left:right] = 255 * (index >> cell & 1)
    return picture


def number_in(picture: Picture) -> int:
    """The index that `numbered` wrote into a stored picture."""
    height, width = picture.shape[:2]
    row = picture[height - height // 12 - 1].mean(-1)
    return sum(1 << cell for cell in range(_CELLS) if row[(2 * cell + 1) * width // (2 * _CELLS)] > 127)


def film(folder: Path, recipe: Recipe | str, *, first: int = 0, name: str = "", **changes: object) -> Path:
    """The file of a recipe (or of RECIPES[recipe]) with numbered pictures, the first of which has the number `first`."""
    recipe = (RECIPES[recipe] if isinstance(recipe, str) else recipe)._replace(**changes)
    path = folder / f"{name or 'film'}{recipe.suffix}"
    key = repr((recipe, first))
    if key in _FILMS:
        path.write_bytes(_FILMS[key])
    else:
        encode(path, recipe, pictures=(numbered(first + i, recipe.size) for i in range(recipe.frames)))
        _FILMS[key] = path.read_bytes()
    return path


def repack(source: Path, target: Path, change: Change = list, *, unit: Fraction | None = None, **options: str) -> Path:
    """The video packets of `source`, as `change` gives them, in another file. `unit` is the tick of the target's header."""
    with av.open(str(source)) as old, av.open(str(target), "w", options=options) as new:
        template = old.streams.video[0]
        stream = new.add_stream_from_template(template, opaque=True)
        if unit is not None:
            stream.time_base = unit
        for packet in change([packet for packet in old.demux(template) if packet.size]):
            packet.stream = stream
            new.mux_one(packet)
    return target


def timed(packet: av.Packet, pts: int, dts: int, unit: Fraction) -> av.Packet:
    packet.pts, packet.dts, packet.time_base = pts, dts, unit
    packet.duration = 0
    return packet


def moved(seconds: float) -> Change:
    """All times later (or, below 0, earlier) by `seconds`."""

    def move(packets: list[av.Packet]) -> Iterator[av.Packet]:
        for packet in packets:
            ticks = round(seconds / packet.time_base)
            packet.pts += ticks
            packet.dts += ticks
            yield packet

    return move


def at_places(seconds: Sequence[float]) -> Change:
    """Picture r of the presentation at `seconds[r]`, which may repeat. The packets are decoded at the same times, each of
    them once, and as much earlier as B-frames require."""

    def place(packets: list[av.Packet]) -> Iterator[av.Packet]:
        ranks = {pts: rank for rank, pts in enumerate(sorted(packet.pts for packet in packets))}
        times = [round(seconds[ranks[packet.pts]] * 1000) for packet in packets]
        decode = sorted(times)
        for number in reversed(range(len(decode) - 1)):
            decode[number] = min(decode[number], decode[number + 1] - 1)
        delay = max(dts - pts for dts, pts in zip(decode, times, strict=True))
        for packet, pts, dts in zip(packets, times, decode, strict=True):
            yield timed(packet, pts, dts - delay, Fraction(1, 1000))

    return place


def counted_off(packets: list[av.Packet]) -> Iterator[av.Packet]:
    """Both times of a packet are its number: what a copy makes of packets without times, such as those of AVI."""
    for number, packet in enumerate(packets):
        yield timed(packet, number, number, Fraction(1, 25))


class Part(NamedTuple):
    """One recording of several: its clock begins at `start` seconds."""

    start: float
    frames: int = 20
    rate: int = 25


def joined(
    folder: Path, recipe: Recipe | str, parts: Sequence[Part], *, suffix: str, join: Callable[[list[bytes]], bytes]
) -> Path:
    """Recordings of which each has its own clock, one after the other in one file."""
    contents, first = [], 0
    for number, part in enumerate(parts):
        source = film(folder, recipe, first=first, name=f"source{number}", suffix=".mp4", frames=part.frames)
        seconds = [part.start + i / part.rate for i in range(part.frames)]
        contents.append(repack(source, folder / f"part{number}{suffix}", at_places(seconds)).read_bytes())
        first += part.frames
    path = folder / f"joined{suffix}"
    path.write_bytes(join(contents))
    return path


def clock_of(parts: Sequence[Part]) -> list[float]:
    """The times of joined parts: as written if the clock goes on, else the next part begins one picture after the last."""
    seconds: list[float] = []
    shift = -parts[0].start
    for part in parts:
        if seconds and part.start + shift <= seconds[-1]:
            shift = seconds[-1] + 1 / part.rate - part.start
        seconds += [part.start + shift + i / part.rate for i in range(part.frames)]
    return seconds


def cat(contents: list[bytes]) -> bytes:
    return b"".join(contents)


def flv_tags(contents: list[bytes]) -> bytes:
    """FLV files as one recording: one file header, and the tags of all of them."""
    return contents[0] + b"".join(content[9 + 4 :] for content in contents[1:])
