"""Streams: pipes, files, HTTP, RTSP, senders that vanish, and what is dropped when somebody is too slow."""

from __future__ import annotations

import os
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from tests.video.clips import RECIPES, damage_the_header, draw, encode, read_plainly
from videomamba.schema import VideoError
from videomamba.video.live import source as live
from videomamba.video.live.address import mask_secrets, parse_address
from videomamba.video.live.buffer import LiveBuffer
from videomamba.video.live.clock import StreamClock
from videomamba.video.live.source import LivePicture, LiveSource

Clip = Callable[[str], Path]


def picture(start: float) -> LivePicture:
    return LivePicture(start, start + 1, start, torch.zeros(1, 1, 3, dtype=torch.uint8))


@contextmanager
def serving(server: socketserver.TCPServer) -> Iterator[int]:
    """The port of a server that runs meanwhile."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def http(answer: Callable[[BaseHTTPRequestHandler, int], None]) -> Iterator[str]:
    """An HTTP server on a free port; answer(request, number of requests before) writes everything."""
    requests = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

        def do_GET(self) -> None:
            requests.append(self.path)
            answer(self, len(requests) - 1)

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as port:
        yield f"http://127.0.0.1:{port}"


def send(request: BaseHTTPRequestHandler, body: bytes, *, length: int | None = None, kind: str = "video/mp2t") -> None:
    """A whole answer of `length` bytes, of which only `body` may come."""
    request.send_response(200)
    request.send_header("Content-Type", kind)
    request.send_header("Content-Length", str(len(body) if length is None else length))
    request.end_headers()
    request.wfile.write(body)


class RtspHandler(socketserver.StreamRequestHandler):
    """As much of RTSP as a player needs to be sent an MPEG transport stream over TCP; then hangs up."""

    stream: bytes = b""

    def handle(self) -> None:
        while True:
            head = []
            while line := self.rfile.readline().strip():
                head.append(line.decode())
            if not head:
                return
            method = head[0].split()[0]
            sequence = next(line for line in head if line.lower().startswith("cseq"))
            more, body = "", ""
            if method == "DESCRIBE":
                body = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=t\r\nt=0 0\r\nm=video 0 RTP/AVP 33\r\na=control:track\r\n"
                more = f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
            if method == "SETUP":
                more = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
            self.wfile.write(f"RTSP/1.0 200 OK\r\n{sequence}\r\nSession: 1\r\n{more}\r\n{body}".encode())
            if method == "PLAY":
                break
        for i, place in enumerate(range(0, len(self.stream), 1316)):
            packet = struct.pack("!BBHII", 0x80, 33, i, i, 7) + self.stream[place : place + 1316]
            self.wfile.write(b"$\0" + struct.pack("!H", len(packet)) + packet)


def rtsp(stream: bytes) -> socketserver.TCPServer:
    handler = type("Handler", (RtspHandler,), {"stream": stream})
    return socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler)


@contextmanager
def fed(pipe: Path, content: bytes) -> Iterator[str]:
    """A named pipe that somebody writes `content` into."""
    os.mkfifo(pipe)
    thread = threading.Thread(target=pipe.write_bytes, args=(content,))
    thread.start()
    yield str(pipe)
    thread.join()


def test_every_picture_of_a_file_at_its_time(clip: Clip) -> None:
    expected = read_plainly(clip("h264.mkv"))
    with LiveSource(str(clip("h264.mkv")), drop="all", buffer=3) as source:
        found = list(source)
    assert len(found) == len(expected) == 30 and source.dropped == 0
    for i, (shown, pixels) in enumerate(zip(found, expected, strict=True)):
        assert (shown.start, shown.stop) == pytest.approx((i / 25, (i + 1) / 25), abs=1e-6)
        np.testing.assert_array_equal(shown.data.numpy(), pixels)
    assert source.take() == []


def test_pictures_come_upright(tmp_path: Path) -> None:
    path = encode(tmp_path / "turned.mov", RECIPES["h264.mp4"], display=(90, False, False))
    with LiveSource(str(path), drop="all") as source:
        shapes = {tuple(shown.data.shape) for shown in source}
    assert shapes == {(64, 48, 3)}


def test_pictures_that_nobody_wants_are_never_converted(clip: Clip) -> None:
    prepared = []

    def prepare(pixels: torch.Tensor) -> torch.Tensor:
        prepared.append(pixels)
        return pixels[::2]

    wants = lambda start, stop: start <= 0.5 < stop  # noqa: E731
    with LiveSource(str(clip("h264.ts")), drop="all", wants=wants, prepare=prepare) as source:
        found = list(source)
    assert len(prepared) == len(found) == 1
    assert found[0].start == pytest.approx(0.48) and found[0].data.shape == (24, 64, 3)


@pytest.mark.parametrize("name", ["h264.ts", "h264.mkv", "fragmented.mp4", "mjpeg.mjpeg", "h264 raw"])
def test_a_pipe_of_any_container_that_is_read_forward(name: str, clip: Clip, tmp_path: Path) -> None:
    if name in RECIPES:
        file = clip(name)
    elif name == "mjpeg.mjpeg":
        file = encode(tmp_path / name, RECIPES["mjpeg.avi"])
    else:
        file = tmp_path / name
        fragments = {"movflags": "frag_keyframe+empty_moov"}
        with av.open(str(clip("h264.mkv"))) as old, av.open(str(file), "w", options=fragments) as new:
            stream = new.add_stream_from_template(old.streams.video[0])
            for packet in old.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    new.mux(packet)
    with fed(tmp_path / "pipe", file.read_bytes()) as pipe, LiveSource(pipe, drop="all") as source:
        found = list(source)
    assert len(found) == 30
    np.testing.assert_allclose([shown.start for shown in found], np.arange(30) / 25, atol=1e-6)


def test_a_recording_is_played_in_real_time_where_the_latest_is_wanted(tmp_path: Path) -> None:
    path = encode(tmp_path / "short.ts", RECIPES["h264.ts"]._replace(frames=8))
    with LiveSource(str(path), drop="latest") as source:
        arrived = [shown.arrived for shown in source]
    assert len(arrived) == 8 and arrived[-1] - arrived[0] >= 7 / 25 - 1e-3


def test_the_oldest_picture_makes_room() -> None:
    buffer = LiveBuffer(3, "latest")
    for i in range(10):
        buffer.put(picture(i))
    assert [shown.start for shown in buffer.take()] == [7, 8, 9] and buffer.dropped == 7
    buffer.end(VideoError("camera", "gone"))
    with pytest.raises(VideoError, match="camera: gone"):
        buffer.take()
    assert buffer.take() == []


@pytest.mark.parametrize("drop", ["latest", "all"])
def test_the_buffer_stays_small_however_long_the_stream(drop: live.Drop) -> None:
    buffer = LiveBuffer(8, drop)
    lengths, taken = [], []

    def produce() -> None:
        for i in range(20_000):
            buffer.put(picture(i))
            lengths.append(len(buffer))
        buffer.end()

    thread = threading.Thread(target=produce)
    thread.start()
    while pictures := buffer.take():
        taken += [shown.start for shown in pictures]
    thread.join()
    assert max(lengths) <= 8 and len(lengths) == 20_000
    assert taken == sorted(taken) and taken[-1] == 19_999
    assert len(taken) + buffer.dropped == 20_000
    assert drop == "latest" or buffer.dropped == 0


def test_whoever_leaves_early_stops_the_decoder(clip: Clip) -> None:
    source = LiveSource(str(clip("h264.ts")), drop="all", buffer=1)
    with source:
        assert len(source.take()) == 1
    assert source.take() == []
    assert not any(thread.name == "live" for thread in threading.enumerate())


def test_a_decoder_that_falls_behind_goes_on_at_a_key_frame_that_is_now(clip: Clip, tmp_path: Path) -> None:
    """Picture 14 takes five seconds. The key frame at 20 is three seconds old when it is read, the one at 30 is not."""
    file = encode(tmp_path / "long.ts", RECIPES["h264.ts"]._replace(frames=60, bframes=0))
    at_pace = [i / 25 for i in range(60)]
    readings = iter([*at_pace[:14], 14 / 25 + 5, 20 / 25 + 3, 30 / 25 + 0.1, *at_pace[30:]])
    with (
        fed(tmp_path / "pipe", file.read_bytes()) as pipe,
        LiveSource(pipe, buffer=60, clock=lambda: next(readings)) as source,
    ):
        found = list(source)
    assert [round(shown.start * 25) for shown in found] == [*range(15), *range(30, 60)]
    assert found[14].stop == pytest.approx(30 / 25)  # it stays on show
    assert source.dropped == 15


def test_http_of_known_length(clip: Clip) -> None:
    content = clip("h264.ts").read_bytes()
    with http(lambda request, _: send(request, content)) as url, LiveSource(url, drop="all") as source:
        assert len(list(source)) == 30


def test_a_server_that_vanishes_is_asked_again(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_FIRST_PAUSE", 0.01)
    content = clip("h264.ts").read_bytes()
    said: list[str] = []

    def answer(request: BaseHTTPRequestHandler, before: int) -> None:
        if before == 1:
            request.send_error(503)
        else:
            send(request, content[: len(content) // 2] if before == 0 else content, length=len(content))

    with (
        http(answer) as url,
        LiveSource(url.replace("//", "//admin:secret@"), drop="all", notify=said.append) as source,
    ):
        found = list(source)
    starts = np.array([shown.start for shown in found])
    assert 35 < len(found) <= 60 and (np.diff(starts) > 0).all()
    assert all(a.stop <= b.start + 1e-9 for a, b in pairwise(found))
    assert len(said) == 2 and "attempt 1 of 3" in said[0] and "attempt 2 of 3" in said[1] and "5XX" in said[1]
    assert not any("secret" in line or "admin" in line for line in said)


def test_a_server_that_vanishes_for_good_is_an_error_after_its_pictures(
    clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_FIRST_PAUSE", 0.01)
    content = clip("h264.ts").read_bytes()

    def answer(request: BaseHTTPRequestHandler, before: int) -> None:
        if before:
            request.send_error(404)
        else:
            send(request, content[: len(content) // 2], length=len(content))

    found = []
    with http(answer) as url, LiveSource(url, drop="all", reconnect=2) as source:
        with pytest.raises(VideoError, match=rf"^{url}: .*404.* and 2 attempts to connect again failed") as raised:
            for shown in source:
                found.append(shown)
        assert "\n" not in str(raised.value)
    assert 5 < len(found) < 30


def test_a_silent_server(clip: Clip) -> None:
    done = threading.Event()
    content = clip("h264.ts").read_bytes()

    def answer(request: BaseHTTPRequestHandler, _: int) -> None:
        send(request, content if request.path == "/some" else b"", length=2 * len(content))
        done.wait(20)

    with http(answer) as url:
        for path, message in [("/none", "no answer within 0.3 s"), ("/some", "silent for 0.3 s")]:
            source = LiveSource(url + path, timeout=0.3, reconnect=0, drop="all")
            with source, pytest.raises(VideoError, match=message):
                list(source)
        done.set()


def test_a_camera_that_sends_pictures_over_http_is_timed_by_its_pictures_arrival() -> None:
    pictures = [jpeg(i) for i in range(6)]

    def answer(request: BaseHTTPRequestHandler, _: int) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
        request.end_headers()
        for body in pictures:
            request.wfile.write(b"--next\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(body))
            request.wfile.write(body + b"\r\n")

    times = iter([100 + i / 5 for i in range(100)])
    found = []
    with http(answer) as url:
        # HTTP/1.0 without a length: nothing tells that this is the end.
        source = LiveSource(url, reconnect=0, clock=lambda: next(times))
        with source, pytest.raises(VideoError, match="broke off"):
            for shown in source:
                found.append(shown.start)
    np.testing.assert_allclose(found, np.arange(6) / 5)


def jpeg(index: int) -> bytes:
    codec = av.CodecContext.create("mjpeg", "w")
    codec.width, codec.height, codec.pix_fmt, codec.time_base = 64, 48, "yuvj420p", Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(draw(index, (48, 64)), "rgb24").reformat(format="yuvj420p")
    return b"".join(bytes(packet) for packet in [*codec.encode(frame), *codec.encode(None)])


def test_a_playlist_from_outside_opens_no_file(clip: Clip) -> None:
    def answer(request: BaseHTTPRequestHandler, _: int) -> None:
        local = request.path == "/local"
        if request.path == "/part.ts":
            send(request, clip("h264.ts").read_bytes())
            return
        entry = f"file://{clip('h264.ts')}" if local else "part.ts"
        lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:2", "#EXTINF:1.2,", entry, "#EXT-X-ENDLIST", ""]
        send(request, "\n".join(lines).encode(), kind="application/vnd.apple.mpegurl")

    with http(answer) as url:
        with LiveSource(f"{url}/remote", drop="all") as source:
            assert len(list(source)) == 30
        with LiveSource(f"{url}/local", drop="all") as source, pytest.raises(VideoError, match="cannot be watched"):
            list(source)


def test_rtsp(clip: Clip) -> None:
    expected = read_plainly(clip("mpeg2.ts"))
    with serving(rtsp(clip("mpeg2.ts").read_bytes())) as port:
        source = LiveSource(f"rtsp://user:word@127.0.0.1:{port}/cam", drop="all", reconnect=0)
        with source:
            found = list(source)
    assert source.name == f"rtsp://***@127.0.0.1:{port}/cam"
    assert len(found) == 29  # the last picture but one is cut off: the sender hangs up without padding
    for shown in found:
        np.testing.assert_array_equal(shown.data.numpy(), expected[round(shown.start * 25)])


def test_an_rtsp_camera_that_hangs_up_is_called_again_and_has_ended_if_it_is_not_there(
    clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_FIRST_PAUSE", 0.01)
    said: list[str] = []
    server = rtsp(clip("mpeg2.ts").read_bytes())
    with serving(server) as port:

        def notify(line: str) -> None:
            said.append(line)
            if len(said) == 2:
                server.socket.close()  # nobody answers from now on

        source = LiveSource(f"rtsp://127.0.0.1:{port}/", drop="all", reconnect=1, notify=notify)
        with source:
            starts = [shown.start for shown in source]
    assert starts == sorted(starts) and len(starts) > 50
    assert len(said) == 2 and all("the connection was closed; attempt 1 of 1" in line for line in said)


def test_nobody_answers() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for scheme in ("http", "rtsp", "tcp"):
            source = LiveSource(f"{scheme}://me:word@{address}/x?password=word")
            with source, pytest.raises(VideoError, match="refused") as raised:
                source.take()
            assert "word" not in str(raised.value).replace("password", "")
            assert raised.value.__cause__ is None and raised.value.path.startswith(f"{scheme}://***@{address}")


def test_a_file_that_is_still_being_written(clip: Clip, tmp_path: Path) -> None:
    content = clip("h264.ts").read_bytes()
    path = tmp_path / "growing.ts"
    path.write_bytes(content[: 188 * 20])

    def grow() -> None:
        with path.open("ab") as file:
            file.write(content[188 * 20 :])

    timer = threading.Timer(0.1, grow)
    timer.start()
    with LiveSource(str(path), follow=True, timeout=0.3) as source:
        assert len(list(source)) == 30
    timer.join()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("absent.mp4", "absent.mp4: cannot be opened .No such file"),
        (".", "is not a file"),
        ("/dev/video93", "no such camera"),
        ("ftp://me:word@host/film.ts", r"^ftp://\*\*\*@host/film.ts: ftp:// cannot be watched"),
        ("a\0b", "cannot be opened"),
    ],
)
def test_nothing_to_watch(source: str, message: str) -> None:
    with pytest.raises(VideoError, match=message):
        LiveSource(source)


def test_a_decoder_that_cannot_be_opened(clip: Clip, tmp_path: Path) -> None:
    source = str(damage_the_header(clip("hevc.mp4"), tmp_path / "header.mp4"))
    with LiveSource(source) as watched, pytest.raises(VideoError, match="not one picture could be decoded"):
        watched.take()


def test_sources_that_are_no_video(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a video\n" * 100)
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
    (tmp_path / "cut.ts").write_bytes(b"\x47" + bytes(187))
    for name in ("notes.txt", "sound.wav", "cut.ts"):
        with LiveSource(str(tmp_path / name)) as source, pytest.raises(VideoError, match=f"{name}: "):
            source.take()


def test_a_terminal_is_no_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal())
    with pytest.raises(VideoError, match="pipe a video"):
        LiveSource("-")


def test_cameras_have_names_on_every_system() -> None:
    mac = parse_address("camera:0", platform="darwin")
    assert (mac.url, mac.format) == ("0", "avfoundation") and not mac.recorded
    windows = parse_address("camera:Integrated Camera", platform="win32")
    assert (windows.url, windows.format) == ("video=Integrated Camera", "dshow")
    with pytest.raises(VideoError, match="camera:94: no such camera"):
        parse_address("camera:94", platform="linux")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://admin:pa:ss@10.0.0.2/h264?ch=1", "rtsp://***@10.0.0.2/h264?ch=1"),
        ("rtsp://admin:pa/s@s@host/h264", "rtsp://***@host/h264"),
        ("http://host/cgi?loginuse=me&loginpas=no&pwd=a&rate=5#x", "http://host/cgi?loginuse=***&loginpas=***&pwd=***&rate=5#x"),
        ("http://host/a?access_token=abc", "http://host/a?access_token=***"),
        ("udp://@:1234", "udp://@:1234"),
    ],
)  # fmt: skip
def test_secrets_are_not_shown(url: str, shown: str) -> None:
    assert mask_secrets(url) == shown


def test_time_goes_on_where_the_sender_starts_again() -> None:
    now = [50.0]
    clock, stop = StreamClock(lambda: now[0]), threading.Event()
    clock.begin(paced=False, untimed=False)

    def place(time: float | None, at: float) -> tuple[float, bool] | None:
        now[0] = at
        placed = clock.place(time, stop)
        return None if placed is None else (placed.start, placed.follows)

    assert place(7.0, 50.0) == (0.0, False)
    assert place(7.5, 50.5) == (0.5, True)
    assert place(7.25, 50.5) is None  # comes after a later one
    assert place(None, 51.0) == (1.0, True)  # no time: the usual interval
    assert place(2.0, 55.0) == (5.0, False)  # the clock went back: four seconds later on the wall
    assert place(2.5, 55.5) == (5.5, True)
    assert place(5000.0, 55.6) == (6.0, False)  # or far ahead: not before the last one has been shown
    clock.begin(paced=False, untimed=False)
    assert place(9.0, 65.6) == (pytest.approx(16), False)


def test_lag_is_what_decoding_loses_not_what_a_clock_drifts() -> None:
    now = [0.0]
    clock, stop = StreamClock(lambda: now[0]), threading.Event()
    clock.begin(paced=False, untimed=False)
    for i in range(100_000):  # an hour at 25 a second by a clock that loses a tenth of a second in it
        now[0] = 3.0 + i / 25 * (1 + 1e-4 / 3.6)
        clock.place(i / 25, stop)
        assert clock.lag < 0.01
    now[0] += 4.0
    clock.place(100_000 / 25, stop)
    assert clock.lag == pytest.approx(4, abs=0.05)
    assert clock.lag_at(100_000 / 25 + 3) == pytest.approx(1, abs=0.05)
