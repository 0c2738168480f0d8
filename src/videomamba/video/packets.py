"""The packets of a video file, in file order, from any packet on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import TypeAlias

import av.error
import torch
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from videomamba.schema import VideoError
from videomamba.video.container import choose_stream, open_container, use_threads
from videomamba.video.frame_table import FrameTable, PacketInfo

# Codecs that can start decoding at a key frame, as all intra-only codecs can. In others (GIF, APNG, ...) a picture depends
# on the one before even if the container flags it as key, so they are read from the start.
ENTRY_AT_KEY = frozenset(
    {"av1", "flv1", "h263", "h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4", "msmpeg4v2", "msmpeg4v3"}
    | {"vp8", "vp9", "wmv1", "wmv2"}
)

# From this many pixels on threads help: two took 0.57 of the time at 1920x1080, 0.8 to 1.2 at 320x240.
_WORTH_THREADS = 500_000

# PyAV's demuxer raises IndexError if FFmpeg finds another stream in a damaged file.
READ_ERRORS = (av.error.FFmpegError, IndexError)

Packets: TypeAlias = "Iterator[Packet[VideoStream]]"

_VP8_SHOWN = 0x10  # bit of the first byte of a VP8 packet: the picture is shown, not only used as a reference


class PacketSource:
    """One open file and its video stream, decoded with `threads` threads (None: chosen by the picture size).

    Raises VideoError when the file cannot be opened or holds no video.
    """

    def __init__(self, path: Path, *, threads: int | None) -> None:
        self.path = path
        self.container, self.stream = _open(path, threads)

    @property
    def codec(self) -> str:
        """The codec's common name ("h264", "av1"), independent of the decoder in use."""
        return self.stream.codec.canonical_name

    @property
    def threads(self) -> int:
        """The number of decoding threads."""
        return self.stream.codec_context.thread_count

    def reopen(self, *, threads: int) -> None:
        """Back to the first packet, with a fresh decoder."""
        container, stream = _open(self.path, threads)
        self.container.close()
        self.container, self.stream = container, stream

    def close(self) -> None:
        self.container.close()

    def read_table(self) -> FrameTable | None:
        """The frame table from the packets; None if they do not define one. Decodes nothing.

        Raises VideoError for a truncated file.
        """
        packets: list[PacketInfo] = []
        advice = "copy or download it again"
        try:
            for packet in self.container.demux(self.stream):
                if not is_flush(packet):
                    packets.append(self._describe(packet))
        except READ_ERRORS as error:
            raise VideoError(self.path, f"damaged after packet {len(packets)} ({error}); {advice}") from error
        listed = len(self.stream.index_entries)
        if len(packets) < listed:
            raise VideoError(self.path, f"cut short: {len(packets)} of {listed} packets are there; {advice}")
        # AVI stores no presentation times, and FFmpeg guesses them wrong if H.264 reorders pictures.
        if self.container.format.name == "avi" and self.stream.codec_context.has_b_frames:
            return None
        return FrameTable.from_packets(packets, can_seek=self.codec in ENTRY_AT_KEY or self.stream.codec.intra_only)

    def packets(self, table: FrameTable | None, start: int, *, fresh: bool = False) -> Packets:
        """The packets from number `start` on, and the empty one that flushes the decoder; the decoder is reset.

        Seeking is inexact in many containers: if it does not verifiably reach `start`, or with `fresh`, the file is opened
        again and read from its first packet.
        """
        if table is not None and table.packets and not fresh:
            info = table.packets[start]
            for time in dict.fromkeys(t for t in (info.pts, info.dts) if t is not None):
                packets = self._seek(table, start, time)
                if packets is not None:
                    return packets
        self.reopen(threads=self.threads)
        return islice(self.container.demux(self.stream), start, None)

    def _seek(self, table: FrameTable, start: int, time: int) -> Packets | None:
        with suppress(*READ_ERRORS):
            self.container.seek(time, stream=self.stream)
            packets = self.container.demux(self.stream)
            for packet in packets:
                number = table.number_of.get(packet.pts)
                if number == start:
                    return chain([packet], packets)
                if number is not None and number > start:
                    return None
        return None

    def _describe(self, packet: Packet[VideoStream]) -> PacketInfo:
        hidden = self.codec == "vp8" and packet.size > 0 and not memoryview(packet)[0] & _VP8_SHOWN
        shown = packet.size > 0 and not packet.is_discard and not hidden
        return PacketInfo(packet.pts, packet.dts, packet.is_keyframe, shown)


def is_flush(packet: Packet[VideoStream]) -> bool:
    """Whether this is PyAV's last, empty packet, which flushes the decoder."""
    return packet.size == 0 and packet.pts is None and packet.dts is None


def _open(path: Path, threads: int | None) -> tuple[InputContainer, VideoStream]:
    # The "file:" prefix is for names with a colon, which is no protocol; the whitelist stops a playlist from opening
    # network addresses.
    try:
        container = open_container(f"file:{path}", options={"protocol_whitelist": "file"})
    except (av.error.FFmpegError, OSError) as error:
        raise VideoError(path, f"not a readable video ({error.strerror}); check the file with a player") from error
    try:
        stream = choose_stream(container, path)
    except VideoError:
        container.close()
        raise
    if threads is None:
        pixels = stream.codec_context.width * stream.codec_context.height
        threads = torch.get_num_threads() if pixels >= _WORTH_THREADS else 1
    use_threads(stream, threads, at_once=True)
    return container, stream
