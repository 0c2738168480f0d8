"""The packet of each picture: arithmetic over the packets of a video, without decoding.

A packet has a *number*, its place in the file (decode order); a picture has a *rank*, its place in presentation order.
With B-frames the two differ, and neither the container's frame count nor its index (decode times) gives the rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class PacketInfo:
    """One packet as the container describes it. `shown` is false if it holds no picture to present."""

    pts: int | None
    dts: int | None
    key: bool
    shown: bool


@dataclass(frozen=True, repr=False)
class FrameTable:
    """V pictures in presentation order.

    `pts` (V,) are the times in ticks of the stream. Picture r is in packet `number[r]` and decodes exactly from packet
    `start[r]` on (0: from the start of the file). After picture `settled[r]`, all packets up to that of picture r have
    shown their pictures. `sound` counts the first pictures that are not known to be damaged. A `counted` table has no
    usable times: its pictures are identified by the order in which the decoder returns them.
    """

    packets: tuple[PacketInfo, ...]
    pts: Ints
    number: Ints
    start: Ints
    settled: Ints
    sound: int
    counted: bool = False

    def __len__(self) -> int:
        return len(self.pts)

    @classmethod
    def from_packets(cls, packets: Sequence[PacketInfo], *, can_seek: bool) -> Self | None:
        """The table from the times of the packets; None if they are missing or ambiguous, or nothing is shown.

        `can_seek`: the codec really restarts at a packet flagged as a key frame.
        """
        shown = [(number, packet.pts) for number, packet in enumerate(packets) if packet.shown]
        if not shown or any(pts is None for _, pts in shown):
            return None
        numbers, times = np.array(shown, dtype=np.int64).T
        order = np.argsort(times, kind="stable")
        pts, number = times[order], numbers[order]
        if len(pts) > 1 and not (np.diff(pts) > 0).all():
            return None
        rank = np.full(len(packets), -1, dtype=np.int64)
        rank[number] = np.arange(len(pts))
        settled = np.maximum.accumulate(rank)[number]
        keys = np.array([n for n, _ in shown if packets[n].key], dtype=np.int64)
        start = _starts(pts, number, keys, pts[rank[keys]]) if can_seek else np.zeros_like(number)
        return cls(tuple(packets), pts, number, start, settled, sound=len(pts))

    @classmethod
    def from_count(cls, pts: Sequence[int | None], *, ticks_per_frame: int, sound: int) -> Self:
        """The table of the pictures of a complete decode, with these times, in this order.

        Times that are missing or do not increase are replaced by a constant rate.
        """
        ranks = np.arange(len(pts), dtype=np.int64)
        known = [t for t in pts if t is not None]
        usable = len(known) == len(pts) and all(a < b for a, b in pairwise(known))
        times = np.array(known, dtype=np.int64) if usable else ranks * ticks_per_frame
        return cls((), times, ranks, np.zeros_like(ranks), ranks, sound=sound, counted=True)

    @cached_property
    def rank_of(self) -> dict[int | None, int]:
        """Time in ticks -> rank."""
        return {int(t): rank for rank, t in enumerate(self.pts)}

    @cached_property
    def number_of(self) -> dict[int | None, int]:
        """Time in ticks -> packet number."""
        return {int(t): int(n) for t, n in zip(self.pts, self.number, strict=True)}

    @property
    def first_key(self) -> int:
        """Rank of the first key frame: pictures before it depend on pictures that the file may not hold."""
        number = next((n for n, packet in enumerate(self.packets) if packet.key and packet.shown), int(self.number[0]))
        return int(np.flatnonzero(self.number == number)[0])

    def without_first(self, count: int) -> Self:
        """The table without its first `count` pictures."""
        shown = {int(n) for n in self.number[count:]}
        packets = [replace(packet, shown=n in shown) for n, packet in enumerate(self.packets)]
        return replace(
            self,
            packets=tuple(packets),
            pts=self.pts[count:],
            number=self.number[count:],
            start=self.start[count:],
            settled=np.maximum(self.settled[count:] - count, 0),
            sound=self.sound - count,
        )


def _starts(pts: Ints, number: Ints, key_numbers: Ints, key_pts: Ints) -> Ints:
    """The last key packet that is neither decoded nor presented after the picture.

    The second condition is for the leading pictures of an open GOP (stored after the key frame, shown before it): they also
    need the GOP before. Key frames out of order in time are not used at all.
    """
    if len(key_numbers) == 0 or (np.diff(key_pts) <= 0).any():
        return np.zeros_like(number)
    place = np.minimum(np.searchsorted(key_numbers, number, "right"), np.searchsorted(key_pts, pts, "right")) - 1
    return np.where(place <= 0, 0, key_numbers[place])
