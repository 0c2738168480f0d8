"""Pictures of a live stream: decoded in a separate thread, stored in a buffer of fixed size.

`drop` is the policy for a consumer that is too slow:

    latest  the oldest pictures are dropped, so that the consumer gets recent ones; the decoder never waits. If decoding
            itself lags by more than MAX_LAG seconds, packets are dropped up to the next key frame.
    all     nothing is dropped; the source waits. For recordings, not for cameras, whose pictures would queue elsewhere.

A recording has no pace of its own: "latest" plays it in real time, "all" as fast as it is consumed.

Cameras (V4L2, AVFoundation, DirectShow) are opened as FFmpeg documents it; no test covers a real camera.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Self

import av
import av.error
import torch
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream
from torch import Tensor

from videomamba.schema import VideoError
from videomamba.video.container import choose_stream, open_container, use_threads
from videomamba.video.live.address import Address, parse_address
from videomamba.video.live.buffer import Drop, LiveBuffer, LivePicture
from videomamba.video.live.clock import StreamClock
from videomamba.video.packets import DECODE_ERRORS, READ_ERRORS, is_flush
from videomamba.video.rgb import RgbWriter, orientation_of

__all__ = ["MAX_LAG", "Drop", "LivePicture", "LiveSource"]

MAX_LAG = 1.0
"""Seconds that decoding may lag behind the stream's clock before packets are dropped ("latest")."""

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0  # seconds before the next attempt to connect: doubled after each failure
_FRUITLESS = 1000  # packets in a row without a picture, after which the source has failed

# Formats without times: FFmpeg numbers their pictures at 25 per second, independent of the camera.
_UNTIMED = frozenset({"h264", "hevc", "image2pipe", "jpeg_pipe", "m4v", "mjpeg", "mpjpeg"})

# Formats in segments of several seconds, to be played in real time.
_SEGMENTED = frozenset({"dash", "hls"})

# Streams without an end: after the connection closes, it may return.
_ENDLESS = frozenset({"mpjpeg", "rtsp"})

_PIPE_ADVICE = "check what is piped in; a whole MP4 file is given by its name, or rewritten as Matroska or MPEG-TS"

_CLOSED = "the connection was closed"

_INDEX_AT_END = (
    "is an MP4 with its index at the end, which cannot be read from a pipe; give the file itself, or rewrite it, for example "
    "with ffmpeg -i IN.mp4 -c copy -movflags +faststart OUT.mp4 (or OUT.mkv, OUT.ts)"
)


class LiveSource:
    """An open stream: iterate over its pictures, or `take` all waiting ones. A context manager.

    `source` is "-" (standard input: any container that can be read forward, such as MPEG-TS, Matroska or motion JPEG), an
    rtsp, http, udp or tcp address, a camera (/dev/video0, camera:0, camera:NAME) or a file; `follow` waits for a file that
    is still being written. `wants(start, stop)` chooses pictures by their time on screen; the others are decoded but not
    converted. `prepare` is applied once to each chosen picture, in the decoding thread.

    At most `buffer` pictures wait. An address or a followed file that is silent for `timeout` seconds has broken off or
    ended. A network source that breaks off is opened again up to `reconnect` times in a row, after 1, 2, 4, ... up to 30
    seconds, reported to `notify` in one line; time continues and no picture covers the gap. Addresses are shown without
    passwords.

    Raises VideoError for an unsupported `source`; later, in `take`, for one that cannot be opened, holds no video, or
    breaks off for good.
    """

    def __init__(
        self,
        source: str,
        *,
        drop: Drop = "latest",
        buffer: int = 32,
        wants: Callable[[float, float], bool] | None = None,
        prepare: Callable[[Tensor], Tensor] | None = None,
        follow: bool = False,
        timeout: float = 10.0,
        reconnect: int = 3,
        notify: Callable[[str], object] = lambda message: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if drop not in ("latest", "all"):
            raise ValueError(f"drop must be 'latest' or 'all', got {drop!r}")
        if buffer < 1 or timeout <= 0 or reconnect < 0:
            raise ValueError(f"need buffer >= 1, timeout > 0, reconnect >= 0, got {buffer}, {timeout}, {reconnect}")
        self._address = parse_address(source, follow=follow)
        self._drop, self._wants, self._prepare = drop, wants, prepare
        self._follow, self._timeout = follow, timeout
        self._reconnect = reconnect if self._address.network else 0
        self._notify = notify
        self._buffer = LiveBuffer(buffer, drop)
        self._timing = StreamClock(clock)
        self._rgb = RgbWriter()
        self._decoded = self._late_packets = 0
        self._held: tuple[av.VideoFrame, float, float] | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live", daemon=True)

    @property
    def name(self) -> str:
        """The source as it may be printed, without passwords."""
        return self._address.shown

    @property
    def _piped(self) -> bool:
        return self.can_wait and not self._address.recorded and not self._follow

    @property
    def can_wait(self) -> bool:
        """Whether it is a file or a pipe: such a source may be a recording, which loses nothing with the policy "all"."""
        return self._address.format is None and not self._address.network

    @property
    def dropped(self) -> int:
        """Pictures dropped so far because the consumer or the decoder was too slow."""
        return self._buffer.dropped + self._late_packets

    def take(self) -> list[LivePicture]:
        """All waiting pictures in order; waits for at least one. Empty after the end of the stream."""
        return self._buffer.take()

    def __iter__(self) -> Iterator[LivePicture]:
        while pictures := self.take():
            yield from pictures

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._buffer.close()
        # A blocked read ends with its timeout or with the process; do not wait for it.
        self._thread.join(timeout=1.0)

    def _run(self) -> None:
        problem: BaseException | None = None
        try:
            self._watch()
        except BaseException as error:  # raised again in the consumer's thread
            problem = error
        self._buffer.end(problem)

    def _watch(self) -> None:
        """One connection after another. If the first cannot be opened it is an error at once: often a wrong address."""
        broken = self._play()
        failures = 0
        while broken is not None and not self._stop.is_set():
            if failures == self._reconnect:
                if broken == _CLOSED:
                    return
                tried = f" and {failures} attempts to connect again failed" if failures else ""
                raise VideoError(self.name, f"{broken}{tried}; check the sender and the network")
            pause = min(_FIRST_PAUSE * 2**failures, _LONGEST_PAUSE)
            failures += 1
            attempt = f"attempt {failures} of {self._reconnect} to connect again in {pause:g} s"
            self._notify(f"{self.name}: {broken}; {attempt}")
            if self._stop.wait(pause):
                return
            before = self._decoded
            try:
                again = self._play()
            except VideoError as error:
                # A sender that closed the connection and no longer answers has ended its stream: no error.
                again = broken if broken == _CLOSED else error.reason.split(";")[0]
            broken = again
            failures = 0 if self._decoded > before else failures

    def _play(self) -> str | None:
        """From opening to the end. None for a regular end, else the reason why the stream broke off."""
        with self._open() as container:
            decoder = _Decoder(self.name, container, drop=self._drop)
            kind = container.format.name.split(",")[0]
            address, latest, known_length = self._address, self._drop == "latest", bool(container.duration)
            self._timing.begin(
                paced=latest and not self._follow and (address.recorded or known_length or kind in _SEGMENTED),
                untimed=latest and not address.recorded and kind in _UNTIMED,
            )
            broken = self._decode_all(container, decoder)
            self._show_held(None)
            if self._stop.is_set():
                return None
            if not self._decoded:
                if kind == "mov" and self._piped:
                    raise VideoError(self.name, _INDEX_AT_END)
                why = f" ({broken})" if broken else ""
                raise VideoError(self.name, f"not one picture could be decoded{why}; check the source with a player")
            if broken is None and address.network and kind in _ENDLESS and not known_length:
                return _CLOSED
            return broken

    def _decode_all(self, container: InputContainer, decoder: _Decoder) -> str | None:
        broken = None
        try:
            for packet in container.demux(decoder.stream):
                if self._stop.is_set():
                    return None
                if decoder.skips(packet, self._timing):
                    self._late_packets += 1
                elif decoder.fruitless > _FRUITLESS:
                    return f"{_FRUITLESS} packets in a row without a picture"
                else:
                    self._show_all(decoder, packet)
        except READ_ERRORS as error:
            if not isinstance(error, av.error.ExitError):
                broken = f"broke off ({getattr(error, 'strerror', None) or 'its streams changed'})"
            elif not self._follow:  # a file that has stopped growing has ended
                broken = f"silent for {self._timeout:g} s"
            self._show_all(decoder, None)
        return broken

    def _open(self) -> InputContainer:
        address = self._address
        try:
            return open_container(
                address.url,
                format=address.format,
                options=address.options,
                timeout=self._timeout if address.network or self._follow else None,
            )
        # The text of the errors holds the address with its password: show only `strerror`, and keep no cause.
        except av.error.ExitError:
            reason = f"no answer within {self._timeout:g} s; check the address and the network, or allow more time"
            raise VideoError(self.name, reason) from None
        except (av.error.FFmpegError, OSError) as error:
            advice = _PIPE_ADVICE if self._piped else _advice(address)
            reason = f"cannot be watched ({error.strerror}); {advice}"
            raise VideoError(self.name, reason) from None
        except ValueError:
            reason = f"this PyAV was built without {address.format}; pipe the video in and give - as the source"
            raise VideoError(self.name, reason) from None

    def _show_all(self, decoder: _Decoder, packet: Packet[VideoStream] | None) -> None:
        for frame in decoder.decode(packet):
            placed = self._timing.place(decoder.seconds(frame.pts), self._stop)
            if self._stop.is_set():
                return
            if placed is None:
                continue
            self._decoded += 1
            self._show_held(placed.start if placed.follows else None)
            self._held = frame, placed.start, placed.arrived
            decoder.hurry(self._timing.lag)

    def _show_held(self, stop: float | None) -> None:
        """Put the held picture, which was on screen until `stop`, the time of the next one. None: there is no next one."""
        if self._held is None:
            return
        frame, start, arrived = self._held
        self._held = None
        stop = start + self._timing.interval if stop is None else stop
        if self._wants is not None and not self._wants(start, stop):
            return
        orientation = orientation_of(frame)
        data = torch.empty((*orientation.size(frame), 3), dtype=torch.uint8)
        self._rgb.write(frame, orientation, data)
        self._buffer.put(LivePicture(start, stop, arrived, data if self._prepare is None else self._prepare(data)))


class _Decoder:
    """The video stream of a container, decoded packet by packet; "latest" may skip packets to catch up."""

    def __init__(self, name: str, container: InputContainer, *, drop: Drop) -> None:
        self.stream = choose_stream(container, name)
        use_threads(self.stream, torch.get_num_threads(), at_once=False)
        self.fruitless = 0
        self._drop = drop
        self._late = False

    def decode(self, packet: Packet[VideoStream] | None) -> list[av.VideoFrame]:
        """The undamaged pictures that the decoder returns for `packet`; None flushes it.

        A lost or damaged picture leaves the one before it on screen.
        """
        if packet is not None and packet.size == 0 and not is_flush(packet):
            return []
        try:
            frames = [frame for frame in self.stream.decode(packet) if not frame.is_corrupt]
        except DECODE_ERRORS:
            frames = []
        self.fruitless = 0 if frames else self.fruitless + 1
        return frames

    def hurry(self, lag: float) -> None:
        self._late = self._late or (self._drop == "latest" and lag > MAX_LAG)

    def skips(self, packet: Packet[VideoStream], timing: StreamClock) -> bool:
        """Whether `packet` is skipped. Pictures depend on earlier ones, so only a key frame ends the skipping."""
        if not self._late or is_flush(packet):
            return False
        if packet.is_keyframe:
            shown_at = self.seconds(packet.dts if packet.pts is None else packet.pts)
            self._late = timing.lag_at(shown_at) > MAX_LAG / 2
        return self._late

    def seconds(self, ticks: int | None) -> float | None:
        # In the stream's unit: a flushed picture has none of its own.
        return None if ticks is None else float(ticks * (self.stream.time_base or 1))


def _advice(address: Address) -> str:
    if address.network:
        return "check the address, the password and that the sender runs"
    return "check the file with a player" if address.format is None else "check that no other program uses the camera"
