"""Exact frames of a video file through PyAV (FFmpeg).

Opening reads all packets once without decoding, which gives the exact table of pictures, and decodes the first one.
Reading decodes forward from the current position and jumps only if a key frame is on the way. The pictures of such a walk
are checked against the table; a walk that disagrees is repeated from an earlier packet, and is an error if it still
disagrees: no picture is ever replaced by another.
"""

from __future__ import annotations

from pathlib import Path

import av
import av.error
import numpy as np
import torch
from av.packet import Packet
from av.video.stream import VideoStream

from videomamba.schema import VideoError, VideoInfo
from videomamba.video.base import Video
from videomamba.video.frame_table import FrameTable
from videomamba.video.packets import READ_ERRORS, Packets, PacketSource, is_flush
from videomamba.video.rgb import RgbWriter, orientation_of

# No codec delays more pictures than this for reordering (H.264 and HEVC: 16).
_REORDER = 16

_DAMAGED = "is damaged and cannot be decoded; copy or download the file again, or re-encode it"
_ABSENT = "is listed in the file but the decoder never returns it; re-encode the file"


class PyavVideo(Video):
    """A video file. `threads` decode it if its codec supports that; None: as many as PyTorch uses (one in a DataLoader
    worker) for large pictures and one for small ones.

    Raises VideoError when the file cannot be opened, holds no video, is truncated, or its first picture is damaged.
    """

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        self._source = PacketSource(path, threads=threads)
        self._threads = self._source.threads
        self._walk: _Walk | None = None
        self._trust_keys = True
        self._rgb = RgbWriter()
        try:
            self._table = self._source.read_table() or self._count()
            self._drop_undecodable_beginning()
            first = self._picture(0)
            self._orientation = orientation_of(first)
            self._stored_size = first.height, first.width
            self.timestamps = (self._table.pts - self._table.pts[0]) * float(self._source.stream.time_base or 1)
            self.info = self._describe(first)
        except BaseException:
            self.close()
            raise

    @property
    def track(self) -> int:
        """Index of the video track in the file: the first that is not a cover picture."""
        return self._source.stream.index

    def close(self) -> None:
        self._walk = None
        self._source.close()

    def _count(self) -> FrameTable:
        """The table of a file whose packets do not define one, from decoding everything once."""
        times: list[int | None] = []
        sound = None
        for packet in self._source.packets(None, 0):
            frames, damaged = _decode(self._source.stream, packet)
            times += [frame.pts for frame in frames]
            if sound is None and (damaged or any(frame.is_corrupt for frame in frames)):
                sound = max(0, len(times) - _REORDER - self._threads)
        if not times:
            raise VideoError(self._source.path, "not one picture can be decoded; copy the file again or re-encode it")
        stream = self._source.stream
        rate = stream.average_rate or stream.guessed_rate or 25
        ticks = max(1, round(1 / (rate * (stream.time_base or 1))))
        return FrameTable.from_count(times, ticks_per_frame=ticks, sound=len(times) if sound is None else sound)

    def _drop_undecodable_beginning(self) -> None:
        """Drops pictures before the first key frame: they depend on pictures that the file does not hold."""
        if self._table.counted:
            return
        walk = self._begin(self._threads, 0)
        first = walk.first_rank()
        if first is None:  # perhaps because the container cannot seek back to its start
            walk = self._begin(self._threads, 0, fresh=True)
            first = walk.first_rank()
        if first is None or (first > 0 and walk.damaged):
            raise VideoError(self._source.path, f"frame 0 of {len(self._table)} {_DAMAGED}")
        if first > self._table.first_key:
            self._table = self._count()
        elif first > 0:
            self._table = self._table.without_first(first)
        else:
            self._walk = walk

    def _describe(self, first: av.VideoFrame) -> VideoInfo:
        count = len(self._table)
        span = float(self.timestamps[-1])
        fps = (count - 1) / span if span > 0 else 0.0
        height, width = self._orientation.size(first)
        return VideoInfo(
            path=str(self._source.path),
            num_frames=count,
            fps=fps,
            duration=count / fps if fps else 0.0,
            height=height,
            width=width,
            rotation=self._orientation.rotation,
            codec=self._source.codec,
        )

    def _read(self, rows: dict[int, int], data: torch.Tensor) -> None:
        for rank in sorted(rows):
            frame = self._picture(rank)
            if (frame.height, frame.width) != self._stored_size:
                height, width = self._stored_size
                change = f"from {width}x{height} to {frame.width}x{frame.height} by frame {rank}"
                raise VideoError(self.info.path, f"the picture size changes {change}; re-encode it with one size")
            self._rgb.write(frame, self._orientation, data[rows[rank]])

    def _picture(self, rank: int) -> av.VideoFrame:
        problem = _DAMAGED
        if rank < self._table.sound:
            start = int(self._table.start[rank]) if self._trust_keys else 0
            if self._walk is not None and self._walk.reaches(rank, start):
                try:
                    return self._walk.advance(rank, since=start)
                except _BrokenWalkError:
                    self._walk = None
            # With threads the place of an error is not exact, and a key frame may be wrong: try one thread, then packet 0.
            for threads, begin, fresh in [(self._threads, start, False), (1, start, True), (1, 0, True)]:
                walk = self._begin(threads, begin, fresh=fresh)
                try:
                    frame = walk.advance(rank, since=begin)
                except _BrokenWalkError as error:
                    problem = str(error)
                    continue
                self._walk = walk
                self._trust_keys = self._trust_keys and begin == start
                return frame
        self._walk = None
        raise VideoError(self._source.path, f"frame {rank} of {len(self._table)} {problem}")

    def _begin(self, threads: int, start: int, *, fresh: bool = False) -> _Walk:
        self._walk = None
        if threads != self._source.threads:
            self._source.reopen(threads=threads)
        packets = self._source.packets(self._table, start, fresh=fresh)
        return _Walk(self._source.stream, packets, self._table, start)


class _BrokenWalkError(Exception):
    """The walk cannot decode the picture, or not reliably. The message completes "frame 7 of 9 ..."."""


class _Walk:
    """Decoding forward from packet `start`. `damaged` are the numbers of packets that did not decode cleanly."""

    def __init__(self, stream: VideoStream, packets: Packets, table: FrameTable, start: int) -> None:
        self.damaged: list[int] = []
        self._stream = stream
        self._packets = packets
        self._table = table
        self._number = start
        self._lowest = int(np.flatnonzero(table.number == start)[0]) if start else 0
        self._next = self._lowest
        self._absent: set[int] = set()
        self._kept: dict[int, av.VideoFrame] = {}

    def reaches(self, rank: int, start: int) -> bool:
        """Whether decoding forward reaches picture `rank` without passing its key packet `start`, a better start."""
        return rank in self._kept or (rank >= self._next and start <= self._number)

    def first_rank(self) -> int | None:
        """Rank of the first decoded picture; None if there is none."""
        while not self._kept:
            if not self._step():
                return None
        return min(self._kept)

    def advance(self, rank: int, *, since: int) -> av.VideoFrame:
        """The picture `rank`; earlier pictures are dropped.

        Continues until all packets up to its own have shown their pictures: damage is known only then, and the wanted
        picture may have been predicted from a damaged one. Damage from packet `since` on counts.
        """
        last = int(self._table.settled[rank])
        self._kept = {kept: frame for kept, frame in self._kept.items() if kept >= rank}
        while self._next <= last or min(self._absent, default=last + 1) <= last:
            if self._next > last + _REORDER or not self._step(keep=rank):
                raise _BrokenWalkError(_DAMAGED if self.damaged else _ABSENT)
        if any(since <= number <= self._table.number[rank] for number in self.damaged):
            raise _BrokenWalkError(_DAMAGED)
        return self._kept[rank]

    def _step(self, keep: int = 0) -> bool:
        """Decode one packet; False at the end."""
        try:
            packet = next(self._packets, None)
        except READ_ERRORS:
            self.damaged.append(self._number)
            return False
        if packet is None:
            return False
        if not is_flush(packet) and self._table.packets and packet.pts != self._table.packets[self._number].pts:
            return False  # times are guessed differently after a seek, or the file was changed
        frames, damaged = _decode(self._stream, packet)
        if damaged:
            # With frame threads the error may belong to a packet sent up to that many packets before.
            self.damaged.append(max(0, self._number - self._stream.codec_context.thread_count + 1))
        self._number += 1
        for frame in frames:
            self._show(frame, keep)
        return True

    def _show(self, frame: av.VideoFrame, keep: int) -> None:
        rank = self._next if self._table.counted else self._table.rank_of.get(frame.pts, -1)
        if rank < self._lowest:
            return
        if frame.is_corrupt:
            self.damaged.append(int(self._table.number[rank]))
        if rank >= self._next:
            self._absent.update(range(self._next, rank))
            self._next = rank + 1
        self._absent.discard(rank)
        if rank >= keep:
            self._kept[rank] = frame


def _decode(stream: VideoStream, packet: Packet[VideoStream]) -> tuple[list[av.VideoFrame], bool]:
    """The pictures that the decoder returns for `packet`, and whether there was an error."""
    if packet.size == 0 and not is_flush(packet):
        return [], False  # a dropped frame in AVI; the decoder would treat it as the end of the stream
    try:
        return stream.decode(packet), packet.is_corrupt
    except av.error.FFmpegError:
        return [], True
