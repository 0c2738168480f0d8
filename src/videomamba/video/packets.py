"""The packets of a video file, in file order, from any packet on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from itertools import chain, islice
from typing import BinaryIO, TypeAlias

import av.error
import torch
from av.container import InputContainer
from av.format import Flags
from av.packet import Packet
from av.video.stream import VideoStream

from videomamba.schema import VideoError
from videomamba.video.complete import missing_bytes
from videomamba.video.container import choose_stream, open_container, use_threads
from videomamba.video.frame_table import Layout, PacketInfo
from videomamba.video.shards import Media, Member

# Codecs that can start decoding at a key frame, as all intra-only codecs can. In others (GIF, APNG, ...) a picture depends
# on the one before even if the container flags it as key, so they are read from the start.
ENTRY_AT_KEY = frozenset(
    {"av1", "flv1", "h263", "h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4", "msmpeg4v2", "msmpeg4v3"}
    | {"vp8", "vp9", "wmv1", "wmv2"}
)

# From this many pixels on threads help: two took 0.57 of the time at 1920x1080, 0.8 to 1.2 at 320x240.
_WORTH_THREADS = 500_000
_SPARE_THREADS = 2  # have pictures ready while others are converted: a timeline took 0.93 of the time on two cores

# PyAV's demuxer raises IndexError if FFmpeg finds another stream in a damaged file.
READ_ERRORS = (av.error.FFmpegError, IndexError)

# Asked again after a decoder could not be opened, PyAV 19 calls its codec unknown: a ValueError.
DECODE_ERRORS = (av.error.FFmpegError, ValueError)

Packets: TypeAlias = "Iterator[tuple[int, Packet[VideoStream]]]"
"""Packets with their numbers; the last one is empty and flushes the decoder."""

# Seconds. FFmpeg's limit; less for clocks of 33 bits, which begin again after 26.5 hours: FFmpeg takes a second part whose
# clock is behind that of the first as such a new beginning.
_LONGEST_PAUSE, _LONGEST_PAUSE_33_BITS = 30 * 3600, 3 * 3600
_CLOCK_OF_33_BITS = frozenset({"mpeg", "mpegts"})

# What a decoder keeps from packet to packet, and no seek restores: with such data the file is read from its beginning.
_CARRIED = ("palette", "new_extradata", "param_change")

_VP8_SHOWN = 0x10  # bit of the first byte of a VP8 packet: the picture is shown, not only used as a reference


class PacketSource:
    """One open file and its video stream, decoded with `threads` threads (None: chosen by the picture size).

    `infos` describes all packets, in file order; `layout` says what the container and the codec promise.

    Raises VideoError when the file cannot be opened, holds no video or is truncated.
    """

    def __init__(self, path: Media, *, threads: int | None) -> None:
        self.path = path
        self.infos: tuple[PacketInfo, ...] = ()
        self._seeks = True
        self._furthest = -1  # number of the last packet that the decoder has had
        self._number_of: dict[tuple[int, int] | None, int | None] = {}
        self._joints: frozenset[int] = frozenset()
        self.container, self.stream, self._file = _open(path, threads)
        try:
            self._list_packets()
            self.layout = self._describe_layout()
        except BaseException:
            self.close()
            raise

    @property
    def codec(self) -> str:
        """The codec's common name ("h264", "av1"), independent of the decoder in use."""
        return self.stream.codec.canonical_name

    @property
    def threads(self) -> int:
        """The number of decoding threads."""
        return self.stream.codec_context.thread_count

    def _reopen(self, threads: int) -> None:
        """Back to the first packet, with a fresh decoder."""
        opened = _open(self.path, threads)
        self.close()
        self.container, self.stream, self._file = opened
        self._furthest = -1

    def close(self) -> None:
        self.container.close()
        if self._file is not None:
            self._file.close()

    def packets(self, start: int, *, threads: int | None = None, fresh: bool = False) -> Packets:
        """The packets from number `start` on; the decoder is reset. It gets `threads`, by default as many as before.

        Their `pts` are their numbers, which the decoder copies to the pictures: so each picture tells its packet, whatever
        the times in the file are. Packets end early where they differ from `infos`: the file was changed.

        Seeking is inexact in many containers: if it does not verifiably reach `start`, or with `fresh`, the file is read from
        its first packet. To go back, it is opened again: a decoder that was used may keep something that a seek does not
        reset (tables, parameter sets).
        """
        threads = self.threads if threads is None else threads
        fresh = fresh or not self._seeks
        if fresh or threads != self.threads or start <= self._furthest:
            self._reopen(threads)
        found = None if fresh else self._seek(start)
        if found is None:
            if not fresh:
                self._reopen(threads)
            found = islice(self.container.demux(self.stream), start, None)
        return self._numbered(found, start)

    def _numbered(self, packets: Iterator[Packet[VideoStream]], start: int) -> Packets:
        for number, packet in enumerate(packets, start):
            if not is_flush(packet):
                if number >= len(self.infos) or packet.size != self.infos[number].size:
                    return
                packet.pts = number
                self._furthest = max(self._furthest, number)
                if number in self._joints:
                    packet.is_corrupt = False
            yield number, packet

    def _seek(self, start: int) -> Iterator[Packet[VideoStream]] | None:
        info = self.infos[start]
        for time in dict.fromkeys(t for t in (info.pts, info.dts) if t is not None):
            with suppress(*READ_ERRORS):
                self.container.seek(time, stream=self.stream)
                packets = self.container.demux(self.stream)
                for packet in packets:
                    number = self._number_of.get(_mark(packet))
                    if number == start:
                        return chain([packet], packets)
                    if number is not None and number > start:
                        break
        return None

    def _list_packets(self) -> None:
        infos: list[PacketInfo] = []
        advice = "copy or download it again"
        try:
            for number, packet in enumerate(self.container.demux(self.stream)):
                if not is_flush(packet):
                    infos.append(self._describe(packet))
                    mark = _mark(packet)
                    self._number_of[mark] = None if mark in self._number_of else number
                    if any(data.data_type in _CARRIED for data in packet.iter_sidedata()):
                        self._seeks = False
        except READ_ERRORS as error:
            raise VideoError(self.path, f"damaged after packet {len(infos)} ({error}); {advice}") from error
        listed = len(self.stream.index_entries)
        if len(infos) < listed:
            raise VideoError(self.path, f"cut short: {len(infos)} of {listed} packets are there; {advice}")
        # The length in the header of AVI is often wrong; its count of pictures is not.
        if self.container.format.name != "avi" or len(infos) < self.stream.frames:
            _check_length(self.path)
        if self.container.format.name == "dv" and infos and self.container.size % infos[0].size:
            raise VideoError(self.path, f"cut short: its last frame is not whole; {advice}")  # FFmpeg makes it up
        self.infos = tuple(infos)
        self._joints = _joints(infos)
        self._number_of.pop(None, None)

    def _describe_layout(self) -> Layout:
        stream, format_name = self.stream, self.container.format.name
        reorders = bool(stream.codec_context.has_b_frames)
        unit, rate = stream.time_base or 1, stream.average_rate or stream.guessed_rate or 25  # PyAV 19: no Fractions
        return Layout(
            unit=Fraction(unit.numerator, unit.denominator),
            can_seek=self._seeks and (self.codec in ENTRY_AT_KEY or stream.codec.intra_only),
            reorders=reorders,
            # AVI stores no presentation times, raw streams none at all; FFmpeg guesses them, wrong if pictures are reordered.
            timed=not (
                reorders and (format_name == "avi" or Flags.no_timestamps in Flags(self.container.format.flags))
            ),
            even=format_name in _CLOCK_OF_33_BITS,
            longest_pause=_LONGEST_PAUSE_33_BITS if format_name in _CLOCK_OF_33_BITS else _LONGEST_PAUSE,
            rate=Fraction(rate.numerator, rate.denominator),
        )

    def _describe(self, packet: Packet[VideoStream]) -> PacketInfo:
        hidden = self.codec == "vp8" and packet.size > 0 and not memoryview(packet)[0] & _VP8_SHOWN
        shown = packet.size > 0 and not packet.is_discard and not hidden
        # In AVI the decoding time is the real one; FFmpeg makes up the other.
        pts = packet.dts if self.container.format.name == "avi" else packet.pts
        return PacketInfo(pts, packet.dts, packet.is_keyframe, shown, size=packet.size, corrupt=packet.is_corrupt)


def is_flush(packet: Packet[VideoStream]) -> bool:
    """Whether this is PyAV's last, empty packet, which flushes the decoder."""
    return packet.size == 0 and packet.pts is None and packet.dts is None


def _joints(infos: Sequence[PacketInfo]) -> frozenset[int]:
    """Packets that the demuxer calls damaged only because another recording was joined to theirs.

    The next key frame begins up to two packets later: a parser delays the packet by one. Nothing after it depends on these
    packets; whether their own pictures are whole is up to the decoder.
    """
    flagged = (number for number, info in enumerate(infos) if info.corrupt)
    return frozenset(number for number in flagged if any(info.key for info in infos[number + 1 : number + 3]))


def _mark(packet: Packet[VideoStream]) -> tuple[int, int] | None:
    """What identifies a packet after a seek: its place in the file if that is known, else its time, and its size."""
    place = packet.pts if packet.pos is None else packet.pos
    return None if place is None else (place, packet.size)


def _check_length(path: Media) -> None:
    with suppress(OSError):
        missing = missing_bytes(path)
        if missing:
            raise VideoError(path, f"cut short: its last {missing} bytes are missing; copy or download it again")


def _open(path: Media, threads: int | None) -> tuple[InputContainer, VideoStream, BinaryIO | None]:
    """The container, the stream to show, and the open file of a member of a shard."""
    file = None
    try:
        if isinstance(path, Member):
            # No protocol at all: a playlist in a shard cannot make FFmpeg open a file beside it.
            file = path.open("rb")
            container = open_container(file, options={"protocol_whitelist": "none"})
        else:
            # The "file:" prefix is for names with a colon, which is no protocol; the whitelist stops a playlist from
            # opening network addresses.
            container = open_container(f"file:{path}", options={"protocol_whitelist": "file"})
    except (av.error.FFmpegError, OSError) as error:
        if file is not None:
            file.close()
        _check_length(path)
        raise VideoError(path, f"not a readable video ({error.strerror}); check the file with a player") from error
    try:
        stream = choose_stream(container, path)
    except VideoError:
        container.close()
        if file is not None:
            file.close()
        raise
    if threads is None:
        pixels = stream.codec_context.width * stream.codec_context.height
        cores = torch.get_num_threads()
        threads = cores + _SPARE_THREADS if cores > 1 and pixels >= _WORTH_THREADS else 1
    use_threads(stream, threads, at_once=True)
    return container, stream, file
