"""Decoding forward from a packet: which pictures come out, and whether they can be relied on."""

from __future__ import annotations

import av
from av.packet import Packet
from av.video.frame import PictureType
from av.video.stream import VideoStream

from videomamba.video.frame_table import MOST_REORDERED, FrameTable
from videomamba.video.packets import DECODE_ERRORS, READ_ERRORS, Packets, is_flush

_ENOUGH = 64

DAMAGED = "is damaged and cannot be decoded; copy or download the file again, or re-encode it"


class BrokenWalkError(Exception):
    """The walk cannot decode the picture, or not reliably. The message completes "frame 7 of 9 ..."."""


class ContradictionError(BrokenWalkError):
    """The decoder returned other pictures than the table says, and nothing was damaged."""


class Walk:
    """Decoding forward from packet `start`. `damaged` are the numbers of packets that did not decode cleanly."""

    def __init__(self, stream: VideoStream, packets: Packets, table: FrameTable, start: int) -> None:
        self.damaged: list[int] = []
        self._contradicted = False
        self._stream = stream
        self._packets = packets
        self._table = table
        self._start = start or None
        self._number = start
        self._lowest = table.rank_of[start] if start else 0
        self._next = self._lowest
        self._kept: dict[int, av.VideoFrame] = {}

    def reaches(self, rank: int, start: int) -> bool:
        """Whether decoding forward reaches picture `rank` without passing its key packet `start`, a better start."""
        return rank in self._kept or (rank >= self._next and start <= self._number)

    def first_rank(self) -> int | None:
        """Rank of the first decoded picture; None if there is none. That those before it are missing is no contradiction."""
        while not self._kept:
            if not self._step():
                return None
        shown = list(self._kept)
        self._contradicted = shown != list(range(shown[0], shown[0] + len(shown)))
        return shown[0]

    def agrees_up_to(self, number: int) -> bool:
        """Whether the decoder returns what the table says from the packets up to `number`."""
        number += MOST_REORDERED + self._stream.codec_context.thread_count  # it returns pictures that much later
        while self._number <= number and not self._contradicted and self._step(keep=self._next):
            self._kept.clear()
        return not self._contradicted

    def agrees_about_reordering(self) -> bool:
        """The same up to the first picture that is predicted from both sides, if one of the first _ENOUGH pictures is."""
        seen = False
        while not (seen or self._contradicted or self._next > _ENOUGH) and self._step(keep=self._next):
            seen = any(frame.pict_type == PictureType.B for frame in self._kept.values())
            self._kept.clear()
        return self.agrees_up_to(self._number)

    def advance(self, rank: int, *, since: int) -> av.VideoFrame:
        """The picture `rank`; earlier pictures are dropped.

        Continues until all packets up to its own have shown their pictures: damage is known only then, and the wanted
        picture may have been predicted from a damaged one. Damage from packet `since` on counts.

        Raises BrokenWalkError for a damaged picture, ContradictionError where the table is wrong.
        """
        self._kept = {kept: frame for kept, frame in self._kept.items() if kept >= rank}
        ended = False
        while self._next <= self._table.settled[rank] and not ended:
            ended = not self._step(keep=rank)  # before all packets up to that of the picture have shown theirs
        if any(since <= number <= self._table.number[rank] for number in self.damaged):
            raise BrokenWalkError(DAMAGED)
        if self._contradicted or ended or rank not in self._kept:
            raise BrokenWalkError(DAMAGED) if self.damaged else ContradictionError("is not where its packet says")
        return self._kept[rank]

    def _step(self, keep: int = 0) -> bool:
        """Decode one packet; False at the end."""
        try:
            number, packet = next(self._packets, (self._number, None))
        except READ_ERRORS:
            self.damaged.append(self._number)
            return False
        if packet is None:
            return False
        frames, damaged = decode(self._stream, packet)
        if damaged:
            # With frame threads the error may belong to a packet sent up to that many packets before.
            self.damaged.append(max(0, number - self._stream.codec_context.thread_count + 1))
        self._number = number + 1
        for frame in frames:
            self._show(frame, keep)
        return True

    def _show(self, frame: av.VideoFrame, keep: int) -> None:
        rank = (
            self._next if self._table.by_order else self._table.rank_of.get(-1 if frame.pts is None else frame.pts, -1)
        )
        if rank < self._lowest:
            # A picture from before the start is skipped; but it cannot come after the one at the start.
            self._contradicted |= rank >= 0 and self._next > self._lowest and not self.damaged
            return
        if frame.is_corrupt:
            self.damaged.append(int(self._table.number[rank]))
        # Some codecs decode from any picture without an error.
        enters = frame.key_frame or frame.pict_type == PictureType.I or frame.pts != self._start
        self._contradicted |= (rank != self._next or not enters) and not self.damaged
        self._next = max(self._next, rank + 1)
        if rank >= keep:
            self._kept[rank] = frame


def decode(stream: VideoStream, packet: Packet[VideoStream]) -> tuple[list[av.VideoFrame], bool]:
    """The pictures that the decoder returns for `packet`, and whether there was an error."""
    if packet.size == 0 and not is_flush(packet):
        return [], False  # a dropped frame in AVI; the decoder would treat it as the end of the stream
    try:
        return stream.decode(packet), packet.is_corrupt
    except DECODE_ERRORS:
        return [], True
