"""Exact frames of a video file through PyAV (FFmpeg).

Opening reads all packets once without decoding, which forecasts the exact table of pictures, and decodes the first one.
Reading decodes forward from the current position and jumps only if a key frame is on the way. Each picture tells the packet
that it came from; a walk that disagrees with the table is repeated from an earlier packet. If it still disagrees and
nothing is damaged, the table is wrong, and the pictures are counted: no picture is ever replaced by another.
"""

from __future__ import annotations

from dataclasses import replace

import av
import av.error
import numpy as np
import torch
from numpy.typing import NDArray

from videomamba.schema import VideoError, VideoInfo
from videomamba.video.base import Video
from videomamba.video.frame_table import MOST_REORDERED, MOST_SILENT, FrameTable, longest_silence
from videomamba.video.packets import READ_ERRORS, PacketSource
from videomamba.video.rgb import RgbWriter, orientation_of
from videomamba.video.shards import Media
from videomamba.video.walk import DAMAGED, BrokenWalkError, ContradictionError, Walk, decode


class PyavVideo(Video):
    """A video file. `threads` decode it if its codec supports that; None: two more than PyTorch uses (one in a DataLoader
    worker) for large pictures and one for small ones.

    Raises VideoError when the file cannot be opened, holds no video, is truncated, or its first picture is damaged.
    """

    def __init__(self, path: Media, *, threads: int | None = None) -> None:
        self._source = PacketSource(path, threads=threads)
        self._threads = self._source.threads
        self._track: int = self._source.stream.index
        self._walk: Walk | None = None
        self._trust_keys = True
        self._opened = False
        self._rgb = RgbWriter()
        try:
            self._table = FrameTable.forecast(self._source.infos, self._source.layout) or self._count()
            self._drop_undecodable_beginning()
            first = self._picture(0)
            if not self._forecast_holds(first):
                self._table = self._count()
                first = self._picture(0)
            self._orientation = orientation_of(first)
            self._stored_size = first.height, first.width
            self.timestamps = self._table.seconds
            self.info = self._describe(first)
            self._opened = True
        except BaseException:
            self.close()
            raise

    @property
    def track(self) -> int:
        """Index of the video track in the file."""
        return self._track

    @property
    def restarts(self) -> NDArray[np.int64]:
        return np.flatnonzero(self._table.start == self._table.number)

    def close(self) -> None:
        self._walk = None
        self._source.close()

    def _count(self) -> FrameTable:
        """The table of the pictures that the decoder returns, from decoding everything once."""
        self._walk = None
        numbers: list[int | None] = []
        sound = None
        try:
            for _, packet in self._source.packets(0, fresh=True):
                frames, damaged = decode(self._source.stream, packet)
                numbers += [frame.pts for frame in frames]
                if sound is None and (damaged or any(frame.is_corrupt for frame in frames)):
                    sound = max(0, len(numbers) - MOST_REORDERED - self._threads)
        except READ_ERRORS as error:
            raise VideoError(self._source.path, f"cannot be read ({error}); copy or download it again") from error
        if not numbers:
            raise VideoError(self._source.path, "not one picture can be decoded; copy the file again or re-encode it")
        silent = longest_silence(self._source.infos, numbers)
        if sound is None and silent > MOST_SILENT:
            reason = f"{silent} packets in a row give no picture, as where another codec begins; split the file there"
            raise VideoError(self._source.path, reason)
        sound = len(numbers) if sound is None else sound
        return FrameTable.from_decoder(self._source.infos, numbers, self._source.layout, sound=sound)

    def _drop_undecodable_beginning(self) -> None:
        """Drops pictures before the first key frame: they depend on pictures that the file does not hold."""
        table = self._table
        if table.counted:
            return
        walk = self._begin(self._threads, 0)
        first = walk.first_rank()
        if first is None:  # perhaps because the container cannot seek back to its start
            walk = self._begin(self._threads, 0, fresh=True)
            first = walk.first_rank()
        if first is None or (first > 0 and walk.damaged):
            raise VideoError(self._source.path, f"frame 0 of {len(table)} {DAMAGED}")
        if first == 0:
            self._walk = walk
        elif first > table.first_key or not walk.agrees_up_to(int(table.number[:first].max())):
            self._table = self._count()  # the decoder shows pictures that the table has before the first one
        else:
            self._table = table.without_first(first)

    def _forecast_holds(self, first: av.VideoFrame) -> bool:
        """Whether the decoder confirms the table where packets are known to mislead. Damage is no contradiction.

        An interlaced picture may come from two packets, each with its own time. A file may show its pictures in the order in
        which they are stored although the codec reorders them: then its times are those of decoding.
        """
        table = self._table
        if table.counted:
            return True
        try:
            unordered = self._source.layout.reorders and table.in_decode_order
            if unordered and not self._begin(1, 0).agrees_about_reordering():
                return False
            for rank in (*((1,) if first.interlaced_frame else ()), *table.doubtful):
                start = int(table.start[max(rank - 1, 0)])
                walk = self._begin(1, start)
                for place in range(max(rank - 1, 0), min(rank + MOST_REORDERED, len(table))):
                    walk.advance(place, since=start)
        except ContradictionError:
            return False
        except BrokenWalkError:
            pass
        return True

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
            notes=self._table.notes,
        )

    def _read(self, rows: dict[int, int], data: torch.Tensor) -> None:
        for rank in sorted(rows):
            frame = self._picture(rank)
            if (frame.height, frame.width) != self._stored_size:
                height, width = self._stored_size
                change = f"from {width}x{height} to {frame.width}x{frame.height} by frame {rank}"
                raise VideoError(self.info.path, f"the picture size changes {change}; re-encode it with one size")
            try:
                self._rgb.write(frame, self._orientation, data[rows[rank]])
            except av.error.FFmpegError as error:  # a damaged header may ask for any format
                reason = f"frame {rank} cannot be converted to RGB ({error.strerror}); re-encode the file"
                raise VideoError(self.info.path, reason) from error

    def _picture(self, rank: int) -> av.VideoFrame:
        problem = DAMAGED
        contradicted = False
        if rank < self._table.sound:
            start = int(self._table.start[rank]) if self._trust_keys else 0
            # With threads the place of an error is not exact, and a key frame may be wrong: try one thread, then packet 0.
            attempts = [(self._threads, start, False), (1, start, True), (1, 0, True)]
            if self._walk is not None and self._walk.reaches(rank, start):
                try:
                    return self._walk.advance(rank, since=start)
                except ContradictionError:  # a new start at a key frame may hide it
                    attempts = attempts[-1:]
                except BrokenWalkError:
                    pass
            for threads, begin, fresh in attempts:
                walk = self._begin(threads, begin, fresh=fresh)
                try:
                    frame = walk.advance(rank, since=begin)
                except BrokenWalkError as error:
                    contradicted = isinstance(error, ContradictionError)
                    problem = str(error)
                    continue
                self._walk = walk
                self._trust_keys = self._trust_keys and begin == start
                return frame
        self._walk = None
        if contradicted and not self._table.counted:
            return self._recounted(rank)
        raise VideoError(self._source.path, f"frame {rank} of {len(self._table)} {problem}")

    def _recounted(self, rank: int) -> av.VideoFrame:
        """The picture `rank` from a counted table. What `info` and `timestamps` have said must remain true."""
        table = self._count()
        if self._opened:
            if len(table) != len(self._table):
                found = f"the decoder returns {len(table)} pictures"
                raise VideoError(
                    self._source.path,
                    f"frame {rank} of {len(self._table)} is not to be found: {found}; re-encode the file",
                )
            table = replace(table, seconds=self._table.seconds)
        self._table = table
        return self._picture(rank)

    def _begin(self, threads: int, start: int, *, fresh: bool = False) -> Walk:
        self._walk = None
        packets = self._source.packets(start, threads=threads, fresh=fresh)
        return Walk(self._source.stream, packets, self._table, start)
