"""The packet of each picture: arithmetic over the packets of a video, without decoding.

A packet has a *number*, its place in the file (decode order); a picture has a *rank*, its place in presentation order.
With B-frames the two differ, and neither the container's frame count nor its index (decode times) gives the rank.

The table from the packets' times is a *forecast*. What the decoder hands out decides: where it contradicts the forecast,
the table is *counted*, made from the packets of the pictures of one complete decode, in the decoder's order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from videomamba.video.clock import filled, parts_of, seconds_of

Ints = NDArray[np.int64]

# With more joints than this, a complete decode is cheaper than looking at each of them.
_MOST_JOINTS = 16

# No codec delays more pictures than this for reordering (H.264 and HEVC: 16).
MOST_REORDERED = 16

# More packets in a row without a picture are no fields: the decoder passes over them. Smaller ones say "as before" (MPEG-4).
MOST_SILENT, _SMALL = 16, 20

_COUNTED = "its packets do not tell the pictures: these were counted by decoding all of them"
_JOINED = "its clock restarts: the joined parts follow one another without a gap"


@dataclass(frozen=True)
class PacketInfo:
    """One packet as the container describes it. `shown` is false if it holds no picture to present."""

    pts: int | None
    dts: int | None
    key: bool
    shown: bool
    size: int = 0  # bytes
    corrupt: bool = False


@dataclass(frozen=True)
class Layout:
    """What the container and the codec promise about a list of packets.

    `unit`: seconds in a tick. `can_seek`: the codec really restarts at a packet flagged as a key frame. `reorders`: the
    codec may present pictures in another order than it decodes them. `timed`: presentation times are stored, not guessed by
    FFmpeg. `even`: a longer step between times is a sign of lost packets. `longest_pause`: a clock that jumps ahead by more
    seconds restarts. `rate`: pictures a second without any times.
    """

    unit: Fraction
    can_seek: bool
    reorders: bool = False
    timed: bool = True
    even: bool = False
    longest_pause: int = 30 * 3600
    rate: Fraction = Fraction(25)


@dataclass(frozen=True, repr=False)
class FrameTable:
    """V pictures in presentation order.

    Picture r is in packet `number[r]`, is shown at `seconds[r]` and decodes exactly from packet `start[r]` on (0: from the
    start of the file). After picture `settled[r]`, all packets up to that of picture r have shown their pictures. `sound`
    counts the first pictures that are not known to be damaged. The decoder is to confirm the pictures `doubtful`.
    `by_order`: the decoder does not tell the packet of a picture, so only its order identifies it.
    """

    packets: tuple[PacketInfo, ...]
    number: Ints
    start: Ints
    settled: Ints
    seconds: NDArray[np.float64]
    sound: int
    doubtful: tuple[int, ...] = ()
    counted: bool = False
    by_order: bool = False
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.number)

    @classmethod
    def forecast(cls, packets: Sequence[PacketInfo], layout: Layout) -> Self | None:
        """The table from the times of the packets; None if they are missing or ambiguous, or nothing is shown.

        Missing times are filled if the codec does not reorder pictures (MPEG program streams have one time a packet of bytes).
        """
        numbers = np.array([number for number, packet in enumerate(packets) if packet.shown], dtype=np.int64)
        stored = [packets[number].pts for number in numbers]
        if not stored or not layout.timed or (layout.reorders and None in stored):
            return None
        parts = _parts(packets, layout)[numbers]
        times = filled(stored, parts)
        if times is None:
            return None
        order = np.lexsort((times, parts))  # stable: equal times in decode order
        times, parts, numbers = times[order], parts[order], numbers[order]
        joints = np.flatnonzero(np.diff(parts)) + 1
        late = np.abs(np.argsort(np.argsort(numbers)) - np.arange(len(numbers))).max() > MOST_REORDERED
        tied = len(times) > 1 and not (np.diff(times)[np.diff(parts) == 0] > 0).all()
        if late or len(joints) > _MOST_JOINTS or (tied and layout.reorders):
            return None
        return cls(
            tuple(packets),
            numbers,
            _starts(packets, numbers) if layout.can_seek else np.zeros_like(numbers),
            _settled(len(packets), numbers),
            seconds_of(times, parts, unit=layout.unit),
            sound=len(numbers),
            doubtful=(*(int(rank) for rank in joints), *_odd_steps(times, parts, layout), *_odd_order(numbers, layout)),
            notes=(_JOINED,) if len(joints) else (),
        )

    @classmethod
    def from_decoder(
        cls, packets: Sequence[PacketInfo], numbers: Sequence[int | None], layout: Layout, *, sound: int
    ) -> Self:
        """The table of the pictures of a complete decode, in this order. `numbers` are their packets, if it tells them."""
        known = [number for number in numbers if number is not None]
        by_order = len(set(known)) < len(numbers)
        ranks = np.arange(len(numbers), dtype=np.int64)
        number = ranks if by_order else np.array(known, dtype=np.int64)
        seeks = layout.can_seek and not by_order
        seconds, joined = _seconds_of_decoded(packets, None if len(known) < len(numbers) else known, ranks, layout)
        return cls(
            tuple(packets),
            number,
            _starts(packets, number) if seeks else np.zeros_like(ranks),
            ranks if by_order else _settled(len(packets), number),
            seconds,
            sound=sound,
            counted=True,
            by_order=by_order,
            notes=(_COUNTED, *((_JOINED,) if joined else ())),
        )

    @cached_property
    def rank_of(self) -> dict[int, int]:
        """Packet number -> rank of its picture."""
        return {int(number): rank for rank, number in enumerate(self.number)}

    @property
    def first_key(self) -> int:
        """Rank of the first key frame: pictures before it depend on pictures that the file may not hold."""
        number = next((n for n, packet in enumerate(self.packets) if packet.key and packet.shown), int(self.number[0]))
        return self.rank_of[number]

    @property
    def in_decode_order(self) -> bool:
        """Whether every picture is presented in the order of its packet."""
        return bool((np.diff(self.number) > 0).all())

    def without_first(self, count: int) -> Self:
        """The table without its first `count` pictures."""
        shown = {int(n) for n in self.number[count:]}
        packets = [replace(packet, shown=n in shown) for n, packet in enumerate(self.packets)]
        return replace(
            self,
            packets=tuple(packets),
            number=self.number[count:],
            start=self.start[count:],
            settled=np.maximum(self.settled[count:] - count, 0),
            seconds=self.seconds[count:] - self.seconds[count],
            sound=self.sound - count,
            doubtful=tuple(rank - count for rank in self.doubtful if rank >= count),
        )


def longest_silence(packets: Sequence[PacketInfo], numbers: Sequence[int | None]) -> int:
    """The most packets in a row, after the first picture, that hold none although they should; `numbers` are those with one.

    0 where the decoder does not tell the packet of a picture.
    """
    known = {number for number in numbers if number is not None}
    if len(known) < len(numbers):
        return 0
    longest = run = 0
    for number in range(min(known), len(packets)):
        run = 0 if number in known else run + (packets[number].shown and packets[number].size > _SMALL)
        longest = max(longest, run)
    return longest


def _parts(packets: Sequence[PacketInfo], layout: Layout) -> Ints:
    """The part of each packet. The clock is that of decoding, but for key frames that would be shown before: where two
    recordings meet, FFmpeg sometimes continues the old one.
    """
    clock = [
        min(packet.pts, packet.dts) if packet.key and packet.pts is not None and packet.dts is not None else packet.dts
        for packet in packets
    ]
    return parts_of(clock, unit=layout.unit, longest_pause=layout.longest_pause)


def _settled(packets: int, number: Ints) -> Ints:
    """For each picture, the highest rank among the packets up to its own."""
    return np.maximum.accumulate(_ranks(packets, number))[number]


def _ranks(packets: int, number: Ints) -> Ints:
    """The rank of the picture of each packet (P,); -1 for packets without one."""
    rank = np.full(packets, -1, dtype=np.int64)
    rank[number] = np.arange(len(number))
    return rank


def _starts(packets: Sequence[PacketInfo], number: Ints) -> Ints:
    """The last key packet that is neither decoded nor presented after the picture.

    The second condition is for the leading pictures of an open GOP (stored after the key frame, shown before it): they also
    need the GOP before. Key frames out of order in time are not used at all.
    """
    rank = _ranks(len(packets), number)
    keys = np.array([n for n, packet in enumerate(packets) if packet.key and rank[n] >= 0], dtype=np.int64)
    ranks = rank[keys]
    if len(keys) == 0 or (np.diff(ranks) <= 0).any():
        return np.zeros_like(number)
    place = (
        np.minimum(np.searchsorted(keys, number, "right"), np.searchsorted(ranks, np.arange(len(number)), "right")) - 1
    )
    return np.where(place <= 0, 0, keys[place])


def _odd_steps(times: Ints, parts: Ints, layout: Layout) -> tuple[int, ...]:
    """The ranks after the first step of no length and the first of half the usual one, as between two packets with a field of
    one picture each, and after the first long one, where packets may be lost or a table of times broken.
    """
    steps = np.diff(times)[np.diff(parts) == 0]
    ranks = np.flatnonzero(np.diff(parts) == 0) + 1
    lengths, counts = np.unique(steps[steps > 0], return_counts=True)
    usual = lengths[counts.argmax()] if len(lengths) else 1
    longer = 1.5 if layout.even else 4 if layout.reorders else np.inf
    odd = (steps == 0, (steps > 0) & (steps <= 0.55 * usual), steps >= longer * usual)
    return tuple(int(ranks[which][0]) for which in odd if which.any())


def _odd_order(number: Ints, layout: Layout) -> tuple[int, ...]:
    """The rank of the first picture that is shown after one that is decoded later, if the codec does not do that."""
    late = np.flatnonzero(np.diff(number) < 0)[:1] + 1
    return () if layout.reorders else tuple(int(rank) for rank in late)


def _seconds_of_decoded(
    packets: Sequence[PacketInfo], numbers: Sequence[int] | None, ranks: Ints, layout: Layout
) -> tuple[NDArray[np.float64], bool]:
    """The seconds of decoded pictures, and whether the clock restarts.

    From the presentation times of their packets, or, if those are missing or guessed, from the decoding times: the k-th
    picture is shown when the k-th is decoded, but for a constant delay. Without either, at a constant rate.
    """
    if numbers is not None:
        parts = _parts(packets, layout)[list(numbers)]
        parts = np.maximum.accumulate(parts)
        shown = [packets[number].pts if layout.timed else None for number in numbers]
        decoded = [packets[number].dts for number in numbers]
        for times in (shown, decoded):
            ticks = filled(times, parts)
            if ticks is not None:
                return seconds_of(ticks, parts, unit=layout.unit), bool(np.diff(parts).any())
    return ranks / float(layout.rate), False
