"""Opens a file, an address or a device with FFmpeg, with any supported PyAV, and chooses the video in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO

import av
from av.container import InputContainer
from av.stream import Discard, Disposition
from av.video.stream import VideoStream

from videomamba.schema import VideoError

# Tags may hold bytes that are not UTF-8. PyAV 19 keeps them as surrogate escapes; before it, strict decoding was the default.
_LENIENT: dict[str, Any] = {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "ignore"}


def open_container(
    source: str | BinaryIO,
    *,
    format: str | None = None,
    options: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> InputContainer:
    """`av.open(source)` for reading, also if its tags are not valid UTF-8; raises the same errors.

    `format` None lets FFmpeg recognise the format; `timeout` is in seconds, for opening and for each read.
    """
    container: InputContainer = av.open(source, format=format, options=dict(options or {}), timeout=timeout, **_LENIENT)
    return container


# With these FFmpeg renders text files, which are not meant as videos.
_TEXT_FORMATS = frozenset({"adf", "bin", "idf", "tty", "xbin"})

# Codecs that gain from threads and did not hang on damaged files: HEVC hangs with several frames at once (AUTO), FFV1 did
# once. All others decode with one thread.
_THREADING = {"av1": "SLICE", "h264": "AUTO", "hevc": "SLICE", "vp9": "AUTO"}
_MAX_THREADS = 16  # FFmpeg's limit


def choose_stream(container: InputContainer, name: object) -> VideoStream:
    """The video stream of `container` to show. The packets of all other streams are dropped.

    Of several, as FFmpeg does: a track flagged as default before others, then the larger picture, then the first. Cover
    pictures do not count. Raises VideoError, which starts with `name`, when there is none or FFmpeg does not know its codec.
    """
    if container.format.name in _TEXT_FORMATS:
        raise VideoError(name, "not a readable video (FFmpeg reads it as text); give one with moving pictures")
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        covers = {"a cover picture"} if container.streams.video else set()
        kinds = " and ".join(sorted({s.type for s in container.streams if s.type != "video"}) + sorted(covers))
        raise VideoError(name, f"holds no video, only {kinds or 'nothing'}; give one with moving pictures")
    known = [s for s in streams if getattr(s, "codec_context", None) is not None]
    if not known:
        raise VideoError(name, "its codec is unknown to this FFmpeg; encode it with another, for example H.264")
    chosen = max(known, key=lambda s: (bool(s.disposition & Disposition.default), s.width * s.height))
    for other in container.streams:
        if other is not chosen:
            other.discard = Discard.all
    return chosen


def use_threads(stream: VideoStream, threads: int, *, at_once: bool) -> None:
    """Decode with `threads` threads if the codec gains from them, else with one.

    `at_once` lets each thread decode its own picture, which delays the first pictures by as many.
    """
    kind = _THREADING.get(stream.codec.canonical_name, "NONE")
    stream.codec_context.thread_type = "SLICE" if kind == "AUTO" and not at_once else kind
    stream.codec_context.thread_count = 1 if kind == "NONE" else min(threads, _MAX_THREADS)
